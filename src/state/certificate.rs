//! Certificates of wipes: what our agent did to the disks of an order, kept for people who have to show it, also when the
//! machine is gone.

use std::sync::Arc;

use super::State;
use crate::model::{Caller, Name, Time, WipeLevel};

/// Most certificates that are kept; the oldest goes first.
pub const CERTIFICATES_MAX: usize = 10_000;

/// What was done to the disks of one machine by one order, or was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct WipeCertificate {
    /// The number of the order.
    pub epoch: u64,
    /// The machine, by the name that it had then.
    pub machine: Name,
    /// What was asked for.
    pub level: WipeLevel,
    /// Who caused the order, and what it follows from.
    pub by: Caller,
    pub reason: Arc<str>,
    /// When our agent said that all disks are wiped.
    pub wiped: Time,
    /// When it had read them back and found nothing.
    pub verified: Option<Time>,
    /// What it did: JSON of `api::agent::Certificate`; of a failed wipe what it says of disks that are wiped, else empty.
    pub text: Arc<str>,
    /// Why the wipe failed, at `wiped`. A later one under the same order that succeeds takes its place.
    pub failed: Option<Arc<str>>,
}

impl State {
    /// The certificates of wipes, by the numbers of their orders: later orders have higher ones.
    pub fn certificates(&self) -> &imbl::OrdMap<u64, Arc<WipeCertificate>> {
        &self.lasting.certificates
    }
}
