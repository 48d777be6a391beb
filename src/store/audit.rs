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
        let files = match files(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let mut begun = BTreeMap::new();
        for (_, path) in files.iter().rev().take(2).rev() {
            for line in std::fs::read(path)?.split_inclusive(|byte| *byte == b'\n') {
                let Some(entry) = entry_of(line) else { continue };
                match entry.begun {
                    Some(number) => drop(begun.remove(&number)),
                    None if entry.step == "begun" => drop(begun.insert(entry.sequence, entry)),
                    None => {}
                }
            }
        }
        self.cut.extend(begun.into_iter().rev().take(CUT_MAX).rev().map(|(number, entry)| {
            let AuditEntry { by, method, route, subject, .. } = entry;
            let about =
                "it has no end: the daemon ended, or its caller left, meanwhile; look whether it was made";
            let (step, about) = ("cut".to_owned(), about.to_owned());
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
    fn a_folder_that_was_removed_is_made_again_and_missed() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        audit.add(entry("1")).unwrap();
        std::fs::remove_dir_all(state.path().join(FOLDER)).unwrap();
        assert_eq!(audit.add(entry("2")).unwrap(), 2);
        assert!(verify(&audit, None).unwrap_err().contains("the files with the first entries are missing"));
    }

    #[test]
    fn what_an_end_cut_off_is_said_by_the_next_daemon_and_only_once() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        assert_eq!(audit.take_cut(), []);
        let begun =
            |subject: &str| AuditEntry { step: "begun".into(), subject: subject.into(), ..entry("x") };
        let first = audit.add(begun("/v1/one")).unwrap();
        let second = audit.add(begun("/v1/two")).unwrap();
        audit.add(AuditEntry { step: "ended".into(), begun: Some(first), ..entry("x") }).unwrap();
        let path = only_file(state.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, &b"{\"about\":"[..]].concat()).unwrap();
        let audit = Audit::open(state.path());
        let cut = audit.take_cut();
        assert_eq!((cut.len(), audit.take_cut().len()), (2, 0));
        assert!(cut[0].about.starts_with("9 bytes of an entry"), "{cut:?}");
        assert_eq!((cut[1].begun, cut[1].subject.as_str()), (Some(second), "/v1/two"));
        for entry in cut {
            audit.add(entry).unwrap();
        }
        assert_eq!(verify(&audit, None), Ok(5));
        assert_eq!(Audit::open(state.path()).take_cut(), []);
    }

    #[test]
    fn entries_that_come_while_the_disk_is_waited_for_are_written_together() {
        const CALLERS: usize = 40;
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        std::thread::scope(|scope| {
            let writing = audit.inner();
            let adding = || audit.add(entry("x")).unwrap();
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(adding)).collect();
            let deadline = Instant::now() + std::time::Duration::from_secs(20);
            // The first one writes its own.
            while audit.queue().waiting.len() < CALLERS - 1 {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
            drop(writing);
            let mut numbers: Vec<u64> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=CALLERS as u64).collect::<Vec<_>>());
        });
        assert_eq!(audit.inner().waits, 2);
        assert_eq!(verify(&audit, None), Ok(CALLERS as u64));
    }

    /// `cargo test --release --lib -- --ignored how_many_entries --nocapture`, with `TMPDIR` on the disk of interest.
    #[test]
    #[ignore = "a measurement"]
    fn how_many_entries_a_second() {
        for callers in [1, 8, 64] {
            let state = tempfile::tempdir().unwrap();
            let audit = Audit::open(state.path());
            let (start, each) = (Instant::now(), 2_000 / callers);
            std::thread::scope(|scope| {
                for _ in 0..callers {
                    scope.spawn(|| (0..each).for_each(|_| assert!(audit.add(entry("x")).is_ok())));
                }
            });
            let (seconds, waits) = (start.elapsed().as_secs_f64(), audit.inner().waits);
            let entries = (callers * each) as f64;
            println!(
                "{callers} callers: {:.0} entries/s, {:.1} a wait",
                entries / seconds,
                entries / waits as f64
            );
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
