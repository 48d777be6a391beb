//! A physical machine.

use std::collections::BTreeMap;

use super::DhcpOptions;
use crate::model::{Identity, Mac, Name, Origin, Power};

/// One `[machine.NAME]`, or the machine that a deployment with an inline `mac` implies.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub name: Name,
    /// At least one; the first is the one that install-time names are made of.
    pub macs: Vec<Mac>,
    /// What identifies it when it sends from another card, the best first.
    pub ids: Vec<Identity>,
    pub labels: BTreeMap<String, String>,
    /// `Some(false)` takes an earlier protection away; an absent key does not.
    pub protect: Option<bool>,
    pub options: DhcpOptions,
    /// How it is switched, and its power state read.
    pub power: Option<Power>,
    /// Whether it is switched on when it is to install.
    pub power_on: bool,
    /// Boot programs to give it, best first, before those its boot and the usual rules name.
    pub loader: Vec<Box<str>>,
    pub origin: Origin,
}
