//! A directory that goes away with its owner, and the signals that must not prevent that.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// A temporary directory, removed when dropped unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a new directory, readable by nobody else, below `TMPDIR` (or `/tmp`).
    pub fn new(keep: bool) -> io::Result<Scratch> {
        let base = std::env::temp_dir();
        for number in 0..1000 {
            let path = base.join(format!("voldemort-try-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path, keep }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(named(&path, error)),
            }
        }
        Err(io::Error::other(format!("{} is full of directories of ours", base.display())))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The same error, with the path it is about.
pub fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the process, so that what
/// was started can be ended and removed.
pub fn watch_signals() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether such a signal came.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_goes_away_with_all_it_holds() {
        let scratch = Scratch::new(false).unwrap();
        let path = scratch.path().to_owned();
        fs::write(scratch.join("disk"), b"x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn kept_scratch_stays() {
        let scratch = Scratch::new(true).unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(path.is_dir());
        fs::remove_dir_all(path).unwrap();
    }
}
