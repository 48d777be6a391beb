//! What must survive a crash: leases, installations, assignments, protections, the timeline.
//! Leases, which come by the thousand a second, have a journal of their own in the state directory;
//! one redb file holds the rest. A batch is on disk when `commit` returns.

pub mod history;
pub mod journal;
pub mod record;
pub mod upgrade;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use imbl::ordmap;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use sha2::{Digest, Sha256};

use crate::model::Name;
use crate::table::{Event, Install, Lease, Lease6, Served, Table};
pub use history::History;
use journal::frame::Salt;
use journal::{Journal, JournalError};
use record::{EventRecord, InstallRecord, KeptRecord, Lease6Record, LeaseRecord, ServedRecord};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Where leases were before they had a journal.
const LEASES: TableDefinition<u32, &[u8]> = TableDefinition::new("leases");
const LEASES6: TableDefinition<u128, &[u8]> = TableDefinition::new("leases6");
/// Installations by deployment, as earlier versions kept them.
const OLD_INSTALLS: TableDefinition<&str, &[u8]> = TableDefinition::new("installs");
/// Installations by machine: a list each.
const INSTALLS: TableDefinition<&str, &[u8]> = TableDefinition::new("machine-installs");
const SERVED: TableDefinition<&str, &[u8]> = TableDefinition::new("served");
const ASSIGNMENTS: TableDefinition<&str, &str> = TableDefinition::new("assignments");
const PROTECTED: TableDefinition<&str, ()> = TableDefinition::new("protected");
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
const NOTES: TableDefinition<&str, &[u8]> = TableDefinition::new("notes");

/// How many events are kept.
pub const EVENTS_MAX: u64 = 20_000;
/// Events that are written together at least, when nothing else is to be written.
const EVENTS_TOGETHER: usize = 512;

/// The state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state directory {path} can't be made: {cause}")]
    Directory { path: PathBuf, cause: std::io::Error },
    #[error("another daemon uses the state directory {path}")]
    Busy { path: PathBuf },
    #[error("the state in {path} can't be used: {why}")]
    Broken { path: PathBuf, why: String },
    #[error("the state in {0}")]
    Journal(#[from] JournalError),
    #[error("the state can't be written: {0}")]
    Write(String),
}

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    database: Database,
    journal: Journal,
    /// Events that are not written yet; a crash may lose them.
    events: Vec<(u64, Event)>,
}

/// What a state directory held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub lineage: String,
    pub serial: u64,
    pub token_key: [u8; 32],
    pub installs: Vec<Install>,
    pub assignments: Vec<(Name, Name)>,
    pub served: Vec<(Name, Served)>,
    pub protected: Vec<Name>,
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    pub events: Vec<(u64, Event)>,
    pub kept: Option<Kept>,
    /// What the daemon wrote down for itself, by name.
    pub notes: BTreeMap<String, Vec<u8>>,
    /// Whether a person said that the machines of this site have no systems yet, so that installations
    /// of a new state are not doubtful. Set by who opens it.
    pub new_site: bool,
}

/// A revision as it was read: what a start without the source serves, and what the source's next
/// revision is compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub revision: Arc<str>,
    /// The source's own revision at that time; another one where a tree was applied by hand.
    pub source: Arc<str>,
    /// Directory that files not kept here are read from.
    pub root: Option<PathBuf>,
    /// The environment it was served for.
    pub environment: Option<Arc<str>>,
    pub files: BTreeMap<Arc<str>, Bytes>,
    /// Where the files lie on disk, by their path in the inventory.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}

/// Changes to write together.
#[derive(Debug, Default)]
pub struct Batch {
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    /// By machine; one without any has none any more.
    pub installs: Vec<(Name, Arc<[Install]>)>,
    /// What a revision changed of the lists.
    pub lists: Option<Lists>,
    pub serial: Option<u64>,
    pub kept: Option<Arc<Kept>>,
    pub events: Vec<(u64, Event)>,
    pub notes: Vec<(&'static str, Vec<u8>)>,
}

/// What differs between two tables.
#[derive(Debug, Default)]
pub struct Lists {
    /// `None` takes an assignment away.
    pub assignments: Vec<(Name, Option<Name>)>,
    /// `None` takes a deployment away.
    pub served: Vec<(Name, Option<Arc<Served>>)>,
    /// `false` takes a protection away.
    pub protected: Vec<(Name, bool)>,
}

impl Lists {
    /// Lays what differs later over this.
    pub fn extend(&mut self, later: Lists) {
        self.assignments.extend(later.assignments);
        self.served.extend(later.served);
        self.protected.extend(later.protected);
    }

