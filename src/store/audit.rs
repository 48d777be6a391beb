//! The audit log: lines of JSON in files of the state directory's folder `audit`, each named by the first entry in it.
//! An entry is on disk when [`Audit::add`] returns; entries that come while the disk is waited for are written together
//! then, with one wait for all of them. The oldest files are dropped; the first entry that is left holds the
//! digest of the one before it.
//!
//! A line without an end was being written when the daemon ended: nobody had an answer for it, and it is cut off, which
//! the next daemon enters ([`Audit::take_cut`]), as it does of each change that has no end. A whole line that can't be read stays, as what it is: a gap that a check of the chain finds.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::directory;
use crate::model::{AuditEntry, AuditHead};

/// The folder's name in the state directory.
pub(super) const FOLDER: &str = "audit";
/// When a file is this long, in bytes, the next one begins.
const FILE_MAX: u64 = if cfg!(test) { 8 << 10 } else { 4 << 20 };
/// How many files are kept: about 150,000 entries.
const FILES_MAX: usize = 16;
/// Entries that are written together at most.
const TOGETHER: usize = 256;
/// Changes without an end that are entered at most.
const CUT_MAX: usize = 256;

/// The log, open.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    queue: Mutex<Queue>,
    /// Somebody has written.
    written: Condvar,
    /// Held by whoever writes.
    inner: Mutex<Inner>,
    /// Not behind `inner`, which is held while the disk is waited for.
    shown: Mutex<AuditStatus>,
}

/// Entries that wait to be written, the oldest first.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether one of the callers writes, for all of them.
    is_writing: bool,
}

/// An entry that is to be written, and the place for what became of it.
#[derive(Debug)]
struct Waiting {
    entry: AuditEntry,
    outcome: Outcome,
}

/// The number of an entry, or why it was not written.
type Outcome = Arc<OnceLock<Result<u64, (io::ErrorKind, String)>>>;

#[derive(Debug, Default)]
struct Inner {
    /// The newest file and its length; `None` until something was written, and after a failure.
    open: Option<(File, u64)>,
    head: AuditHead,
    /// Whether `head` is what the files say.
    is_read: bool,
    /// Entries that could not be written and were not made up for by one that says so.
    lost: u64,
    /// What the end of an earlier daemon cut off, as entries that say so.
    cut: Vec<AuditEntry>,
    /// How often the disk was waited for.
    #[cfg(test)]
    waits: u64,
}

/// How the log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStatus {
    pub head: AuditHead,
    /// Why the last entry could not be written.
    pub trouble: Option<String>,
    /// Entries that could not be written since the start.
    pub lost: u64,
    /// Since when the disk is waited for, if it is.
    pub writes_since: Option<Instant>,
}

/// The turn of the caller that writes; it ends also where that panics.
struct Turn<'a>(&'a Audit);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue().is_writing = false;
        self.0.written.notify_all();
    }
}

impl Audit {
    /// The log of a state directory. Where it can't be read, that is tried again with the next entry.
    pub fn open(state: &Path) -> Audit {
        let folder = state.join(FOLDER);
        let mut inner = Inner::default();
        let trouble = inner.open(&folder).err().map(|error| error.to_string());
        let shown = AuditStatus { head: inner.head.clone(), trouble, ..AuditStatus::default() };
        let (inner, shown) = (Mutex::new(inner), Mutex::new(shown));
        Audit { folder, queue: Mutex::default(), written: Condvar::new(), inner, shown }
    }

    /// What the end of the daemon before this one cut off, once: entries to be added that say so.
    pub fn take_cut(&self) -> Vec<AuditEntry> {
        std::mem::take(&mut self.inner().cut)
    }

