//! Records on disk: one redb file with one table, each value under its digest (`seal`). A batch is one
//! transaction. After an error of the disk the file is opened anew for the next batch, so that a disk
//! that was full for a moment is no reason to restart.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition,
};
use serde::{Deserialize, Serialize};

use super::directory;
use super::record;
use super::seal::{Key, Tag, Unfit, tag_of};

/// The file's name in the state directory.
pub const FILE: &str = "records.redb";
/// Key: kind, a zero, name.
pub const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// What is known of all the others.
pub const HEAD: &str = "head";

/// A record to put, or to remove.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Cow<'static, str>,
    pub name: String,
    /// `None` removes it.
    pub value: Option<Vec<u8>>,
}

impl Change {
    pub fn put(kind: impl Into<Cow<'static, str>>, name: impl Into<String>, value: Vec<u8>) -> Change {
        Change { kind: kind.into(), name: name.into(), value: Some(value) }
    }

    pub fn remove(kind: impl Into<Cow<'static, str>>, name: impl Into<String>) -> Change {
        Change { kind: kind.into(), name: name.into(), value: None }
    }
}

/// One record of the file, written with each batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The table's serial.
    pub serial: u64,
    /// How many batches were written.
    pub batch: u64,
    /// All digests, added by exclusive or: it differs when a record is missing, was added or is an
    /// earlier one.
    pub(super) sum: Tag,
    /// Whether a restored copy is in use whose installations nobody has settled yet.
    #[serde(default)]
    pub restored: bool,
    /// Generation and end of the journal of leases at that time: it is never behind that.
    #[serde(default)]
    pub journal: (u64, u64),
    /// Numbers below this may have been given to events.
    #[serde(default)]
    pub events: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub head: Head,
    /// Kind, name and value of all that fit their digests, in the order of kinds and names.
    pub records: Vec<(String, String, Vec<u8>)>,
    /// Kind and names of those that do not.
    pub unfit: Vec<(String, Unfit)>,
    /// Whether records are missing, were added, or are earlier ones.
    pub incomplete: bool,
}

/// An open file of records.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    key: Key,
    /// `None` after an error, until it was opened anew.
    database: Option<Database>,
    head: Head,
    /// Where records that do not fit lie, their kind and the names they may have.
    unfit: Vec<Misfit>,
    /// The batch of which it is not known whether it is on disk, with what undoes it.
    doubt: Option<(u64, Vec<Before>)>,
}

type Misfit = (Vec<u8>, String, Unfit);

/// What a key held before.
type Before = (Vec<u8>, Option<Vec<u8>>);

/// Why a file of records can't be used.
#[derive(Debug)]
pub enum RecordsError {
    Busy,
    /// Nothing in it fits this directory's key.
    Foreign,
    /// The system does not let it be read.
    File(std::io::Error),
    Damaged(String),
}

impl std::fmt::Display for RecordsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordsError::Busy => f.write_str("another program has it open"),
            RecordsError::Foreign => f.write_str("it belongs to another state directory"),
            RecordsError::File(error) => write!(f, "{error}"),
            RecordsError::Damaged(why) => write!(f, "it is damaged ({why})"),
        }
    }
}

impl RecordsError {
    pub fn of(error: redb::Error) -> RecordsError {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen => RecordsError::Busy,
            redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
                RecordsError::File(error)
            }
            other => RecordsError::Damaged(other.to_string()),
        }
    }
}

impl Records {
    /// Makes the file, with these records in it; an earlier one of that name is gone.
    pub fn create(
        directory: &Path,
        key: Key,
        head: Head,
        changes: &[Change],
    ) -> Result<Records, redb::Error> {
        let path = directory.join(FILE);
        directory::create(&path)?;
        let database = create_shared(&path)?;
        let head = Head { sum: Tag::default(), ..head };
        let unfit = Vec::new();
        let mut records = Records { path, key, database: Some(database), head, unfit, doubt: None };
        records.write(changes, |_| {})?;
        directory::sync(&records.path)?;
        Ok(records)
    }