    pub fn between(before: &Table, after: &Table) -> Lists {
        let assigned = |item: ordmap::DiffItem<Name, Name>| match item {
            ordmap::DiffItem::Add(name, machine) => (name.clone(), Some(machine.clone())),
            ordmap::DiffItem::Update { new: (name, machine), .. } => (name.clone(), Some(machine.clone())),
            ordmap::DiffItem::Remove(name, _) => (name.clone(), None),
        };
        let served = |item: ordmap::DiffItem<Name, Arc<Served>>| match item {
            ordmap::DiffItem::Add(name, one) | ordmap::DiffItem::Update { new: (name, one), .. } => {
                (name.clone(), Some(one.clone()))
            }
            ordmap::DiffItem::Remove(name, _) => (name.clone(), None),
        };
        let gone = before.protected.iter().filter(|name| !after.protected.contains(*name));
        let new = after.protected.iter().filter(|name| !before.protected.contains(*name));
        Lists {
            assignments: before.assignments.diff(&after.assignments).map(assigned).collect(),
            served: before.served.diff(&after.served).map(served).collect(),
            protected: gone
                .map(|name| (name.clone(), false))
                .chain(new.map(|name| (name.clone(), true)))
                .collect(),
        }
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.leases.is_empty() && !self.must_last()
    }

