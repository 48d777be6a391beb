//! The daemon's half of a fetch: runs this program again and waits, but not for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::Fetched;
use super::request::{Request, UNTRUSTED, VARIABLE};
use crate::model::{Git, Span, printable};
use crate::source::SourceError;

/// The hidden subcommand that `fetch_main` answers.
pub(super) const SUBCOMMAND: &str = "internal-fetch";
/// Fetches at once, whatever the number of sources: each may take [`super::child::MEMORY`] bytes.
const MOST_FETCHES: usize = 2;
static FETCHES: Semaphore = Semaphore::const_new(MOST_FETCHES);
/// The same for fetches that a person waits for: one that hangs leaves room for another source's.
static URGENT: Semaphore = Semaphore::const_new(MOST_FETCHES);
/// How much of the child's complaint is repeated, in characters.
const COMPLAINT: usize = 1000;

/// What the operating system says when the state directory takes no more.
const NOT_STORED: [Errno; 3] = [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS];

/// How a fetch is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetcher {
    /// The program whose `internal-fetch` is run.
    pub program: PathBuf,
}

impl Default for Fetcher {
    /// This program itself, even if its file was replaced meanwhile.
    fn default() -> Fetcher {
        Fetcher { program: "/proc/self/exe".into() }
    }
}

/// The mirrors that are written. Git's own lock files let a second writer fail, and one that clears what a killed
/// fetch left would take them from the first: a source is read again while an edit of it is stored.
static WRITTEN: Mutex<BTreeMap<PathBuf, Weak<Turn>>> = Mutex::new(BTreeMap::new());

type Turn = tokio::sync::Mutex<()>;

/// Waits until nobody else writes a mirror; until the guard is dropped nobody else does.
async fn alone_in(mirror: &Path) -> OwnedMutexGuard<()> {
    let turn = {
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, turn| turn.strong_count() > 0);
        let turn = written.get(mirror).and_then(Weak::upgrade).unwrap_or_default();
        written.insert(mirror.to_owned(), Arc::downgrade(&turn));
        turn
    };
    turn.lock_owned().await
}

impl Fetcher {
    /// Brings the mirror at `mirror` up to date with the repository. A child that hangs is killed with all
    /// processes that it started, one that crashes is an error; the daemon continues.
    pub(super) async fn fetch(&self, mirror: &Path, git: &Git) -> Result<Fetched, SourceError> {
        let _alone = alone_in(mirror).await;
        let _turn = FETCHES.acquire().await;
        self.run(Request::new(mirror.to_owned(), git), git).await
    }

    /// The same with all history, which a commit that is to be pushed needs below it.
    pub(in crate::source) async fn fetch_whole(
        &self,
        mirror: &Path,
        git: &Git,
    ) -> Result<Fetched, SourceError> {
        let _alone = alone_in(mirror).await;
        let _turn = URGENT.acquire().await;
        let request = Request::new(mirror.to_owned(), git);
        self.run(Request { whole: true, ..request }, git).await
    }

    async fn run(&self, request: Request, git: &Git) -> Result<Fetched, SourceError> {
        let mirror = request.mirror.clone();
        let fail = |why: String| SourceError::Git(format!("fetching {git} failed: {why}"));
        let child = self.command(&request).spawn();
        let child = child.map_err(|error| fail(format!("{}: {error}", self.program.display())))?;
        let group = Group::of(&child);
        let Span(limit) = git.limit;
        match tokio::time::timeout(Duration::from_millis(limit), child.wait_with_output()).await {
            Err(_) => Err(fail(format!("no end within {} (`timeout` sets it)", git.limit))),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Ok(Ok(output)) => {
                group.ended();
                understand(&output, git, &mirror)
            }
        }
    }

