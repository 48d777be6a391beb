//! An inventory in a git repository: fetched by a child process into a bare mirror, read from
//! there without a work tree.

mod child;
mod fetch;
mod local;
mod mirror;
pub mod revision;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

pub use child::fetch_main;
pub use fetch::Fetcher;

use self::mirror::{Mirror, Reading};
use super::SourceError;
use super::watch::Reporter;
use super::watch::alarm::Alarm;
use crate::model::{Git, Inventory, Reference, Span, hex};

/// Longest time that one fetch may take.
pub const FETCH_LIMIT: Duration = Duration::from_secs(120);
/// Failures after which the pause between two tries grows no further.
const MOST_DOUBLINGS: u32 = 4;

/// One commit, found in the repository and present in the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Forty hexadecimal digits.
    pub commit: String,
    /// What a person calls it: the branch or the tag.
    pub name: String,
}

/// Whether a directory is a bare repository rather than a tree of files.
pub fn is_bare(root: &Path) -> bool {
    root.join("HEAD").is_file() && root.join("objects").is_dir() && root.join("refs").is_dir()
}

/// Follows the repository that the daemon keeps itself, and makes it first if need be.
pub(super) async fn follow_own(
    state: PathBuf,
    fetcher: Fetcher,
    poke: Arc<Notify>,
    out: Sender<super::Update>,
) {
    let path = state.join("inventory.git");
    let made = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || mirror::create_own(&path)).await
    };
    if let Ok(Err(error)) = made {
        tracing::warn!(path = %path.display(), %error, "the daemon's own repository could not be made");
    }
    let url = path.display().to_string();
    let git = Git { url, reference: Reference::Default, path: String::new(), poll: Inventory::POLL };
    follow(git, state, fetcher, poke, out).await;
}

pub(super) async fn follow(
    git: Git,
    state: PathBuf,
    fetcher: Fetcher,
    poke: Arc<Notify>,
    out: Sender<super::Update>,
) {
    let mut reporter = Reporter::new(out);
    let mut follower = Follower::new(git, &state, fetcher);
    let mut alarm = Alarm::default();
    loop {
        alarm = follower.arm(alarm).await;
        let result = tokio::select! {
            result = follower.look() => result,
            () = reporter.closed() => return,
        };
        // A daemon that starts while the repository is away goes on with what it fetched last.
        if result.is_err()
            && reporter.is_new()
            && let Some(last) = follower.last_fetched().await
            && !reporter.report_as(last.tree, Ok(last.snapshot)).await
        {
            return;
        }
        let (key, result) = match result {
            Ok(reading) => (reading.tree, Ok(reading.snapshot)),
            Err(error) => (Arc::from(error.to_string()), Err(error)),
        };
        let pause = follower.pause(result.is_ok());
        if !reporter.report_as(key, result).await {
            return;
        }
        tokio::select! {
            () = alarm.rung() => {}
            () = poke.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = reporter.closed() => return,
        }
    }
}

/// One repository and its mirror.
struct Follower {
    git: Git,
    fetcher: Fetcher,
    mirror: Mirror,
    failures: u32,
}

impl Follower {
    fn new(git: Git, state: &Path, fetcher: Fetcher) -> Follower {
        let place = state.join("git");
        // Another branch is another mirror: what was fetched last must never be of the wrong one.
        let key = format!("{}\0{:?}", git.url, git.reference);
        let digest = hex(&Sha256::digest(key)[..8]);
        let mirror = Mirror { path: place.join(format!("{digest}.git")), copies: place.join("copies") };
        Follower { git, fetcher, mirror, failures: 0 }
    }

    /// Watches the references of a repository on this host.
    async fn arm(&self, mut alarm: Alarm) -> Alarm {
        let Some(path) = local::path(&self.git.url) else { return alarm };
        let task = tokio::task::spawn_blocking(move || {
            alarm.settle(|| local::places(&path), local::is_noise);
            alarm
        });
        task.await.unwrap_or_default()
    }

    async fn look(&mut self) -> Result<Reading, SourceError> {
        let fetched = self.fetcher.fetch(&self.mirror.path, &self.git).await?;
        self.read(fetched).await
    }

    async fn last_fetched(&self) -> Option<Reading> {
        let fetched = self.mirror.last_fetched()?;
        self.read(fetched).await.ok()
    }

    async fn read(&self, fetched: Fetched) -> Result<Reading, SourceError> {
        let (mirror, path) = (self.mirror.clone(), self.git.path.clone());
        let task = tokio::task::spawn_blocking(move || mirror.read(&fetched, &path));
        task.await
            .unwrap_or_else(|error| Err(SourceError::Git(format!("reading the mirror failed: {error}"))))
    }

    /// The time to the next poll: a tenth more or less, so that many daemons don't ask at once,
    /// and longer after each failure.
    fn pause(&mut self, good: bool) -> Duration {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let Span(poll) = self.git.poll;
        let poll = poll.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS));
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let jitter = u64::from(clock.subsec_nanos()) % (poll / 5).max(1);
        Duration::from_millis(poll - poll / 10 + jitter)
    }
}
