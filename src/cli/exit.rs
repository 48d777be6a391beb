//! How commands end. The numbers are a promise to scripts.

use std::process::ExitCode;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Invalid manifests, or an operation that failed.
    Failed,
    /// Only with `--detailed-exitcode`: there are changes.
    Changes,
    /// Refused by a safety rule.
    Refused,
    /// The plan was made for another state.
    Stale,
    /// No daemon or repository answers, or a wait ran out.
    Unreachable,
    /// The daemon may not do this, or not for whoever asks.
    NotAllowed,
    Interrupted,
    /// Wrong usage; not clap's own 2, which stands for changes found.
    Usage,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Changes => 2,
            Exit::Refused => 3,
            Exit::Stale => 4,
            Exit::Unreachable => 5,
            Exit::NotAllowed => 6,
            Exit::Usage => 64,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        exit.code().into()
    }
}

/// Prints what clap has to say: help and version to stdout, mistakes to stderr.
pub fn usage(error: &clap::Error) -> Exit {
    // A closed pipe is nobody's mistake.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Says something to the person, on stderr. Nobody listening is no mistake.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The same, with our name before it.
pub fn talk(text: &str) {
    say(format!("voldemort: {text}"));
}

/// Writes a command's result to stdout.
pub fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough closes the pipe.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(format!("voldemort: can't write to stdout: {error}"));
            Exit::Failed
        }
        _ => Exit::Done,
    }
}
