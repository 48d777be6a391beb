//! Programs that are called: bounded in time and output, without the daemon's environment, and ended together with what
//! they started.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::model::printable::is_printable;

/// Most bytes of each of the two outputs; a program that writes more is ended.
const OUTPUT_MAX: u64 = 64 << 10;
/// Most characters of its words that a message repeats.
const WORDS_MAX: usize = 200;

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Why there is nothing.
#[derive(Debug)]
pub(super) enum NoEnd {
    /// It could not be started: nothing was done.
    NotStarted(io::Error),
    Slow,
    TooMuch,
    Broken(io::Error),
}

impl Ended {
    /// What it complains about, on one line.
    pub(super) fn words(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = lines.join("; ");
        words.chars().take(WORDS_MAX).map(|c| if is_printable(c) { c } else { '?' }).collect()
    }
}

/// A command with nothing of the daemon's environment but where programs are found.
pub(super) fn bare(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    command
}

/// Runs a program to its end.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Ended, NoEnd> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0);
    let mut child = command.spawn().map_err(NoEnd::NotStarted)?;
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err) = tokio::try_join!(all_of(stdout), all_of(stderr))?;
        let status = child.wait().await.map_err(NoEnd::Broken)?;
        Ok(Ended { status, stdout: out, stderr: err })
    };
    let ended = tokio::time::timeout(limit, work).await.unwrap_or(Err(NoEnd::Slow))?;
    group.ended();
    Ok(ended)
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> Result<String, NoEnd> {
    let Some(stream) = stream else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    stream.take(OUTPUT_MAX + 1).read_to_end(&mut bytes).await.map_err(NoEnd::Broken)?;
    if bytes.len() as u64 > OUTPUT_MAX {
        return Err(NoEnd::TooMuch);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The program and what it started: ended together unless they ended by themselves.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.map(|group| killpg(group, Signal::SIGKILL));
    }
}