    /// Opens the file and reads all of it.
    pub fn open(directory: &Path, key: Key) -> Result<(Records, Contents), RecordsError> {
        let path = directory.join(FILE);
        // What is damaged below its records may make the library panic.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open_checked(&path)?;
            let found = read(&database.begin_read()?, &key)?;
            Ok((database, found))
        }));
        let opened = opened.map_err(|_| RecordsError::Damaged("its pages contradict each other".into()))?;
        let (database, found) = opened.map_err(RecordsError::of)?;
        let (unfit, sum) = (found.unfit.clone(), found.sum);
        let contents = judge(found)?;
        // What is missing is said once: from here on, what is there counts.
        let head = Head { sum, ..contents.head.clone() };
        Ok((Records { path, key, database: Some(database), head, unfit, doubt: None }, contents))
    }

    /// How many batches were written.
    pub fn batch(&self) -> u64 {
        self.head.batch
    }

    /// These records are a copy, or part, of what there was once: that stays known, with the first batch that
    /// is written, until somebody has settled the installations. `batch` is how many batches there were.
    pub fn restore(&mut self, batch: u64) {
        self.head.restored = true;
        self.head.batch = self.head.batch.max(batch);
    }

    /// Writes a batch; when this returns it survives a power cut. After an error nothing of it is
    /// written, or will not be when the next batch is.
    pub fn write(&mut self, changes: &[Change], more: impl FnOnce(&mut Head)) -> Result<(), redb::Error> {
        self.reopen()?;
        let Some(database) = &self.database else { return Err(redb::Error::DatabaseClosed) };
        let mut head = self.head.clone();
        head.batch += 1;
        more(&mut head);
        let mut before = Vec::with_capacity(changes.len() + 1);
        // What replaces a record that does not fit, and lies under a name of its own.
        let is_replaced = |(at, kind, unfit): &Misfit| {
            let same = |one: &Change| one.kind == *kind && unfit.names.contains(&one.name);
            changes.iter().any(|one| same(one) && key_of(kind, &one.name) != *at)
        };
        let gone: Vec<Vec<u8>> =
            self.unfit.iter().filter(|one| is_replaced(one)).map(|one| one.0.clone()).collect();
        match put(database, &self.key, changes, &gone, &mut head, &mut before) {
            Ok(()) => {
                self.unfit.retain(|(at, ..)| !gone.contains(at));
                self.head = head;
                Ok(())
            }
            Err(error) => {
                self.doubt = Some((head.batch, before));
                self.close();
                Err(error)
            }
        }
    }

    fn close(&mut self) {
        let database = self.database.take();
        // It ends with writes of its own, of which the disk may be no better.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    /// Opens the file anew after an error. A batch that was told to have failed and is there all the
    /// same is taken back: an error of `fsync` says nothing of what will be read later.
    fn reopen(&mut self) -> Result<(), redb::Error> {
        if self.database.is_some() {
            return Ok(());
        }
        let opened = catch_unwind(AssertUnwindSafe(|| open_shared(&self.path)));
        let database =
            opened.map_err(|_| redb::Error::Corrupted("its pages contradict each other".into()))??;
        if let Some((batch, before)) = &self.doubt {
            let found = head_of(&database, &self.key)?;
            if found.as_ref().is_some_and(|head| head.batch == *batch) {
                let write = database.begin_write()?;
                {
                    let mut table = write.open_table(TABLE)?;
                    for (key, value) in before.iter().rev() {
                        match value {
                            Some(value) => drop(table.insert(&**key, &**value)?),
                            None => drop(table.remove(&**key)?),
                        }
                    }
                }
                write.commit()?;
            } else if found.as_ref() != Some(&self.head) {
                return Err(redb::Error::Corrupted(
                    "it holds neither the last batch nor the one before".into(),
                ));
            }
        }
        self.doubt = None;
        self.database = Some(database);
        Ok(())
    }
}

#[cfg(test)]
impl Records {
    /// As after an error of the disk in a batch of which `landed` says whether it is there.
    pub(super) fn fail(&mut self, changes: &[Change], landed: bool) {
        let mut head = Head { batch: self.head.batch + 1, ..self.head.clone() };
        let mut before = Vec::new();
        if landed && let Some(database) = &self.database {
            put(database, &self.key, changes, &[], &mut head, &mut before).unwrap();
        }
        self.doubt = Some((head.batch, before));
        self.close();
    }
}