    /// Whether somebody waits for something besides leases to be on disk.
    fn must_last(&self) -> bool {
        !self.leases6.is_empty()
            || !self.installs.is_empty()
            || !self.notes.is_empty()
            || self.lists.is_some()
            || self.serial.is_some()
    }
}

impl Store {
    /// Opens or makes the state in `directory`. `fresh` supplies random bytes for a new one.
    pub fn open(directory: &Path, fresh: impl FnOnce() -> [u8; 48]) -> Result<(Store, Saved), StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|cause| StoreError::Directory { path: directory.into(), cause })?;
        let path = directory.join("state.redb");
        let database = Database::create(&path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: directory.into() },
            other => StoreError::Broken { path: path.clone(), why: other.to_string() },
        })?;
        let broken = |why: String| StoreError::Broken { path: path.clone(), why };
        let fresh = fresh();
        prepare(&database, &fresh).map_err(|error| broken(error.to_string()))?;
        let mut saved = load(&database).map_err(|error| broken(error.to_string()))?;
        let earlier = std::mem::take(&mut saved.leases);
        let moved = !earlier.is_empty();
        let (journal, leases) = Journal::open(directory, earlier, salt(&fresh))?;
        saved.leases = leases;
        let store = Store { database, journal, events: Vec::new() };
        store.write_by_machine(&saved).map_err(|error| broken(error.to_string()))?;
        if moved {
            store.forget_leases().map_err(|error| broken(error.to_string()))?;
        }
        Ok((store, saved))
    }

    /// Installations of an earlier version are kept by machine from now on.
    fn write_by_machine(&self, saved: &Saved) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        let mut old = write.open_table(OLD_INSTALLS)?;
        if old.is_empty()? {
            drop(old);
            return Ok(write.abort()?);
        }
        old.retain(|_, _| false)?;
        drop(old);
        let mut by_machine: BTreeMap<&Name, Vec<InstallRecord>> = BTreeMap::new();
        for install in &saved.installs {
            by_machine.entry(&install.machine).or_default().push(InstallRecord::of(install));
        }
        let mut installs = write.open_table(INSTALLS)?;
        for (machine, list) in by_machine {
            installs.insert(machine.as_str(), record::write(&list).as_slice())?;
        }
        drop(installs);
        Ok(write.commit()?)
    }

    /// Leases of an earlier version are in the journal now.
    fn forget_leases(&self) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(LEASES)?.retain(|_, _| false)?;
        Ok(write.commit()?)
    }

    /// Writes a batch; when this returns, leases and installations in it survive a power cut. After
    /// an error nothing of it is written. Events may wait for a later batch.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let wrong = |error: &dyn std::fmt::Display| StoreError::Write(error.to_string());
        let appended = match batch.leases.is_empty() {
            true => None,
            false => Some(self.journal.append(&batch.leases).map_err(|error| wrong(&error))?),
        };
        self.events.extend(batch.events.iter().cloned());
        if !batch.must_last() && self.events.len() < EVENTS_TOGETHER {
            return Ok(());
        }
        let written = self.write(batch);
        if written.is_err() && batch.must_last() {
            if let Some(begin) = appended {
                self.journal.take_back(begin);
            }
            self.events.truncate(self.events.len() - batch.events.len());
            return written.map_err(|error| wrong(&error));
        }
        if let Err(error) = written {
            tracing::warn!("{} events can't be written: {error}", self.events.len());
        }
        self.events.clear();
        Ok(())
    }

    /// Writes the events that still wait.
    pub fn flush(&mut self) {
        if self.events.is_empty() {
            return;
        }
        if let Err(error) = self.write(&Batch::default()) {
            tracing::warn!("{} events can't be written: {error}", self.events.len());
        }
        self.events.clear();
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut leases6 = write.open_table(LEASES6)?;
            for lease in &batch.leases6 {
                leases6
                    .insert(u128::from(lease.address), record::write(&Lease6Record::of(lease)).as_slice())?;
            }
            let mut installs = write.open_table(INSTALLS)?;
            for (machine, list) in &batch.installs {
                let list: Vec<InstallRecord> = list.iter().map(InstallRecord::of).collect();
                match list.is_empty() {
                    true => drop(installs.remove(machine.as_str())?),
                    false => drop(installs.insert(machine.as_str(), record::write(&list).as_slice())?),
                }
            }
            let mut events = write.open_table(EVENTS)?;
            for (sequence, event) in &self.events {
                events.insert(sequence, record::write(&EventRecord::of(event)).as_slice())?;
                if let Some(old) = sequence.checked_sub(EVENTS_MAX) {
                    events.remove(old)?;
                }
            }
            let mut notes = write.open_table(NOTES)?;
            for (name, note) in &batch.notes {
                notes.insert(*name, note.as_slice())?;
            }
            if let Some(serial) = batch.serial {
                write.open_table(META)?.insert("serial", serial.to_be_bytes().as_slice())?;
            }
        }
        if let Some(kept) = &batch.kept {
            write_kept(&write, kept)?;
        }
        if let Some(lists) = &batch.lists {
            let mut assignments = write.open_table(ASSIGNMENTS)?;
            for (deployment, machine) in &lists.assignments {
                match machine {
                    Some(machine) => drop(assignments.insert(deployment.as_str(), machine.as_str())?),
                    None => drop(assignments.remove(deployment.as_str())?),
                }
            }
            let mut served = write.open_table(SERVED)?;
            for (name, one) in &lists.served {
                match one {
                    Some(one) => {
                        let record = record::write(&ServedRecord::of(one));
                        served.insert(name.as_str(), record.as_slice())?;
                    }
                    None => drop(served.remove(name.as_str())?),
                }
            }
            let mut protected = write.open_table(PROTECTED)?;
            for (machine, is_protected) in &lists.protected {
                match is_protected {
                    true => drop(protected.insert(machine.as_str(), ())?),
                    false => drop(protected.remove(machine.as_str())?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// Random bytes of which nothing else tells: the lineage is shown to everybody.
fn salt(fresh: &[u8; 48]) -> Salt {
    let mut salt = Salt::default();
    salt.copy_from_slice(&Sha256::digest(fresh)[..16]);
    salt
}

fn prepare(database: &Database, fresh: &[u8; 48]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        if meta.get("lineage")?.is_none() {
            let lineage = crate::model::hex(&fresh[32..]);
            meta.insert("token-key", &fresh[..32])?;
            meta.insert("lineage", lineage.as_bytes())?;
            meta.insert("serial", 0u64.to_be_bytes().as_slice())?;
        }
        write.open_table(LEASES)?;
        write.open_table(LEASES6)?;
        write.open_table(INSTALLS)?;
        write.open_table(OLD_INSTALLS)?;
        write.open_table(SERVED)?;
        write.open_table(ASSIGNMENTS)?;
        write.open_table(PROTECTED)?;
        write.open_table(EVENTS)?;
        write.open_table(FILES)?;
        write.open_table(NOTES)?;
    }
    write.commit()?;
    Ok(())
}

fn load(database: &Database) -> Result<Saved, Box<dyn std::error::Error>> {
    let read = database.begin_read()?;
    let mut saved = Saved::default();
    let meta = read.open_table(META)?;
    let value = |key: &str| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let found = meta.get(key)?;
        Ok(found.ok_or_else(|| format!("{key} is missing"))?.value().to_vec())
    };
    saved.lineage = String::from_utf8(value("lineage")?)?;
    saved.serial = u64::from_be_bytes(value("serial")?.try_into().map_err(|_| "serial has a wrong size")?);
    saved.token_key = value("token-key")?.try_into().map_err(|_| "token-key has a wrong size")?;
    for row in read.open_table(LEASES)?.iter()? {
        let (address, lease) = row?;
        saved.leases.push(record::read::<LeaseRecord>(lease.value())?.into_lease(address.value())?);
    }
    for row in read.open_table(LEASES6)?.iter()? {
        let (address, lease) = row?;
        saved.leases6.push(record::read::<Lease6Record>(lease.value())?.into_lease(address.value())?);
    }
    for row in read.open_table(EVENTS)?.iter()? {
        let (sequence, event) = row?;
        saved.events.push((sequence.value(), record::read::<EventRecord>(event.value())?.into_event()?));
    }
    for row in read.open_table(INSTALLS)?.iter()? {
        for record in record::read::<Vec<InstallRecord>>(row?.1.value())? {
            saved.installs.push(record.into_install(None)?);
        }
    }
    for row in read.open_table(SERVED)?.iter()? {
        let (name, served) = row?;
        let served = record::read::<ServedRecord>(served.value())?.into_served()?;
        saved.served.push((name.value().parse()?, served));
    }
    for row in read.open_table(ASSIGNMENTS)?.iter()? {
        let (deployment, machine) = row?;
        saved.assignments.push((deployment.value().parse()?, machine.value().parse()?));
    }
    let mut old = Vec::new();
    for row in read.open_table(OLD_INSTALLS)?.iter()? {
        let (name, install) = row?;
        let record = record::read::<InstallRecord>(install.value())?;
        old.push(record.into_install(Some(name.value().parse()?))?);
    }
    if !old.is_empty() {
        saved.installs = upgrade::installs(old, &saved.assignments);
    }
    if saved.served.is_empty() {
        saved.served = upgrade::served(&saved.assignments, &saved.installs);
    }
    for row in read.open_table(PROTECTED)?.iter()? {
        saved.protected.push(row?.0.value().parse()?);
    }
    for row in read.open_table(NOTES)?.iter()? {
        let (name, note) = row?;
        saved.notes.insert(name.value().to_owned(), note.value().to_vec());
    }
    if let Some(note) = meta.get("kept")? {
        let mut kept = record::read::<KeptRecord>(note.value())?.into_kept();
        for row in read.open_table(FILES)?.iter()? {
            let (path, bytes) = row?;
            kept.files.insert(path.value().into(), Bytes::copy_from_slice(bytes.value()));
        }
        saved.kept = Some(kept);
    }
    Ok(saved)
}

impl Drop for Store {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_kept(write: &redb::WriteTransaction, kept: &Kept) -> Result<(), redb::Error> {
    write.open_table(META)?.insert("kept", record::write(&KeptRecord::of(kept)).as_slice())?;
    let mut files = write.open_table(FILES)?;
    // Revisions differ in a file or two: only those are written.
    let is_kept = |path: &str, bytes: &[u8]| kept.files.get(path).is_some_and(|own| own == bytes);
    files.retain(is_kept)?;
    for (path, bytes) in &kept.files {
        if files.get(&**path)?.is_none() {
            files.insert(&**path, &**bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
