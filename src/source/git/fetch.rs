//! The daemon's half of a fetch: runs this program again and waits, but not for ever.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::Fetched;
use super::request::{Request, UNTRUSTED, VARIABLE};
use crate::model::{Git, Span};
use crate::source::SourceError;

/// The hidden subcommand that `fetch_main` answers.
pub const SUBCOMMAND: &str = "internal-fetch";
/// How much of the child's complaint is repeated, in characters.
const COMPLAINT: usize = 1000;

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

impl Fetcher {
    /// Brings the mirror at `mirror` up to date with the repository. A child that hangs is
    /// killed with all that it started, one that crashes is an error; the daemon goes on.
    pub(super) async fn fetch(&self, mirror: &Path, git: &Git) -> Result<Fetched, SourceError> {
        self.run(Request::new(mirror.to_owned(), git), git).await
    }

    /// The same with all history, which a commit that is to be pushed needs below it.
    pub(in crate::source) async fn fetch_whole(
        &self,
        mirror: &Path,
        git: &Git,
    ) -> Result<Fetched, SourceError> {
        let request = Request::new(mirror.to_owned(), git);
        self.run(Request { whole: true, ..request }, git).await
    }

    async fn run(&self, request: Request, git: &Git) -> Result<Fetched, SourceError> {
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
                understand(&output, git)
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
pub struct Group(Option<Pid>);

impl Group {
    pub fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    pub fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.map(|group| killpg(group, Signal::SIGKILL));
    }
}

fn understand(output: &Output, git: &Git) -> Result<Fetched, SourceError> {
    let complaint = tame(&output.stderr);
    let answer = String::from_utf8_lossy(&output.stdout);
    let answer = answer.trim_end().split_once('\t');
    let fetched = answer.map(|(commit, name)| Fetched { commit: commit.to_owned(), name: name.to_owned() });
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
        _ => Err(fail(complaint)),
    }
}

/// A child's complaint, for people.
pub fn tame(complaint: &[u8]) -> String {
    // Some of it is a server's: nothing of it may move a terminal's cursor.
    let tame = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(complaint).trim().chars().map(tame).take(COMPLAINT).collect()
}