/// As a daemon opens a file: other programs may read it meanwhile, where the file system can do that.
fn shared() -> Builder {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

pub fn open_shared(path: &Path) -> Result<Database, DatabaseError> {
    match shared().open(path) {
        Err(DatabaseError::Storage(redb::StorageError::Unsupported)) => Database::open(path),
        opened => opened,
    }
}

/// The same, every page of it held against its digest: damage below the records must not show later.
pub fn open_checked(path: &Path) -> Result<Database, DatabaseError> {
    match shared().set_check_integrity_on_open(true).open(path) {
        Err(DatabaseError::Storage(redb::StorageError::Unsupported)) => {
            Database::builder().set_check_integrity_on_open(true).open(path)
        }
        opened => opened,
    }
}

pub fn create_shared(path: &Path) -> Result<Database, DatabaseError> {
    match shared().create(path) {
        Err(DatabaseError::Storage(redb::StorageError::Unsupported)) => Database::create(path),
        created => created,
    }
}

/// A file as it was at one moment; a daemon may go on writing to it.
pub struct Snapshot {
    read: ReadTransaction,
    /// A copy in memory ends with this.
    _copy: Option<Database>,
}

impl Snapshot {
    /// Nothing is changed: a file that needs a repair after a crash is repaired in memory alone.
    pub fn take(path: &Path) -> Result<Snapshot, redb::Error> {
        let taken = catch_unwind(AssertUnwindSafe(|| -> Result<Snapshot, redb::Error> {
            match shared().open_read_only(path) {
                Err(DatabaseError::RepairAborted) => {
                    let copy = in_memory(path)?;
                    Ok(Snapshot { read: copy.begin_read()?, _copy: Some(copy) })
                }
                opened => Ok(Snapshot { read: opened?.begin_read()?, _copy: None }),
            }
        }));
        taken.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())))
    }

    /// Of a file that nobody writes to: a copy in memory, every page of it held against its digest.
    pub fn checked(path: &Path) -> Result<Snapshot, redb::Error> {
        let taken = catch_unwind(AssertUnwindSafe(|| -> Result<Snapshot, redb::Error> {
            let copy = in_memory(path)?;
            Ok(Snapshot { read: copy.begin_read()?, _copy: Some(copy) })
        }));
        taken.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())))
    }

    /// All records, held against a key.
    pub fn contents(&self, key: &Key) -> Result<Contents, RecordsError> {
        let found = catch_unwind(AssertUnwindSafe(|| read(&self.read, key)));
        let found = found.map_err(|_| RecordsError::Damaged("its pages contradict each other".into()))?;
        judge(found.map_err(RecordsError::of)?)
    }

    /// How many rows a table has.
    pub fn count<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<K, V>,
    ) -> Result<u64, redb::Error> {
        let mut count = 0;
        for row in self.read.open_table(table)?.iter()? {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes a table to a new file, fitting or not.
    pub fn copy<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<K, V>,
        to: &Path,
    ) -> Result<(), redb::Error> {
        directory::create(to)?;
        let database = create_shared(to)?;
        let write = database.begin_write()?;
        {
            let mut copy = write.open_table(table)?;
            for row in self.read.open_table(table)?.iter()? {
                let (key, value) = row?;
                copy.insert(key.value(), value.value())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn in_memory(path: &Path) -> Result<Database, redb::Error> {
    let bytes = std::fs::read(path)?;
    let copy = InMemoryBackend::new();
    let failed = |_| redb::Error::Corrupted("it does not fit into memory".into());
    copy.set_len(bytes.len() as u64).map_err(failed)?;
    copy.write(0, &bytes).map_err(failed)?;
    Ok(Database::builder().set_check_integrity_on_open(true).create_with_backend(copy)?)
}

fn key_of(kind: &str, name: &str) -> Vec<u8> {
    [kind.as_bytes(), &[0], name.as_bytes()].concat()
}

fn put(
    database: &Database,
    key: &Key,
    changes: &[Change],
    gone: &[Vec<u8>],
    head: &mut Head,
    before: &mut Vec<Before>,
) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        let mut change = |at: Vec<u8>, stored: Option<Vec<u8>>| -> Result<Option<Vec<u8>>, redb::Error> {
            let former = match &stored {
                Some(stored) => table.insert(&*at, &**stored)?.map(|old| old.value().to_vec()),
                None => table.remove(&*at)?.map(|old| old.value().to_vec()),
            };
            before.push((at, former.clone()));
            Ok(former)
        };
        for Change { kind, name, value } in changes {
            let stored = value.as_ref().map(|value| key.seal(kind, name, value));
            let added = stored.as_deref().map(tag_of);
            let former = change(key_of(kind, name), stored)?;
            for tag in added.into_iter().chain(former.as_deref().map(tag_of)) {
                add(&mut head.sum, &tag);
            }
        }
        for at in gone {
            if let Some(former) = change(at.clone(), None)? {
                add(&mut head.sum, &tag_of(&former));
            }
        }
        change(key_of(HEAD, ""), Some(key.seal(HEAD, "", &record::write(head))))?;
    }
    write.commit()?;
    Ok(())
}

fn add(sum: &mut Tag, tag: &Tag) {
    sum.iter_mut().zip(tag).for_each(|(sum, byte)| *sum ^= byte);
}

fn head_of(database: &Database, key: &Key) -> Result<Option<Head>, redb::Error> {
    let read = database.begin_read()?;
    let table = read.open_table(TABLE)?;
    let stored = table.get(&*key_of(HEAD, ""))?;
    let value = stored.as_ref().and_then(|stored| key.open(HEAD, "", stored.value()).ok());
    Ok(value.and_then(|value| record::read(value).ok()))
}

/// What was read, and the sum of all digests found.
struct Found {
    contents: Contents,
    unfit: Vec<Misfit>,
    head: Option<Head>,
    sum: Tag,
}

fn read(read: &ReadTransaction, key: &Key) -> Result<Found, redb::Error> {
    let mut found =
        Found { contents: Contents::default(), unfit: Vec::new(), head: None, sum: Tag::default() };
    for row in read.open_table(TABLE)?.iter()? {
        let (at, stored) = row?;
        let (at, stored) = (at.value(), stored.value());
        let split = at.iter().position(|byte| *byte == 0).unwrap_or(at.len());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (kind, name) = (text(&at[..split]), text(at.get(split + 1..).unwrap_or_default()));
        let value = key.open(&kind, &name, stored);
        if kind == HEAD {
            found.head = value.ok().and_then(|value| record::read(value).ok());
            continue;
        }
        add(&mut found.sum, &tag_of(stored));
        match value {
            Ok(value) => found.contents.records.push((kind, name, value.to_vec())),
            Err(unfit) => {
                found.unfit.push((at.to_vec(), kind.clone(), unfit.clone()));
                found.contents.unfit.push((kind, unfit));
            }
        }
    }
    Ok(found)
}

fn judge(found: Found) -> Result<Contents, RecordsError> {
    let Found { mut contents, unfit: _, head, sum } = found;
    if head.is_none() && contents.records.is_empty() {
        return Err(RecordsError::Foreign);
    }
    contents.incomplete = head.as_ref().is_none_or(|head| head.sum != sum);
    // Where the head itself is damaged: a serial that no saved plan is bound to.
    contents.head = head.unwrap_or_else(|| Head {
        serial: 1 << 40,
        batch: 1 << 40,
        journal: (0, 0),
        events: 1 << 40,
        sum,
        restored: true,
    });
    Ok(contents)
}

/// Records of whatever key, to be taken over under another one: for a directory whose key was lost.
pub fn read_unsealed(directory: &Path) -> Result<Vec<(String, String, Vec<u8>)>, RecordsError> {
    let read = || -> Result<_, redb::Error> {
        let database = Database::open(directory.join(FILE))?;
        let read = database.begin_read()?;
        let mut records = Vec::new();
        for row in read.open_table(TABLE)?.iter()? {
            let (at, stored) = row?;
            let at = String::from_utf8_lossy(at.value()).into_owned();
            if let (Some((kind, name)), Some((_, value))) =
                (at.split_once('\0'), super::seal::split(stored.value()))
            {
                records.push((kind.to_owned(), name.to_owned(), value.to_vec()));
            }
        }
        Ok(records)
    };
    let read = catch_unwind(AssertUnwindSafe(read));
    let read = read.map_err(|_| RecordsError::Damaged("its pages contradict each other".into()))?;
    read.map_err(RecordsError::of)
}
