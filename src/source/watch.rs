//! Follows a source and reports each new revision, and each new reason why there is none.

pub(super) mod alarm;
mod distant;
pub(super) mod watched;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot, watch};

use self::alarm::Alarm;
use super::{Snapshot, SourceConfig, SourceError, directory, git};
use crate::model::{Git, Inventory, Span};

/// How often a directory is read again although nothing was reported: network file systems and
/// full event queues lose reports, the content's hash does not lie.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where the operating system gives no reports at all.
const RESCAN_BLIND: Duration = Duration::from_secs(2);

/// Longest time that reading a directory may take before the source counts as unreachable: a file server
/// may not answer for hours. The reading continues.
pub(super) const SLOW: Duration = Duration::from_secs(30);

/// Shortest time between two looks that somebody asked for: however many ask, one look answers
/// them all.
const BETWEEN_CALLS: Duration = Duration::from_secs(1);

/// What became of a source.
#[derive(Clone, Debug)]
pub enum Update {
    /// A revision other than the last one reported.
    Snapshot(Snapshot),
    /// It can't be read now, and why; what was loaded stays.
    Failed(SourceError),
}

/// Holds a running watch; it ends when the receiver of its updates is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    call: Arc<Call>,
}

impl Handle {
    /// Has the source read again now (SIGHUP, a webhook, an operator).
    pub fn poke(&self) {
        self.call.bell.notify_one();
    }

    /// The same, and waits for the end of a look that began after this was called. The error says why the source
    /// could not be read.
    pub async fn look(&self) -> Result<(), Arc<str>> {
        let mut looks = self.call.looks.subscribe();
        let next = looks.borrow().begun + 1;
        self.poke();
        let failure = looks.wait_for(|looks| looks.ended >= next).await.map(|looks| looks.failure.clone());
        match failure {
            Ok(failure) => failure.map_or(Ok(()), Err),
            Err(_) => Err("it is not followed any more".into()),
        }
    }

    /// When the source is read again if nothing happens before; `None` while it is being read.
    pub fn next(&self) -> Option<SystemTime> {
        self.call.lock().next
    }
}

/// The looks at a source, which come one after the other.
#[derive(Debug, Default)]
struct Looks {
    begun: u64,
    /// The number of the last that ended, and why it could not read the source.
    ended: u64,
    failure: Option<Arc<str>>,
}

/// What passes between a watch and its handles.
#[derive(Debug, Default)]
pub(super) struct Call {
    bell: Notify,
    looks: watch::Sender<Looks>,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    looked: Option<Instant>,
    next: Option<SystemTime>,
}

impl Call {
    fn lock(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The source is being read.
    pub(super) fn looks(&self) {
        *self.lock() = Times { looked: Some(Instant::now()), next: None };
        self.begins();
    }

    /// A look begins.
    fn begins(&self) {
        self.looks.send_modify(|looks| looks.begun += 1);
    }

    /// The look that began last ended.
    pub(super) fn ends(&self, failure: Option<Arc<str>>) {
        self.looks.send_modify(|looks| (looks.ended, looks.failure) = (looks.begun, failure));
    }

    /// The source was read and is left alone for `pause`.
    pub(super) fn waits(&self, pause: Duration) {
        self.lock().next = SystemTime::now().checked_add(pause);
    }

    /// Resolves at a request to look, or at once if one came since the last look began.
    pub(super) async fn requested(&self) {
        self.bell.notified().await;
        let looked = self.lock().looked;
        if let Some(looked) = looked {
            tokio::time::sleep_until((looked + BETWEEN_CALLS).into()).await;
        }
    }
}

/// Follows `source` in a task of the current tokio runtime. The first update comes at once.
pub fn spawn(source: SourceConfig, out: Sender<Update>) -> Handle {
    let call = Arc::new(Call::default());
    let handle = Handle { call: call.clone() };
    let SourceConfig { inventory, poll, state, fetcher } = source;
    match inventory {
        // A bare repository holds no manifests of its own: its default branch is meant.
        Inventory::Directory(root) if git::is_bare(&root) => {
            let git = Git::at(root.display().to_string());
            tokio::spawn(git::follow(git, state, fetcher, call, out))
        }
        Inventory::Directory(root) => tokio::spawn(follow_directory(root, poll, call, out)),
        Inventory::Git(git) => tokio::spawn(git::follow(git, state, fetcher, call, out)),
        Inventory::Own => tokio::spawn(git::follow_own(state, fetcher, call, out)),
    };
    handle
}

/// Passes on what is new, and only that.
pub(super) struct Reporter {
    out: Sender<Update>,
    /// The key of the last report: an error's text, or what identifies a snapshot.
    last: Option<Arc<str>>,
}

impl Reporter {
    pub(super) fn new(out: Sender<Update>) -> Reporter {
        Reporter { out, last: None }
    }

