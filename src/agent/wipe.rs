//! Wiping disks, and reading back whether they are.

use std::ops::ControlFlow;

use crate::api::agent::{DiskProgress, OrderResult, OrderedDisk};
use crate::model::WipeLevel;

/// Hears how far each disk is, and says whether to go on: the order may have been withdrawn. It is called at least
/// once a minute while there is something to do.
pub type Hears<'a> = &'a mut dyn FnMut(Vec<DiskProgress>) -> ControlFlow<()>;

/// Wipes these disks, all of them or none: `Done` or `Failed`, each with its certificate.
pub fn wipe(_level: WipeLevel, _disks: &[OrderedDisk], _hears: Hears<'_>) -> OrderResult {
    OrderResult::Failed { why: "this agent can't wipe disks".into(), certificate: None }
}

/// Reads back what was wiped: `Done`, `NotBlank` or `Failed`.
pub fn verify(_disks: &[OrderedDisk], _hears: Hears<'_>) -> OrderResult {
    OrderResult::Failed { why: "this agent can't read disks back".into(), certificate: None }
}