    fn command(&self, request: &Request) -> Command {
        let request = serde_json::to_string(request);
        let mut command = Command::new(&self.program);
        command.arg(SUBCOMMAND).env(VARIABLE, request.unwrap_or_default()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// The child and what it started, `ssh` above all: ended together unless they ended by themselves.
pub(crate) struct Group(Option<Pid>);

impl Group {
    pub(crate) fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.map(|group| killpg(group, Signal::SIGKILL));
    }
}

fn understand(output: &Output, git: &Git, mirror: &Path) -> Result<Fetched, SourceError> {
    let complaint = tame(&output.stderr);
    let answer = String::from_utf8_lossy(&output.stdout);
    let answer = answer.trim_end().split_once('\t');
    let fetched = answer.map(|(commit, name)| Fetched {
        commit: commit.to_owned(),
        name: printable::line(name).into_owned(),
    });
    let fail = |why: String| SourceError::Git(format!("fetching {git} failed: {why}"));
    match (output.status.code(), fetched) {
        (Some(0), Some(fetched)) => {
            if !complaint.is_empty() {
                tracing::warn!("fetching {git}: {complaint}");
            }
            Ok(fetched)
        }
        (Some(0), None) => Err(fail("the child process gave no answer".to_owned())),
        (Some(code), Some(fetched)) if code == i32::from(UNTRUSTED) => {
            Err(SourceError::Untrusted { revision: fetched.revision(), why: complaint })
        }
        _ if complaint.is_empty() => Err(fail(output.status.to_string())),
        // The repository is there; what is not is room for it.
        _ if NOT_STORED.iter().any(|error| complaint.contains(error.desc())) => {
            Err(SourceError::Copy { path: mirror.into(), why: complaint })
        }
        _ => Err(fail(complaint)),
    }
}

/// A child's complaint, for people, on one line: some of it is a server's, which must neither begin
/// lines of its own nor move a terminal's cursor.
pub(crate) fn tame(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    printable::line(&lines.join(" | ")).chars().take(COMPLAINT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceCondition;

    #[test]
    fn a_servers_words_stay_on_one_line_and_show_what_they_are() {
        let words =
            "remote: no\r\n\n2026-11-29T00:00:00Z  INFO web-1 was wiped\n\x1b[2J \u{202e}\u{200b}\u{2028}é";
        let tamed = tame(words.as_bytes());
        assert_eq!(
            tamed,
            "remote: no | 2026-11-29T00:00:00Z  INFO web-1 was wiped | \\u{1b}[2J \\u{202e}\\u{200b}\\u{2028}é"
        );
        assert!(tame(&[b'x'; 5000]).len() == COMPLAINT);
    }

    #[tokio::test]
    async fn a_full_disk_is_not_the_repositorys_fault() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("fetch");
        let text = "#!/bin/sh\necho 'failed to write pack: No space left on device' >&2\nexit 1\n";
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error =
            Fetcher { program }.fetch(folder.path(), &Git::at("/srv/x.git".into())).await.unwrap_err();
        assert_eq!(error.condition(), SourceCondition::NotStored, "{error}");
    }

    #[tokio::test]
    async fn fetches_of_many_sources_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let program = folder.path().join("fetch");
        // Writes how many of it run at the same time.
        let text = format!(
            "#!/bin/sh\necho + >> {0}\nsleep 0.2\necho - >> {0}\nprintf '%040d\\tmain\\n' 0\n",
            log.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let fetcher = Fetcher { program };
        let git = Git::at("/srv/x.git".into());
        let mirrors: Vec<PathBuf> = (0..5).map(|number| folder.path().join(number.to_string())).collect();
        let one = |at: usize| fetcher.fetch(&mirrors[at], &git);
        let (a, b, c, d, e) = tokio::join!(one(0), one(1), one(2), one(3), one(4));
        for fetched in [a, b, c, d, e] {
            assert_eq!(fetched.unwrap().name, "main");
        }
        let (mut running, mut most) = (0_usize, 0);
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            running = if line == "+" { running + 1 } else { running - 1 };
            most = most.max(running);
        }
        assert!(most <= MOST_FETCHES && running == 0, "{most}");
    }

    #[tokio::test]
    async fn a_mirror_is_written_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("fetch");
        // As git does: who finds the lock file fails.
        let lock = folder.path().join("shallow.lock");
        let text = format!(
            "#!/bin/sh\nmkdir {0} || exit 1\nsleep 0.1\nrmdir {0}\nprintf '%040d\\tmain\\n' 0\n",
            lock.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (fetcher, git) = (Fetcher { program }, Git::at("/srv/x.git".into()));
        let (poll, edit) =
            (|| fetcher.fetch(folder.path(), &git), || fetcher.fetch_whole(folder.path(), &git));
        let (a, b, c, d) = tokio::join!(poll(), edit(), poll(), edit());
        for fetched in [a, b, c, d] {
            assert_eq!(fetched.unwrap().name, "main");
        }
    }
}
