//! The audit log of the running daemon.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::keeper::Keeper;
use super::now;
use crate::api::audit::Ledger;
use crate::model::printable::line;
use crate::model::{AuditEntry, Name};
use crate::state::{Command, Event, Stage, Verb};
use crate::store::audit::{Audit, AuditStatus};

/// A write that takes longer is one that people should know of.
const SLOW: Duration = Duration::from_secs(5);
/// How often the head is noted in the timeline, if it has changed.
const HOUR: Duration = Duration::from_secs(3600);
/// Longest wait for that when the daemon stops.
const LAST: Duration = Duration::from_millis(500);
/// Longest text of a member, in characters.
const TEXT_MAX: usize = 300;

/// The log, and the state whose serial its entries have.
#[derive(Clone)]
pub(super) struct AuditLog {
    log: Arc<Audit>,
    keeper: Keeper,
    /// The entry that the timeline has as the head.
    published: Arc<AtomicU64>,
}

impl Ledger for AuditLog {
    fn add(&self, entry: AuditEntry) -> io::Result<u64> {
        let serial = self.keeper.state().serial();
        self.log.add(AuditEntry { at: now().to_string(), serial, ..entry })
    }
}

impl AuditLog {
    pub(super) fn new(log: Audit, keeper: Keeper) -> AuditLog {
        AuditLog { log: Arc::new(log), keeper, published: Arc::default() }
    }

    pub(super) fn status(&self) -> AuditStatus {
        self.log.status()
    }

    /// Enters what the end of the daemon before this one cut off, in a thread that may wait for the disk.
    pub(super) fn enter_cut(&self) {
        let log = self.clone();
        let enter = move || {
            for entry in log.log.take_cut() {
                if let Err(error) = log.add(entry) {
                    tracing::error!(%error, "the audit log does not say what the last end of the daemon cut off");
                }
            }
        };
        tokio::task::spawn_blocking(enter);
    }

    /// Enters that a revision of a source was adopted without anybody asking for it over the API: `by` is the author of
    /// its commit, where that is known.
    pub(super) async fn adopted(&self, source: &Name, by: Option<&str>, about: &str) {
        let by = match by {
            Some(author) => format!("a commit by {author}"),
            None => format!("source {source}"),
        };
        let short = |text: &str| line(text).chars().take(TEXT_MAX).collect::<String>();
        let (subject, step) = (source.to_string(), "adopted".to_owned());
        let entry =
            AuditEntry { by: short(&by), subject, step, about: short(about), ..AuditEntry::default() };
        let log = self.clone();
        let added = tokio::task::spawn_blocking(move || log.add(entry)).await;
        if let Err(error) = added.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            tracing::error!(%error, "the audit log lacks that a revision of {source} was adopted");
        }
    }

    /// Notes the head in the timeline every hour. Never ends.
    pub(super) async fn publish_hourly(&self) {
        loop {
            tokio::time::sleep(HOUR).await;
            self.publish().await;
        }
    }

    /// The same when the daemon stops.
    pub(super) async fn publish_last(&self) {
        let _ = tokio::time::timeout(LAST, self.publish()).await;
    }

    /// It is in the timeline when this returns.
    async fn publish(&self) {
        let head = self.log.status().head;
        if self.published.swap(head.sequence, Ordering::Relaxed) == head.sequence {
            return;
        }
        let event = Event::new(now(), Stage::Audit, format!("the head of the audit log is {head}"));
        let noted = self.keeper.ask_surely(Command::daemon(Verb::Observe(vec![event]))).await;
        if noted.is_err() {
            self.published.store(0, Ordering::Relaxed);
        }
    }

    /// The entries after the one of a number.
    pub(super) async fn entries(&self, after: u64) -> Result<Vec<AuditEntry>, String> {
        self.read(move |log| log.entries(after)).await
    }

    /// The entries about an operation of the API.
    pub(super) async fn of_operation(&self, name: &str) -> Result<Vec<AuditEntry>, String> {
        let name = name.to_owned();
        self.read(move |log| log.of_operation(&name)).await
    }

    async fn read(
        &self,
        read: impl FnOnce(&Audit) -> io::Result<Vec<AuditEntry>> + Send + 'static,
    ) -> Result<Vec<AuditEntry>, String> {
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || read(&log)).await;
        read.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|error| error.to_string())
    }

    /// Why it is not written, if it is not.
    pub(super) fn sentence(&self) -> Option<String> {
        let status = self.log.status();
        let slow = status.writes_since.map(|since| since.elapsed()).filter(|waited| *waited > SLOW);
        let slow = slow.map(|waited| format!("the disk has not stored an entry for {} s", waited.as_secs()));
        let why = slow.or(status.trouble)?;
        let lost = status.lost;
        let entries = if lost == 1 { "entry is" } else { "entries are" };
        Some(format!(
            "the audit log can't be written, as its last entry showed ({lost} {entries} lost since the start), and while that \
             lasts only admins can change things: {why}"
        ))
    }
}
