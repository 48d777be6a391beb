//! Leases on disk: a file that only grows, one frame for a commit, and one `fdatasync` for it.
//!
//! A B-tree rewrites several pages for each lease. Here a lease costs some forty bytes behind the
//! last ones; when the file holds much more than there are leases, a thread writes the newest
//! record of each address to another file, which then takes its place. A crash at any byte leaves
//! either a whole frame or one that its digest does not fit: that one was never acknowledged.

pub mod former;
pub mod frame;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::directory::{self, remove, sync};
use crate::state::Lease;
use frame::{Damage, Salt, Told};

/// The file's name in the state directory.
pub const FILE: &str = "leases4.journal";

/// The file is never rewritten below this size.
const SMALL: u64 = 4 << 20;
/// Zeros written ahead of the frames, so that most commits don't change the file's length, which
/// costs the file system a second write.
const AHEAD: u64 = 256 << 10;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    salt: Salt,
    generation: u64,
    /// Where the next frame goes.
    end: u64,
    /// How far zeros were written.
    zeroed: u64,
    /// Size at which it is rewritten.
    full: u64,
    rewriting: Option<Rewriting>,
    /// Whether it took the place of another, and that is not on disk yet.
    renamed: bool,
}

/// A shorter journal in the making.
#[derive(Debug)]
struct Rewriting {
    thread: JoinHandle<io::Result<Shorter>>,
    /// What was written to the old one meanwhile, frame by frame.
    since: Vec<u8>,
    /// Whether something that it may hold was taken back.
    spoiled: bool,
}

#[derive(Debug)]
struct Shorter {
    file: File,
    end: u64,
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("{path} is {what}, so that all leases of IPv4 addresses were lost")]
    Lost { path: PathBuf, what: &'static str },
    #[error("{path}: {damage}, so that leases were lost")]
    Damaged { path: PathBuf, damage: Damage },
}

