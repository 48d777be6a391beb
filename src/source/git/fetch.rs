//! The daemon's half of a fetch: runs this program again and waits, but not for ever.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{FETCH_LIMIT, Fetched};
use crate::model::{Git, Reference};
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
    /// After this time the child is killed.
    pub limit: Duration,
}

impl Default for Fetcher {
    /// This program itself, even if its file was replaced meanwhile.
    fn default() -> Fetcher {
        Fetcher { program: "/proc/self/exe".into(), limit: FETCH_LIMIT }
    }
}

impl Fetcher {
    /// Brings the mirror at `mirror` up to date with the repository. A child that hangs is
    /// killed, one that crashes is an error; the daemon goes on.
    pub(in crate::source) async fn fetch(&self, mirror: &Path, git: &Git) -> Result<Fetched, SourceError> {
        refuse_unknown(&git.url)?;
        let fail = |why: String| SourceError::Git(format!("fetching {git} failed: {why}"));
        let child = self.command(mirror, git).spawn();
        let child = child.map_err(|error| fail(format!("{}: {error}", self.program.display())))?;
        match tokio::time::timeout(self.limit, child.wait_with_output()).await {
            Err(_) => Err(fail(format!("no answer within {} s", self.limit.as_secs_f32()))),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Ok(Ok(output)) => understand(&output).map_err(fail),
        }
    }

    fn command(&self, mirror: &Path, git: &Git) -> Command {
        let (kind, name) = match &git.reference {
            Reference::Default => ("default", ""),
            Reference::Branch(name) => ("branch", name.as_str()),
            Reference::Tag(name) => ("tag", name.as_str()),
            Reference::Commit(id) => ("commit", id.as_str()),
        };
        let mut command = Command::new(&self.program);
        command.arg(SUBCOMMAND).arg(mirror).arg(&git.url).args([kind, name]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

fn understand(output: &Output) -> Result<Fetched, String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: String = complaint.trim().chars().take(COMPLAINT).collect();
        return Err(if complaint.is_empty() { output.status.to_string() } else { complaint });
    }
    let answer = String::from_utf8_lossy(&output.stdout);
    match answer.trim_end().split_once('\t') {
        Some((commit, name)) => Ok(Fetched { commit: commit.to_owned(), name: name.to_owned() }),
        None => Err("the child process gave no answer".to_owned()),
    }
}

/// What this build can't fetch, with the way round it.
fn refuse_unknown(url: &str) -> Result<(), SourceError> {
    let scheme = match url.split_once("://") {
        Some((scheme, _)) => scheme.to_ascii_lowercase(),
        None if is_scp_like(url) => "ssh".to_owned(),
        None => return Ok(()),
    };
    match scheme.as_str() {
        "file" | "git" | "http" => Ok(()),
        _ => Err(SourceError::Git(format!(
            "this build can't fetch over {scheme}; keep a mirror (git clone --mirror, then git remote update from a \
             timer) and name its path as `git`"
        ))),
    }
}

/// `user@host:path`, as git reads it: a colon before the first slash.
pub fn is_scp_like(url: &str) -> bool {
    url.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
        && !url.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_transports_are_named() {
        for (url, scheme) in [("https://h/x", "https"), ("git@h:x.git", "ssh"), ("ssh://h/x", "ssh")] {
            let error = refuse_unknown(url).unwrap_err().to_string();
            assert!(error.contains(&format!("over {scheme};")), "{error}");
        }
        for url in ["/srv/x", "./x:y", "file:///x", "git://h/x"] {
            assert!(refuse_unknown(url).is_ok(), "{url}");
        }
    }
}
