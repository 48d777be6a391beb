//! An inventory in a git repository: fetched by a child process into a bare mirror, read from
//! there without a work tree.

pub(super) mod address;
mod child;
mod commit;
mod committed;
mod copies;
mod fetch;
mod link;
pub(super) mod local;
pub(super) mod mirror;
mod request;
pub mod revision;
mod signature;
mod tidy;
mod transport;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;

pub use child::fetch_main;
pub use commit::{Fault, Order};
pub use commit::{SUBCOMMAND as WRITE, write_main};
pub use committed::differences;
pub use copies::heal;
pub use fetch::Fetcher;
pub(super) use fetch::{Group, tame};
pub use request::Request;
pub use tidy::sweep;

use self::mirror::{KnownTree, Mirror, Reading};
use super::SourceError;
use super::watch::alarm::Alarm;
use super::watch::{Call, Reporter, SLOW, beside};
use crate::model::{Git, Span, hex};

/// Pause after the first failure, in milliseconds, unless polls are more frequent.
const FIRST_PAUSE: u64 = 60 * 1000;
/// Longest pause after failures, in milliseconds.
const LONGEST_PAUSE: u64 = 15 * 60 * 1000;
/// Failures after which the pause between two tries grows no further in any case.
const MOST_DOUBLINGS: u32 = 16;

/// One commit, found in the repository and present in the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Forty hexadecimal digits.
    pub commit: String,
    /// What a person calls it: the branch or the tag.
    pub name: String,
}

impl Fetched {
    /// `main@sha1:…`.
    pub fn revision(&self) -> Arc<str> {
        format!("{}@sha1:{}", self.name, self.commit).into()
    }
}

/// Where copies of repositories and of their larger files lie below the state directory.
pub fn place(state: &Path) -> PathBuf {
    state.join("git")
}

/// Whether a directory is a bare repository rather than a tree of files.
pub fn is_bare(root: &Path) -> bool {
    root.join("HEAD").is_file() && root.join("objects").is_dir() && root.join("refs").is_dir()
}

/// The bare copy of a repository. Another branch is another copy: what was fetched last must never
/// be of the wrong one, nor of the time before signatures were asked for. Two sources never share
/// one.
pub fn mirror_of(git: &Git, state: &Path) -> PathBuf {
    let mut key = format!("{}\0{:?}", git.url, git.reference);
    let folder = (!git.path.is_empty()).then(|| git.path.clone());
    let verify = git.verify.as_ref().map(|verify| format!("{verify:?}"));
    for more in [folder, verify].into_iter().flatten() {
        key += &format!("\0{more}");
    }
    let digest = hex(&Sha256::digest(key)[..8]);
    place(state).join(format!("{digest}.git"))
}

/// Follows the repository that the daemon keeps itself, and makes it first if need be.
pub(super) async fn follow_own(
    state: PathBuf,
    fetcher: Fetcher,
    call: Arc<Call>,
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
    follow(Git::at(path.display().to_string()), state, fetcher, call, out).await;
}

pub(super) async fn follow(
    git: Git,
    state: PathBuf,
    fetcher: Fetcher,
    call: Arc<Call>,
    out: Sender<super::Update>,
) {
    let mut reporter = Reporter::new(out);
    let mut follower = Follower::new(git, &state, fetcher);
    let mut alarm = Alarm::default();
    loop {
        alarm = follower.arm(alarm).await;
        call.looks();
        let result = tokio::select! {
            result = follower.look() => result,
            () = reporter.closed() => return,
        };
        // A daemon that starts while the repository is unreachable uses what it fetched last.
        if result.is_err()
            && reporter.is_new()
            && let Some(last) = follower.last_fetched().await
            && !reporter.report_as(last.tree, Ok(last.snapshot)).await
        {
            return;
        }
        let pause = follower.pause(result.as_ref().err());
        call.waits(pause);
        let failure = result.as_ref().err().and_then(SourceError::unread);
        if !follower.report(&mut reporter, result).await {
            return;
        }
        call.ends(failure);
        tokio::select! {
            () = alarm.rung() => {}
            () = call.requested() => {}
            () = tokio::time::sleep(pause) => {}
            () = reporter.closed() => return,
        }
    }
}

/// Removes a damaged mirror.
pub(super) async fn forget(mirror: &Path) -> Result<(), SourceError> {
    match tokio::fs::remove_dir_all(mirror).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SourceError::Mirror(format!("{} can't be removed: {error}", mirror.display())))
        }
        _ => Ok(()),
    }
}

