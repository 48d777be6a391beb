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
pub struct Watch {
    poke: Arc<Notify>,
}

impl Watch {
    /// Has the source read again now (SIGHUP, a webhook, an operator).
    pub fn poke(&self) {
        self.poke.notify_one();
    }
}

/// Follows `source` in a task of the current tokio runtime. The first update comes at once.
pub fn spawn(source: SourceConfig, out: Sender<Update>) -> Watch {
    let poke = Arc::new(Notify::new());
    let watch = Watch { poke: poke.clone() };
    match source {
        SourceConfig::Directory(root) => tokio::spawn(follow_directory(root, poke, out)),
        SourceConfig::Git(repository) => tokio::spawn(git::follow(repository, poke, out)),
    };
    watch
}

/// Passes on what is new, and only that.
pub(super) struct Reporter {
    out: Sender<Update>,
    last: Option<Result<Arc<str>, String>>,
}

impl Reporter {
    pub fn new(out: Sender<Update>) -> Reporter {
        Reporter { out, last: None }
    }

    /// False when nobody listens any more.
    pub async fn report(&mut self, result: Result<Snapshot, SourceError>) -> bool {
        let result = result.map_err(|error| error.to_string());
        let key = result.as_ref().map(|snapshot| snapshot.revision.clone()).map_err(String::clone);
        if self.last.as_ref() == Some(&key) {
            return !self.out.is_closed();
        }
        self.last = Some(key);
        let update = match result {
            Ok(snapshot) => Update::Snapshot(snapshot),
            Err(why) => Update::Failed(why),
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
