//! Follows a source and reports each new revision, and each new reason why there is none.

pub(super) mod alarm;
pub(super) mod places;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use self::alarm::Alarm;
use super::{Snapshot, SourceConfig, SourceError, directory, git};
use crate::model::Inventory;
use crate::model::inventory::Git;

/// How often a directory is read again although nothing was reported: network file systems and
/// full event queues lose reports, the content's hash does not lie.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where the operating system gives no reports at all.
const RESCAN_BLIND: Duration = Duration::from_secs(2);

/// What became of a source.
#[derive(Clone, Debug)]
pub enum Update {
    /// A revision other than the last one reported.
    Snapshot(Snapshot),
    /// It can't be read now, and why; what was loaded stays.
    Failed(String),
}

/// Holds a running watch; it ends when the receiver of its updates is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    poke: Arc<Notify>,
}

impl Handle {
    /// Has the source read again now (SIGHUP, a webhook, an operator).
    pub fn poke(&self) {
        self.poke.notify_one();
    }
}

/// Follows `source` in a task of the current tokio runtime. The first update comes at once.
pub fn spawn(source: SourceConfig, out: Sender<Update>) -> Handle {
    let poke = Arc::new(Notify::new());
    let handle = Handle { poke: poke.clone() };
    let SourceConfig { inventory, state, fetcher } = source;
    match inventory {
        // A bare repository holds no manifests of its own: its default branch is meant.
        Inventory::Directory(root) if git::is_bare(&root) => {
            let git = Git::at(root.display().to_string());
            tokio::spawn(git::follow(git, state, fetcher, poke, out))
        }
        Inventory::Directory(root) => tokio::spawn(follow_directory(root, poke, out)),
        Inventory::Git(git) => tokio::spawn(git::follow(git, state, fetcher, poke, out)),
        Inventory::Own => tokio::spawn(git::follow_own(state, fetcher, poke, out)),
    };
    handle
}

/// Passes on what is new, and only that.
pub(super) struct Reporter {
    out: Sender<Update>,
    /// The key of the last report: an error's text, or what tells snapshots apart.
    last: Option<Arc<str>>,
}

impl Reporter {
    pub fn new(out: Sender<Update>) -> Reporter {
        Reporter { out, last: None }
    }

    /// Nothing was reported yet.
    pub fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// False when nobody listens any more.
    pub async fn report(&mut self, result: Result<Snapshot, SourceError>) -> bool {
        let key = match &result {
            Ok(snapshot) => snapshot.revision.clone(),
            Err(error) => error.to_string().into(),
        };
        self.report_as(key, result).await
    }

    /// The same, where `key` and not the revision tells what is new.
    pub async fn report_as(&mut self, key: Arc<str>, result: Result<Snapshot, SourceError>) -> bool {
        if self.last.as_ref() == Some(&key) {
            return !self.out.is_closed();
        }
        self.last = Some(key);
        let update = match result {
            Ok(snapshot) => Update::Snapshot(snapshot),
            Err(error) => Update::Failed(error.to_string()),
        };
        self.out.send(update).await.is_ok()
    }

    pub async fn closed(&self) {
        self.out.closed().await;
    }
}

async fn follow_directory(root: PathBuf, poke: Arc<Notify>, out: Sender<Update>) {
    let mut reporter = Reporter::new(out);
    let mut alarm = Alarm::default();
    loop {
        let result;
        (alarm, result) = look(alarm, root.clone()).await;
        if !reporter.report(result).await {
            return;
        }
        let pause = if alarm.is_armed() { RESCAN } else { RESCAN_BLIND };
        tokio::select! {
            () = alarm.rung() => {}
            () = poke.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = reporter.closed() => return,
        }
    }
}

/// Arms before reading: a change during the read rings for the next one.
async fn look(mut alarm: Alarm, root: PathBuf) -> (Alarm, Result<Snapshot, SourceError>) {
    let path = root.clone();
    let task = tokio::task::spawn_blocking(move || {
        alarm.settle(|| places::of_directory(&root), is_noise);
        (alarm, directory::read(&root))
    });
    task.await.unwrap_or_else(|error| {
        let why = format!("reading it failed: {error}");
        (Alarm::default(), Err(SourceError::Unreadable { path, why }))
    })
}

/// What happens inside `.git` is no change of the inventory.
fn is_noise(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == ".git")
}
