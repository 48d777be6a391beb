//! What every driver can do. One driver a file; the list of kinds is `model::power`, and a kind without a
//! driver does not compile.

use std::pin::Pin;
use std::sync::Arc;

use super::ipmi::Ipmi;
use super::redfish::Redfish;
use super::wol::Wol;
use super::{Fault, Limits, Login, Read, Trust};
use crate::model::{Power, PowerKind};

/// One reading of one machine.
#[derive(Clone)]
pub struct Question<'a> {
    pub power: &'a Power,
    pub login: Option<&'a Login>,
    /// Where an earlier reading found the system.
    pub system: Option<Arc<str>>,
    pub trust: &'a Trust,
    pub limits: &'a Limits,
}

/// The result of a reading.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Read, Fault>> + Send + 'a>>;

/// What a driver can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether `read` can ever succeed.
    pub read: bool,
}

/// A way to talk to management controllers. The same driver serves all machines at once and keeps
/// nothing.
pub trait Driver: Sync {
    fn capabilities(&self) -> Capabilities;

    /// Why the power state is unknown before the first reading: a sentence without a full stop.
    fn unread(&self) -> &'static str;

    /// Reads the power state, within the limits. A driver that can't read opens no connection.
    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a>;
}

/// The driver of a kind.
pub fn driver(kind: PowerKind) -> &'static dyn Driver {
    match kind {
        PowerKind::Redfish => &Redfish,
        PowerKind::Ipmi => &Ipmi,
        PowerKind::Wol => &Wol,
    }
}
