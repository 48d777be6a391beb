//! The audit log: lines of JSON in files of the state directory's folder `audit`, each named by the first entry in it.
//! An entry is on disk when [`Audit::add`] returns. The oldest files are dropped; the first entry that is left holds the
//! digest of the one before it.
//!
//! A line without an end was being written when the daemon ended: nobody had an answer for it, and it is cut off. A
//! whole line that can't be read stays, as what it is: a gap that a check of the chain finds.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::directory;
use crate::model::{AuditEntry, AuditHead};

/// The folder's name in the state directory.
pub(super) const FOLDER: &str = "audit";
/// When a file is this long, in bytes, the next one begins.
const FILE_MAX: u64 = if cfg!(test) { 8 << 10 } else { 4 << 20 };
/// How many files are kept: about 150,000 entries.
const FILES_MAX: usize = 16;

/// The log, open.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    inner: Mutex<Inner>,
    /// Not behind `inner`, which is held while the disk is waited for.
    shown: Mutex<AuditStatus>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest file and its length; `None` until something was written, and after a failure.
    open: Option<(File, u64)>,
    head: AuditHead,
    /// Whether `head` is what the files say.
    is_read: bool,
    /// Entries that could not be written and were not made up for by one that says so.
    lost: u64,
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

impl Audit {
    /// The log of a state directory. Where it can't be read, that is tried again with the next entry.
    pub fn open(state: &Path) -> Audit {
        let folder = state.join(FOLDER);
        let mut inner = Inner::default();
        let trouble = inner.read(&folder).err().map(|error| error.to_string());
        let shown = AuditStatus { head: inner.head.clone(), trouble, ..AuditStatus::default() };
        Audit { folder, inner: Mutex::new(inner), shown: Mutex::new(shown) }
    }

    /// Adds an entry as the last one; its number. It waits for the disk.
    ///
    /// # Errors
    ///
    /// It could not be written. The next entry that can be is preceded by one that says how many were lost.
    pub fn add(&self, entry: AuditEntry) -> io::Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.shown().writes_since = Some(Instant::now());
        let added = inner.add(&self.folder, entry);
        let mut shown = self.shown();
        shown.writes_since = None;
        shown.trouble = added.as_ref().err().map(ToString::to_string);
        match &added {
            Ok(_) => shown.head = inner.head.clone(),
            Err(_) => {
                // What is there now is looked at again.
                (inner.open, inner.is_read) = (None, false);
                (inner.lost, shown.lost) = (inner.lost + 1, shown.lost + 1);
            }
        }
        added
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
        let files = match files(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
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

    fn shown(&self) -> MutexGuard<'_, AuditStatus> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, folder: &Path, entry: AuditEntry) -> io::Result<u64> {
        if !self.is_read {
            self.read(folder)?;
        }
        if self.lost > 0 {
            let about = format!("{} entries before this one could not be written", self.lost);
            let (at, serial) = (entry.at.clone(), entry.serial);
            let by = "the daemon".to_owned();
            let gap = AuditEntry { at, by, serial, about, step: "lost".into(), ..AuditEntry::default() };
            self.append(folder, gap)?;
            self.lost = 0;
        }
        self.append(folder, entry)
    }

