//! A directory that goes away with its owner, and the signals that must not prevent that.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// A temporary directory, removed when dropped unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
    _lock: Flock<fs::File>,
}

/// How the names of such directories begin.
const PREFIX: &str = "voldemort-try-";
/// A file in each directory that is to be removed; if it can be locked, the directory's process has ended.
const LOCK: &str = ".lock";

impl Scratch {
    /// Makes a new directory with an unpredictable name below `TMPDIR` (or `/tmp`), readable by this user
    /// only. Directories of runs that were killed are removed.
    pub fn new(keep: bool) -> io::Result<Scratch> {
        Scratch::below(&std::env::temp_dir(), keep)
    }

    fn below(base: &Path, keep: bool) -> io::Result<Scratch> {
        remove_abandoned(base);
        let template = base.join(format!("{PREFIX}XXXXXX"));
        let path = nix::unistd::mkdtemp(&template).map_err(|error| named(&template, error.into()))?;
        let lock = fs::File::create_new(path.join(LOCK)).map_err(|error| named(&path, error))?;
        // Held as long as this process lives, however it ends.
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        if keep {
            fs::remove_file(path.join(LOCK))?;
        }
        Ok(Scratch { path, keep, _lock: lock })
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

/// Removes directories of this user whose processes ended without doing so.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in
        entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()))
    {
        let path = entry.path();
        // Only directories of this user: in a folder that everybody may write, others may place links.
        let own = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::Uid::effective().as_raw());
        let open = || fs::OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path.join(LOCK));
        let Some(lock) = own.then(open).and_then(Result::ok) else { continue };
        if let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_dir_all(&path);
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

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_runs_is_not() {
        let base = tempfile::tempdir().unwrap();
        let make = |keep| Scratch::below(base.path(), keep).unwrap();
        let (runs, kept) = (make(false), make(true));
        let mut killed = make(false);
        let left = killed.path().to_owned();
        // A process that is killed releases its lock and removes nothing.
        killed.keep = true;
        drop(killed);
        let foreign = base.path().join("voldemort-try-foreign");
        std::os::unix::fs::symlink("/", &foreign).unwrap();
        let _next = make(false);
        assert!(!left.exists() && runs.path().exists() && kept.path().exists() && foreign.is_symlink());
        assert_eq!(fs::metadata(runs.path()).unwrap().mode() & 0o777, 0o700);
    }
}