    /// Adds an entry as the last one; its number. It waits for the disk.
    ///
    /// # Errors
    ///
    /// It could not be written. The next entry that can be is preceded by one that says how many were lost.
    pub fn add(&self, entry: AuditEntry) -> io::Result<u64> {
        let outcome = Outcome::default();
        let mut queue = self.queue();
        queue.waiting.push(Waiting { entry, outcome: outcome.clone() });
        loop {
            // Another caller may have written this one too.
            if let Some(outcome) = outcome.get() {
                return outcome.clone().map_err(|(kind, why)| io::Error::new(kind, why));
            }
            if std::mem::replace(&mut queue.is_writing, true) {
                queue = self.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let turn = Turn(self);
            let count = queue.waiting.len().min(TOGETHER);
            let batch: Vec<Waiting> = queue.waiting.drain(..count).collect();
            drop(queue);
            if batch.is_empty() {
                return Err(io::Error::other("whoever was to write it came to an end"));
            }
            self.write(&mut self.inner(), batch);
            drop(turn);
            queue = self.queue();
        }
    }

    /// Writes entries with one wait for the disk, and says to each what became of it.
    fn write(&self, inner: &mut Inner, batch: Vec<Waiting>) {
        self.shown().writes_since = Some(Instant::now());
        let count = batch.len() as u64;
        let (entries, outcomes): (Vec<AuditEntry>, Vec<Outcome>) =
            batch.into_iter().map(|Waiting { entry, outcome }| (entry, outcome)).unzip();
        let added = inner.add(&self.folder, entries);
        let mut shown = self.shown();
        shown.writes_since = None;
        shown.trouble = added.as_ref().err().map(ToString::to_string);
        match &added {
            Ok(_) => shown.head = inner.head.clone(),
            Err(_) => {
                // What is there now is looked at again.
                (inner.open, inner.is_read) = (None, false);
                (inner.lost, shown.lost) = (inner.lost + count, shown.lost + count);
            }
        }
        drop(shown);
        for (place, outcome) in (0..).zip(outcomes) {
            let result = match &added {
                Ok(first) => Ok(first + place),
                Err(error) => Err((error.kind(), error.to_string())),
            };
            let _ = outcome.set(result);
        }
    }

    pub fn status(&self) -> AuditStatus {
        self.shown().clone()
    }

    /// The entries after the one of a number, the oldest first. A line that can't be read, and what is missing before
    /// the first one, has the step `damaged` and no digest: a check of the chain fails there.
    ///
    /// # Errors
    ///
    /// If the system does not let a file be read.
    pub fn entries(&self, after: u64) -> io::Result<Vec<AuditEntry>> {
        let files = files_if_any(&self.folder)?;
        let mut all = Vec::new();
        // Files are dropped when there are too many, and only then.
        if files.len() + 1 < FILES_MAX && files.first().is_some_and(|(number, _)| *number > 1) {
            all.push(damaged(1, "the files with the first entries are missing"));
        }
        // A file is of interest if the next one begins with a later entry than the first that is wanted.
        let first = files.iter().rposition(|(number, _)| *number <= after.saturating_add(1)).unwrap_or(0);
        for (number, path) in &files[first..] {
            let bytes = match std::fs::read(path) {
                // It was dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            let mut expected = *number;
            // What has no end is being written.
            for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
                let entry = entry_of(line).unwrap_or_else(|| damaged(expected, "this entry can't be read"));
                if expected == *number && entry.sequence != expected {
                    all.push(damaged(expected, "the entry with which its file began is missing"));
                }
                expected = entry.sequence.saturating_add(1);
                all.push(entry);
            }
        }
        all.retain(|entry| entry.sequence > after);
        Ok(all)
    }

    /// The entries about an operation of the API, the oldest first.
    ///
    /// # Errors
    ///
    /// If the system does not let a file be read.
    pub fn of_operation(&self, name: &str) -> io::Result<Vec<AuditEntry>> {
        let begin = AuditEntry::about_operation(name, "");
        // As it stands in a line: what is not looked for is not parsed.
        let needle = serde_json::to_string(&begin).unwrap_or_default();
        let needle = needle.trim_end_matches('"');
        let mut found = Vec::new();
        for (_, path) in files_if_any(&self.folder)? {
            let bytes = match std::fs::read(path) {
                // It was dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let lines =
                lines.filter(|line| std::str::from_utf8(line).is_ok_and(|line| line.contains(needle)));
            found.extend(lines.filter_map(entry_of).filter(|entry| entry.about.starts_with(&begin)));
        }
        Ok(found)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, AuditStatus> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds entries; the number of the first.
    fn add(&mut self, folder: &Path, mut entries: Vec<AuditEntry>) -> io::Result<u64> {
        if !self.is_read {
            self.read(folder)?;
        }
        let gap = entries.first().filter(|_| self.lost > 0).map(|entry| {
            let about = format!("{} entries before this one could not be written", self.lost);
            let (at, serial) = (entry.at.clone(), entry.serial);
            let by = "the daemon".to_owned();
            AuditEntry { at, by, serial, about, step: "lost".into(), ..AuditEntry::default() }
        });
        let first = self.head.sequence + 1 + u64::from(gap.is_some());
        if let Some(gap) = gap {
            entries.insert(0, gap);
        }
        self.append(folder, entries)?;
        self.lost = 0;
        Ok(first)
    }

    /// Reads the log of an earlier daemon, and finds out what its end cut off.
    fn open(&mut self, folder: &Path) -> io::Result<()> {
        let cut = self.read(folder)?;
        let by = "the daemon".to_owned();
        if cut > 0 {
            let about =
                format!("{cut} bytes of an entry that was being written when the daemon ended were cut off");
            self.cut.push(AuditEntry { by, step: "cut".into(), about, ..AuditEntry::default() });
        }
        // A change that has no end lies near the end: no request takes as long as a whole file.
        let mut begun: BTreeMap<u64, AuditEntry> = BTreeMap::new();
        for (_, path) in files_if_any(folder)?.iter().rev().take(2).rev() {
            for line in std::fs::read(path)?.split_inclusive(|byte| *byte == b'\n') {
                let Some(entry) = entry_of(line) else { continue };
                match entry.begun {
                    // The operation's name is in it.
                    Some(number) if entry.step == "continued" => {
                        begun.entry(number).and_modify(|begun| begun.about = entry.about);
                    }
                    Some(number) => drop(begun.remove(&number)),
                    None if entry.step == "begun" => drop(begun.insert(entry.sequence, entry)),
                    None => {}
                }
            }
        }
        self.cut.extend(begun.into_iter().rev().take(CUT_MAX).rev().map(|(number, entry)| {
            let about =
                "it has no end: the daemon ended, or its caller left, meanwhile; look whether it was made";
            let about = match entry.operation() {
                Some(name) => AuditEntry::about_operation(name, about),
                None => about.to_owned(),
            };
            let AuditEntry { by, method, route, subject, .. } = entry;
            let step = "cut".to_owned();
            AuditEntry {
                by,
                step,
                method,
                route,
                subject,
                about,
                begun: Some(number),
                ..AuditEntry::default()
            }
        }));
        Ok(())
    }

    /// Finds the last entry, and cuts off what was not written to its end: how many bytes.
    fn read(&mut self, folder: &Path) -> io::Result<usize> {
        self.head = AuditHead::default();
        let mut cut = 0;
        for (number, path) in files_if_any(folder)?.iter().rev() {
            let bytes = std::fs::read(path)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < bytes.len() {
                let file = File::options().write(true).open(path)?;
                file.set_len(whole as u64)?;
                file.sync_all()?;
                cut = bytes.len() - whole;
            }
            let lines: Vec<&[u8]> = bytes[..whole].split_inclusive(|byte| *byte == b'\n').collect();
            if let Some(at) = lines.iter().rposition(|line| entry_of(line).is_some()) {
                let last = entry_of(lines[at]).unwrap_or_default();
                // Lines after it that can't be read had numbers of their own.
                self.head = last.head();
                self.head.sequence += (lines.len() - 1 - at) as u64;
                break;
            }
            // All of it is damaged: its number is known, and no number is given twice.
            if !lines.is_empty() {
                self.head.sequence = number.saturating_sub(1) + lines.len() as u64;
                break;
            }
        }
        self.is_read = true;
        Ok(cut)
    }

    fn append(&mut self, folder: &Path, entries: Vec<AuditEntry>) -> io::Result<()> {
        // What is written to a file that somebody removed is nowhere.
        let is_there = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        let open = self.open.take().filter(|(file, length)| *length < FILE_MAX && is_there(file));
        let (mut file, length) = match open {
            Some(open) => open,
            None => newest(folder, self.head.sequence + 1)?,
        };
        let (mut head, mut lines) = (self.head.clone(), String::new());
        for entry in entries {
            let entry = entry.after(&head);
            head = entry.head();
            lines += &entry.line();
            lines.push('\n');
        }
        #[cfg(test)]
        {
            self.waits += 1;
        }
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a line in front of the next entry would make both unreadable; `read` cuts it off as well.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.head = head;
        self.open = Some((file, length + lines.len() as u64));
        Ok(())
    }
}

/// The newest file, or, if there is none or it is full, a new one that begins with the entry of this number.
fn newest(folder: &Path, sequence: u64) -> io::Result<(File, u64)> {
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(folder)?;
        directory::sync(folder)?;
    }
    let files = files(folder)?;
    if let Some((_, path)) = files.last() {
        let file = File::options().append(true).open(path)?;
        let length = file.metadata()?.len();
        if length < FILE_MAX {
            return Ok((file, length));
        }
    }
    for (_, path) in files.iter().rev().skip(FILES_MAX - 1) {
        std::fs::remove_file(path)?;
    }
    let path = folder.join(format!("{sequence:020}.jsonl"));
    drop(directory::create(&path)?);
    directory::sync(&path)?;
    Ok((File::options().append(true).open(&path)?, 0))
}

/// The files and the numbers of their first entries, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}

/// The same, and none where there is no folder yet.
fn files_if_any(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    match files(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

fn damaged(sequence: u64, why: &str) -> AuditEntry {
    AuditEntry { sequence, about: why.into(), step: "damaged".into(), ..AuditEntry::default() }
}

/// The entry of a line with its end.
fn entry_of(line: &[u8]) -> Option<AuditEntry> {
    AuditEntry::of_line(std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?)
}

#[cfg(test)]
mod tests;