/// One repository and its mirror.
struct Follower {
    git: Git,
    fetcher: Fetcher,
    mirror: Mirror,
    failures: u32,
    /// The tree that was reported last, unless a failure was reported since.
    known: Option<KnownTree>,
}

impl Follower {
    fn new(git: Git, state: &Path, fetcher: Fetcher) -> Follower {
        let mirror = Mirror { path: mirror_of(&git, state), copies: place(state).join("copies") };
        Follower { git, fetcher, mirror, failures: 0, known: None }
    }

    /// Watches the references of a repository on this host.
    async fn arm(&self, mut alarm: Alarm) -> Alarm {
        let Some(path) = local::path(&self.git.url) else { return alarm };
        let armed = beside(move || {
            alarm.settle(|| local::places(&path), local::is_noise);
            alarm
        });
        // Without an alarm it is still polled.
        tokio::time::timeout(SLOW, armed).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// `None` where nothing is new.
    async fn look(&mut self) -> Result<Option<Reading>, SourceError> {
        let fetched = self.fetcher.fetch(&self.mirror.path, &self.git).await?;
        match self.read(fetched).await {
            // It holds nothing that can't be fetched again.
            Err(error @ SourceError::Mirror(_)) => {
                tracing::warn!(%error, "the mirror is made anew");
                forget(&self.mirror.path).await?;
                let fetched = self.fetcher.fetch(&self.mirror.path, &self.git).await?;
                self.read(fetched).await
            }
            other => other,
        }
    }

    async fn last_fetched(&self) -> Option<Reading> {
        let fetched = self.mirror.last_fetched()?;
        self.read(fetched).await.ok().flatten()
    }

    async fn read(&self, fetched: Fetched) -> Result<Option<Reading>, SourceError> {
        let (mirror, path, known) = (self.mirror.clone(), self.git.path.clone(), self.known.clone());
        let task = tokio::task::spawn_blocking(move || mirror.read(&fetched, &path, known.as_ref()));
        task.await
            .unwrap_or_else(|error| Err(SourceError::Git(format!("reading the mirror failed: {error}"))))
    }

    /// False when the receiver is gone.
    async fn report(
        &mut self,
        reporter: &mut Reporter,
        result: Result<Option<Reading>, SourceError>,
    ) -> bool {
        match result {
            Ok(None) => true,
            Ok(Some(reading)) => {
                self.known = Some(reading.known());
                reporter.report_as(reading.tree, Ok(reading.snapshot)).await
            }
            Err(error) => {
                self.known = None;
                reporter.report_as(error.to_string().into(), Err(error)).await
            }
        }
    }

    /// The time to the next poll: a tenth more or less, so that many daemons don't ask at once,
    /// and longer after each failure to reach the repository.
    fn pause(&mut self, error: Option<&SourceError>) -> Duration {
        let away = error.is_some_and(|error| matches!(error, SourceError::Git(_) | SourceError::Mirror(_)));
        self.failures = if away { self.failures.saturating_add(1) } else { 0 };
        let Span(poll) = self.git.poll;
        let pause = match self.failures {
            0 => poll,
            failures => {
                let first = poll.min(FIRST_PAUSE);
                first.saturating_mul(1 << (failures - 1).min(MOST_DOUBLINGS)).min(LONGEST_PAUSE)
            }
        };
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let jitter = u64::from(clock.subsec_nanos()) % (pause / 5).max(1);
        Duration::from_millis(pause - pause / 10 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_shrink_at_once() {
        let git = Git { poll: Span::seconds(60), ..Git::at("/x".into()) };
        let mut follower = Follower::new(git, Path::new("/state"), Fetcher::default());
        let away = SourceError::Git("away".into());
        let near = |pause: Duration, seconds: u64| {
            assert!((seconds * 9 / 10..=seconds * 11 / 10).contains(&pause.as_secs()), "{pause:?} {seconds}");
        };
        near(follower.pause(None), 60);
        for seconds in [60, 120, 240, 480, 900, 900] {
            near(follower.pause(Some(&away)), seconds);
        }
        for _ in 0..100 {
            near(follower.pause(Some(&away)), 900);
        }
        near(follower.pause(None), 60);
        follower.git.poll = Span::seconds(3600);
        near(follower.pause(None), 3600);
        near(follower.pause(Some(&away)), 60);
        follower.git.poll = Span::seconds(10);
        near(follower.pause(None), 10);
        near(follower.pause(Some(&away)), 10);
    }
}
