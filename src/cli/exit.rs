//! How commands end. The numbers are a promise to scripts.

use std::process::ExitCode;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Invalid manifests, or an operation that failed.
    Failed,
    /// Wrong usage; not clap's own 2, which stands for changes found.
    Usage,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
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

/// Writes a command's result to stdout.
pub fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough closes the pipe.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("voldemort: can't write to stdout: {error}");
            Exit::Failed
        }
        _ => Exit::Done,
    }
}
