//! `records.redb`, where records were before there was a log: one table, each value under its digest (`seal`).

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition};
use serde::Deserialize;

use super::super::database::Snapshot;
use super::record;
use super::seal::{Key, Tag, Unfit, split, tag_of};

/// The file's name in the state directory; in one of today a text is there that earlier versions refuse.
pub(crate) const FILE: &str = "records.redb";
/// Key: kind, a zero, name.
const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// What is known of all the others.
const HEAD: &str = "head";

/// One record of the file, written with each batch.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Head {
    /// The table's serial.
    pub serial: u64,
    /// How many batches were written.
    pub batch: u64,
    /// All digests, added by exclusive or: it differs when a record is missing, was added or is an
    /// earlier one.
    sum: Tag,
    /// Whether the state is a restored copy whose installations nobody has settled yet.
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
pub(crate) struct Contents {
    pub head: Head,
    /// Kind, name and value of all that fit their digests, in the order of kinds and names.
    pub records: Vec<(String, String, Vec<u8>)>,
    /// Kind and names of those that do not.
    pub unfit: Vec<(String, Unfit)>,
    /// Whether records are missing, were added, or are earlier ones.
    pub incomplete: bool,
}

/// Why a file of records can't be used.
#[derive(Debug)]
pub(crate) enum RecordsError {
    /// Nothing in it fits this directory's key.
    Foreign,
    /// The system does not let it be read.
    File(std::io::Error),
    Damaged(String),
}

impl std::fmt::Display for RecordsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordsError::Foreign => f.write_str("it belongs to another state directory"),
            RecordsError::File(error) => write!(f, "{error}"),
            RecordsError::Damaged(why) => write!(f, "it is damaged ({why})"),
        }
    }
}

impl RecordsError {
    pub(crate) fn of(error: redb::Error) -> RecordsError {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
                RecordsError::File(error)
            }
            other => RecordsError::Damaged(other.to_string()),
        }
    }
}

/// All records of the file, held against a key. The file stays as it is.
pub(crate) fn open(directory: &Path, key: &Key) -> Result<Contents, RecordsError> {
    let snapshot = Snapshot::take(&directory.join(FILE)).map_err(RecordsError::of)?;
    judge(snapshot.read(|file| read(file, key)).map_err(RecordsError::of)?)
}

fn add(sum: &mut Tag, tag: &Tag) {
    sum.iter_mut().zip(tag).for_each(|(sum, byte)| *sum ^= byte);
}

/// What was read, and the sum of all digests found.
struct Found {
    contents: Contents,
    head: Option<Head>,
    sum: Tag,
}

fn read(read: &ReadTransaction, key: &Key) -> Result<Found, redb::Error> {
    let mut found = Found { contents: Contents::default(), head: None, sum: Tag::default() };
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
            Err(unfit) => found.contents.unfit.push((kind, unfit)),
        }
    }
    Ok(found)
}

fn judge(found: Found) -> Result<Contents, RecordsError> {
    let Found { mut contents, head, sum } = found;
    if head.is_none() && contents.records.is_empty() {
        return Err(RecordsError::Foreign);
    }
    contents.incomplete = head.as_ref().is_none_or(|head| head.sum != sum);
    // Where the head itself is damaged: a serial that no saved plan is bound to.
    contents.head = head.unwrap_or(Head {
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
pub(crate) fn open_unsealed(directory: &Path) -> Result<Contents, RecordsError> {
    let snapshot = Snapshot::take(&directory.join(FILE)).map_err(RecordsError::of)?;
    let read = |file: &ReadTransaction| {
        let mut contents = Contents::default();
        for row in file.open_table(TABLE)?.iter()? {
            let (at, stored) = row?;
            let at = String::from_utf8_lossy(at.value()).into_owned();
            if let (Some((kind, name)), Some((_, value))) = (at.split_once('\0'), split(stored.value())) {
                match kind {
                    HEAD => contents.head = record::read(value).unwrap_or_default(),
                    _ => contents.records.push((kind.to_owned(), name.to_owned(), value.to_vec())),
                }
            }
        }
        Ok(contents)
    };
    snapshot.read(read).map_err(RecordsError::of)
}