    /// Nothing was reported yet.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// False when the receiver is gone.
    pub(super) async fn report(&mut self, result: Result<Snapshot, SourceError>) -> bool {
        let key = match &result {
            Ok(snapshot) => snapshot.revision.clone(),
            Err(error) => error.to_string().into(),
        };
        self.report_as(key, result).await
    }

    /// The same, where `key` and not the revision shows whether something is new.
    pub(super) async fn report_as(&mut self, key: Arc<str>, result: Result<Snapshot, SourceError>) -> bool {
        if self.last.as_ref() == Some(&key) {
            return !self.out.is_closed();
        }
        self.last = Some(key);
        let update = match result {
            Ok(snapshot) => Update::Snapshot(snapshot),
            Err(error) => Update::Failed(error),
        };
        self.out.send(update).await.is_ok()
    }

    pub(super) async fn closed(&self) {
        self.out.closed().await;
    }
}

async fn follow_directory(root: PathBuf, poll: Option<Span>, call: Arc<Call>, out: Sender<Update>) {
    let mut reporter = Reporter::new(out);
    let mut alarm = Alarm::default();
    loop {
        call.begins();
        let mut looking = look(alarm, root.clone());
        let looked = loop {
            tokio::select! {
                looked = &mut looking => break looked,
                () = tokio::time::sleep(SLOW) => {
                    if !reporter.report(Err(slow(&root))).await {
                        return;
                    }
                }
                () = reporter.closed() => return,
            }
        };
        let Looked { result, distant, took, alarm: armed } = looked.unwrap_or_else(|_| Looked {
            alarm: Alarm::default(),
            result: Err(SourceError::Unreadable { path: root.clone(), why: "reading it failed".into() }),
            distant: false,
            took: Duration::ZERO,
        });
        alarm = armed;
        let rescan = match poll {
            Some(Span(poll)) => Duration::from_millis(poll),
            None if alarm.is_armed() && !distant => RESCAN,
            // A file system that is slow to read is not read all the time.
            None => RESCAN_BLIND.max(took * 10),
        };
        call.waits(rescan);
        let failure = result.as_ref().err().and_then(SourceError::unread);
        if !reporter.report(result).await {
            return;
        }
        call.ends(failure);
        tokio::select! {
            () = alarm.rung() => {}
            () = call.requested() => {}
            () = tokio::time::sleep(rescan) => {}
            () = reporter.closed() => return,
        }
    }
}

/// What a look at a directory found.
struct Looked {
    alarm: Alarm,
    result: Result<Snapshot, SourceError>,
    /// Other hosts may change it without this kernel noticing.
    distant: bool,
    took: Duration,
}

/// Arms before reading: a change during the read rings for the next one. In a thread of its own, which
/// a file server that does not answer may keep for ever.
fn look(mut alarm: Alarm, root: PathBuf) -> oneshot::Receiver<Looked> {
    beside(move || {
        let start = Instant::now();
        alarm.settle(|| watched::of_directory(&root), is_noise);
        let result = directory::read(&root);
        Looked { alarm, result, distant: distant::is_distant(&root), took: start.elapsed() }
    })
}

/// Runs `work` in a thread of its own that nothing has to wait for, not even the end of the process.
pub(super) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (answer, found) = oneshot::channel();
    let spawned = crate::thread::start("source", move || {
        // The receiver may be gone.
        let _ = answer.send(work());
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread can be started to read a source");
    }
    found
}

/// The error of a directory that takes too long to read.
pub(super) fn slow(root: &Path) -> SourceError {
    let why = format!("its file system has not answered for {} s", SLOW.as_secs());
    SourceError::Unreadable { path: root.into(), why }
}

/// What happens inside `.git` is no change of the inventory.
fn is_noise(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == ".git")
}