impl Journal {
    /// Makes the journal of a state directory, with these leases in it; an earlier one is gone.
    pub fn create<'a>(
        directory: &Path,
        salt: Salt,
        generation: u64,
        batch: u64,
        leases: impl IntoIterator<Item = &'a Lease>,
    ) -> io::Result<Journal> {
        let path = directory.join(FILE);
        remove(&aside(&path))?;
        let (file, end) = replace(&path, &salt, generation, batch, leases)?;
        Ok(Journal::at(path, file, salt, generation, end))
    }

    /// Opens the journal of a state directory; the leases in it, newest of each address, and what else
    /// it says. One that is missing or empty was lost: a new one never is.
    /// It was at `known` once, by its generation and its end.
    pub fn open(
        directory: &Path,
        salt: Salt,
        known: (u64, u64),
    ) -> Result<(Journal, Vec<Lease>, Told), JournalError> {
        let path = directory.join(FILE);
        let wrong = |cause| JournalError::File { path: path.clone(), cause };
        // What a rewrite that did not come to its end has left.
        remove(&aside(&path)).map_err(wrong)?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => return Err(JournalError::Lost { path, what: "empty" }),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(JournalError::Lost { path, what: "missing" });
            }
            Err(error) => return Err(wrong(error)),
        };
        let mut leases = BTreeMap::new();
        let damaged = |damage| JournalError::Damaged { path: path.clone(), damage };
        let told = frame::replay(&bytes, &salt, &mut leases).and_then(|told| told.reaches(known));
        let told = told.map_err(damaged)?;
        let is_long = told.end > SMALL;
        let generation = told.generation + u64::from(is_long);
        let (file, end) = match is_long {
            true => replace(&path, &salt, generation, told.batch, leases.values()).map_err(wrong)?,
            false => (OpenOptions::new().write(true).open(&path).map_err(wrong)?, told.end),
        };
        // Nothing of a torn frame may stay behind the frames to come.
        file.set_len(end).map_err(wrong)?;
        Ok((Journal::at(path, file, salt, generation, end), leases.into_values().collect(), told))
    }

    /// The leases that can be read of a journal that is damaged or whose key was lost; none if it is gone.
    pub fn salvage(directory: &Path) -> io::Result<Vec<Lease>> {
        let bytes = match std::fs::read(directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut leases = BTreeMap::new();
        frame::salvage(&bytes, &mut leases);
        Ok(leases.into_values().collect())
    }

    /// Its generation and its end.
    pub fn position(&self) -> (u64, u64) {
        (self.generation, self.end)
    }

    fn at(path: PathBuf, file: File, salt: Salt, generation: u64, end: u64) -> Journal {
        let full = full(end);
        Journal { path, file, salt, generation, end, zeroed: end, full, rewriting: None, renamed: false }
    }

    /// Writes leases; when this returns they survive a power cut. Answers with where they begin, for
    /// `take_back`. After an error nothing of them is in the journal. `batch` is how many batches of
    /// other records were stored before. Without leases it only tries the disk.
    pub fn append(&mut self, batch: u64, leases: &[Lease]) -> io::Result<u64> {
        self.take_over()?;
        let frame = frame::write(&self.salt, batch, leases);
        if let Err(error) = self.write(&frame) {
            self.cut(self.end);
            return Err(error);
        }
        let begin = self.end;
        self.end += frame.len() as u64;
        match &mut self.rewriting {
            Some(rewriting) => rewriting.since.extend_from_slice(&frame),
            None if self.end > self.full => self.rewrite(),
            None => {}
        }
        Ok(begin)
    }

    /// Takes back what was written last, which begins at `end`.
    pub fn take_back(&mut self, end: u64) {
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.spoiled = true;
        }
        self.end = end;
        self.cut(end);
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        if end > self.zeroed {
            // Without room for zeros there may still be some for the frame.
            let zeros = vec![0; (end + AHEAD - self.zeroed) as usize];
            match self.file.write_all_at(&zeros, self.zeroed) {
                Ok(()) => self.zeroed += zeros.len() as u64,
                Err(_) => self.zeroed = end,
            }
        }
        self.file.write_all_at(frame, self.end)?;
        self.file.sync_data()
    }

    /// Best effort: what stays behind is overwritten by the next frame.
    fn cut(&mut self, end: u64) {
        let cut = self.file.set_len(end).and_then(|()| self.file.sync_data());
        if let Err(error) = cut {
            tracing::error!("{}: an unfinished write can't be taken back: {error}", self.path.display());
        }
        self.zeroed = end;
    }

    /// Starts to write a shorter journal beside this one.
    fn rewrite(&mut self) {
        let (path, end, salt) = (self.path.clone(), self.end, self.salt);
        let work = move || -> io::Result<Shorter> {
            let bytes = std::fs::read(&path)?;
            let mut leases = BTreeMap::new();
            let whole = bytes.get(..end as usize).unwrap_or(&bytes);
            let told = frame::replay(whole, &salt, &mut leases)
                .map_err(|damage| io::Error::other(damage.to_string()))?;
            let (file, end) = fill(&aside(&path), &salt, told.generation + 1, told.batch, leases.values())?;
            Ok(Shorter { file, end })
        };
        match std::thread::Builder::new().name("journal".into()).spawn(work) {
            Ok(thread) => self.rewriting = Some(Rewriting { thread, since: Vec::new(), spoiled: false }),
            Err(error) => self.later(&error),
        }
    }

    /// Goes on in the shorter journal when it is ready.
    fn take_over(&mut self) -> io::Result<()> {
        if self.rewriting.as_ref().is_some_and(|rewriting| rewriting.thread.is_finished())
            && let Some(Rewriting { thread, since, spoiled }) = self.rewriting.take()
        {
            let shorter = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
            let ready = shorter.and_then(|Shorter { file, end }| {
                if spoiled {
                    return Err(io::Error::other("what it was made of was taken back"));
                }
                file.write_all_at(&since, end)?;
                file.sync_data()?;
                std::fs::rename(aside(&self.path), &self.path)?;
                Ok((file, end + since.len() as u64))
            });
            match ready {
                Ok((file, end)) => {
                    (self.file, self.end, self.zeroed, self.full) = (file, end, end, full(end));
                    self.generation += 1;
                    self.renamed = true;
                }
                Err(error) => self.later(&error),
            }
        }
        // Before that a power cut brings the old one back, without what is written from now on.
        if self.renamed {
            sync(&self.path)?;
            self.renamed = false;
        }
        Ok(())
    }

    /// A journal that can't be made shorter still works.
    fn later(&mut self, error: &io::Error) {
        tracing::warn!("{} can't be made shorter: {error}", self.path.display());
        self.full = full(self.end);
        let _ = remove(&aside(&self.path));
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Whoever opens the journal next must be the only one who writes beside it.
        if let Some(rewriting) = self.rewriting.take() {
            let _ = rewriting.thread.join();
        }
        // A frame behind the last lease: damage to that is then told from a write that was torn.
        let _ = self
            .write(&frame::write(&self.salt, 0, &[]))
            .and_then(|()| self.file.set_len(self.end + frame::EMPTY));
    }
}

/// The size at which a journal is rewritten that had this size when it was new.
fn full(size: u64) -> u64 {
    SMALL.max(size * 3)
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// A new journal in the place of whatever is there.
fn replace<'a>(
    path: &Path,
    salt: &Salt,
    generation: u64,
    batch: u64,
    leases: impl IntoIterator<Item = &'a Lease>,
) -> io::Result<(File, u64)> {
    let made = fill(&aside(path), salt, generation, batch, leases)?;
    std::fs::rename(aside(path), path)?;
    sync(path)?;
    Ok(made)
}

/// Writes a journal of these leases.
fn fill<'a>(
    path: &Path,
    salt: &Salt,
    generation: u64,
    batch: u64,
    leases: impl IntoIterator<Item = &'a Lease>,
) -> io::Result<(File, u64)> {
    const FRAME: usize = 1024;
    let file = directory::create(path)?;
    let mut bytes = frame::begin(salt, generation);
    let mut frame = Vec::with_capacity(FRAME);
    for lease in leases {
        frame.push(lease.clone());
        if frame.len() == FRAME {
            bytes.extend(frame::write(salt, batch, &frame));
            frame.clear();
        }
    }
    if !frame.is_empty() {
        bytes.extend(frame::write(salt, batch, &frame));
    }
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
impl Journal {
    /// Whatever is written next finds the disk full.
    pub(super) fn fill_disk(&mut self) -> File {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
        std::mem::replace(&mut self.file, full)
    }
}

#[cfg(test)]
mod tests;
