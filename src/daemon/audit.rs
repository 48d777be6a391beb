//! The audit log of the running daemon.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::keeper::Keeper;
use super::now;
use crate::api::audit::Ledger;
use crate::model::AuditEntry;
use crate::store::audit::Audit;

/// A write that takes longer is one that people should know of.
const SLOW: Duration = Duration::from_secs(5);

/// The log, and the state whose serial its entries have.
#[derive(Clone)]
pub(super) struct AuditLog {
    pub log: Arc<Audit>,
    pub keeper: Keeper,
}

impl Ledger for AuditLog {
    fn add(&self, entry: AuditEntry) -> io::Result<u64> {
        let serial = self.keeper.state().serial();
        self.log.add(AuditEntry { at: now().to_string(), serial, ..entry })
    }
}

impl AuditLog {
    /// The entries after the one of a number.
    pub(super) async fn entries(&self, after: u64) -> Result<Vec<AuditEntry>, String> {
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || log.entries(after)).await;
        read.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|error| error.to_string())
    }

    /// Why it is not written, if it is not.
    pub(super) fn sentence(&self) -> Option<String> {
        let status = self.log.status();
        let slow = status.writes_since.map(|since| since.elapsed()).filter(|waited| *waited > SLOW);
        let slow = slow.map(|waited| format!("the disk has not stored an entry for {} s", waited.as_secs()));
        let why = slow.or(status.trouble)?;
        let lost = status.lost;
        Some(format!(
            "the audit log can't be written, and only admins can change things ({lost} entries are lost since the start): {why}"
        ))
    }
}