    /// Finds the last entry, and cuts off what was not written to its end.
    fn read(&mut self, folder: &Path) -> io::Result<()> {
        self.head = AuditHead::default();
        let files = match files(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        for (number, path) in files.iter().rev() {
            let bytes = std::fs::read(path)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < bytes.len() {
                let file = File::options().write(true).open(path)?;
                file.set_len(whole as u64)?;
                file.sync_all()?;
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
        Ok(())
    }

    fn append(&mut self, folder: &Path, entry: AuditEntry) -> io::Result<u64> {
        let entry = entry.after(&self.head);
        let line = entry.line() + "\n";
        let (mut file, length) = match self.open.take().filter(|(_, length)| *length < FILE_MAX) {
            Some(open) => open,
            None => newest(folder, entry.sequence)?,
        };
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a line in front of the next entry would make both unreadable; `read` cuts it off as well.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.head = entry.head();
        self.open = Some((file, length + line.len() as u64));
        Ok(entry.sequence)
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

fn damaged(sequence: u64, why: &str) -> AuditEntry {
    AuditEntry { sequence, about: why.into(), step: "damaged".into(), ..AuditEntry::default() }
}

/// The entry of a line with its end.
fn entry_of(line: &[u8]) -> Option<AuditEntry> {
    AuditEntry::of_line(std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AuditChain;

    fn entry(about: &str) -> AuditEntry {
        AuditEntry { by: "user 0 (admin)".into(), about: about.into(), ..AuditEntry::default() }
    }

    fn verify(audit: &Audit, noted: Option<AuditHead>) -> Result<u64, String> {
        let mut chain = AuditChain::against(noted);
        for entry in audit.entries(0).unwrap() {
            chain.take(&serde_json::to_value(entry).unwrap())?;
        }
        chain.end().map(|()| chain.entries)
    }

    fn only_file(state: &Path) -> PathBuf {
        files(&state.join(FOLDER)).unwrap().remove(0).1
    }

    #[test]
    fn entries_outlast_the_process_and_half_a_line_is_cut_off() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        assert_eq!(audit.status(), AuditStatus::default());
        for number in 1..=3 {
            assert_eq!(audit.add(entry("x")).unwrap(), number);
        }
        let head = audit.status().head;
        let path = only_file(state.path());
        let whole = std::fs::read(&path).unwrap();
        let next = entry("next").after(&head).line();
        // As a kill leaves it, at each byte of the fourth entry.
        for length in (0..next.len()).step_by(7) {
            std::fs::write(&path, [&whole, &next.as_bytes()[..length]].concat()).unwrap();
            let audit = Audit::open(state.path());
            assert_eq!(audit.status().head, head);
            assert_eq!(audit.add(entry("after")).unwrap(), 4);
            assert_eq!(verify(&audit, Some(head.clone())), Ok(4));
            assert_eq!(audit.entries(3).unwrap().len(), 1);
        }
    }

    #[test]
    fn one_changed_byte_is_found_also_by_a_later_daemon() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        for number in 0..3 {
            audit.add(entry(&number.to_string())).unwrap();
        }
        let path = only_file(state.path());
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len() - 1).step_by(11) {
            let mut bytes = whole.clone();
            bytes[at] ^= 2;
            std::fs::write(&path, &bytes).unwrap();
            let audit = Audit::open(state.path());
            audit.add(entry("later")).unwrap();
            assert!(verify(&audit, None).is_err(), "byte {at}");
        }
    }

    #[test]
    fn entries_that_are_cut_off_in_front_are_missed() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        for number in 0..3 {
            audit.add(entry(&number.to_string())).unwrap();
        }
        let path = only_file(state.path());
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.split_once('\n').unwrap().1).unwrap();
        assert!(verify(&audit, None).is_err());
        std::fs::rename(&path, path.with_file_name(format!("{:020}.jsonl", 2))).unwrap();
        assert!(verify(&audit, None).is_err());
    }

    #[test]
    fn the_oldest_are_dropped_and_the_chain_holds() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        let long = "x".repeat(2 << 10);
        for _ in 0..(FILES_MAX * 4 + 6) {
            audit.add(entry(&long)).unwrap();
        }
        let files = files(&state.path().join(FOLDER)).unwrap();
        assert_eq!(files.len(), FILES_MAX);
        assert!(files[0].0 > 1);
        let kept = verify(&audit, None).unwrap();
        let first = audit.entries(0).unwrap()[0].sequence;
        assert_eq!(first + kept - 1, audit.status().head.sequence);
        let later = first + kept / 2;
        assert_eq!(audit.entries(later).unwrap()[0].sequence, later + 1);
    }

    #[test]
    fn what_could_not_be_written_is_made_up_for_by_an_entry() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        audit.add(entry("1")).unwrap();
        let (folder, away) = (state.path().join(FOLDER), state.path().join("away"));
        std::fs::rename(&folder, &away).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        let broken = Audit::open(state.path());
        assert!(broken.status().trouble.is_some());
        for _ in 0..2 {
            assert!(broken.add(entry("2")).is_err());
        }
        assert_eq!(broken.status().lost, 2);
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(&away, &folder).unwrap();
        assert_eq!(broken.add(entry("3")).unwrap(), 3);
        let lost = &broken.entries(1).unwrap()[0];
        assert_eq!((lost.step.as_str(), &lost.about[..1]), ("lost", "2"));
        assert_eq!((verify(&broken, None), broken.status().trouble), (Ok(3), None));
    }
}
