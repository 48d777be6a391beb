//! State directories of version 0.1: `state.redb`, whose records carry no digests, and
//! `leases.journal`. They are read once, when a directory is upgraded.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::super::Saved;
use super::journal01;
use super::record::{self, EventRecord, InstallRecord, Lease6Record, LeaseRecord, RevisionRecord};
use super::upgrade;
use crate::state::{Lease, Revision};

/// The file's name; in a directory of today a text is there that version 0.1 refuses.
pub(crate) const FILE: &str = "state.redb";
/// The leases of version 0.1.
pub(crate) const JOURNAL: &str = "leases.journal";
/// Where the file lies while its directory is upgraded.
pub(crate) const OLD: &str = "state.redb.old";

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Where leases were before they had a journal.
const LEASES: TableDefinition<u32, &[u8]> = TableDefinition::new("leases");
const LEASES6: TableDefinition<u128, &[u8]> = TableDefinition::new("leases6");
const INSTALLS: TableDefinition<&str, &[u8]> = TableDefinition::new("installs");
const ASSIGNMENTS: TableDefinition<&str, &str> = TableDefinition::new("assignments");
const PROTECTED: TableDefinition<&str, ()> = TableDefinition::new("protected");
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
const NOTES: TableDefinition<&str, &[u8]> = TableDefinition::new("notes");

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What another program of version 0.1 has open can't be read.
#[derive(Debug)]
pub(crate) enum FormerError {
    Busy,
    /// The system does not let it be read.
    File(String),
    /// The leases are gone.
    Lost(String),
    Unusable(String),
}

/// The leases that can be read, whatever else was lost.
pub(crate) fn salvaged_leases(directory: &Path) -> Vec<Lease> {
    let mut leases = BTreeMap::new();
    if let Ok(bytes) = std::fs::read(directory.join(JOURNAL)) {
        let _ = journal01::replay(&bytes, &mut leases);
    }
    leases.into_values().collect()
}

/// Everything that the directory of version 0.1 holds; `file` is its database.
pub(crate) fn read(directory: &Path, file: &Path) -> Result<Saved, FormerError> {
    let mut saved = read_without_leases(file)?;
    let mut leases: BTreeMap<Ipv4Addr, Lease> =
        std::mem::take(&mut saved.leases).into_iter().map(|lease| (lease.address, lease)).collect();
    let journal = directory.join(JOURNAL);
    let lost = |why: &dyn std::fmt::Display| {
        FormerError::Lost(format!("{} {why}, so that leases of IPv4 addresses were lost", journal.display()))
    };
    match std::fs::read(&journal) {
        Ok(bytes) if bytes.is_empty() => return Err(lost(&"is empty")),
        Ok(bytes) => journal01::replay(&bytes, &mut leases)
            .map_err(|damage| lost(&format!("is damaged ({damage})")))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !leases.is_empty() => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(lost(&"is missing")),
        Err(error) => return Err(FormerError::File(format!("{} can't be read: {error}", journal.display()))),
    }
    saved.leases = leases.into_values().collect();
    Ok(saved)
}

/// The same but for the leases of IPv4 addresses in the journal.
pub(crate) fn read_without_leases(file: &Path) -> Result<Saved, FormerError> {
    if let Err(error) = std::fs::File::open(file) {
        return Err(FormerError::File(format!("{} can't be read: {error}", file.display())));
    }
    let unusable = |error: &dyn std::fmt::Display| {
        FormerError::Unusable(format!("{} can't be read ({error})", file.display()))
    };
    let read = || {
        let database = Database::open(file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => FormerError::Busy,
            other => unusable(&other),
        })?;
        load(&database).map_err(|error| unusable(&error))
    };
    // What is damaged below its records may make the library panic.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(unusable(&"its pages contradict each other")))
}

fn load(database: &Database) -> Result<Saved, Error> {
    let read = database.begin_read()?;
    let mut saved = Saved::default();
    let meta = read.open_table(META)?;
    let value = |key: &str| -> Result<Vec<u8>, Error> {
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
        let (name, install) = row?;
        let record = record::read::<InstallRecord>(install.value())?;
        saved.installs.push(record.into_install(Some(name.value().parse()?))?);
    }
    for row in read.open_table(ASSIGNMENTS)?.iter()? {
        let (deployment, machine) = row?;
        saved.assignments.push((deployment.value().parse()?, machine.value().parse()?));
    }
    saved.installs = upgrade::installs(std::mem::take(&mut saved.installs), &saved.assignments);
    saved.served = upgrade::served(&saved.assignments, &saved.installs);
    for row in read.open_table(PROTECTED)?.iter()? {
        saved.protected.push(row?.0.value().parse()?);
    }
    for row in read.open_table(NOTES)?.iter()? {
        let (name, note) = row?;
        saved.notes.insert(name.value().to_owned(), note.value().to_vec());
    }
    if let Some(note) = meta.get("kept")? {
        let mut files = BTreeMap::new();
        for row in read.open_table(FILES)?.iter()? {
            let (path, bytes) = row?;
            files.insert(path.value().into(), Bytes::copy_from_slice(bytes.value()));
        }
        let kept = record::read::<RevisionRecord>(note.value())?.into_saved();
        saved.kept = kept.map(|kept| Revision::of(&kept, &files));
    }
    Ok(saved)
}
