//! What a new log begins with: records, damage that is carried over, or entries of an old log as they are.

use crate::state::record::{Record, RecordKind};
use crate::store::damage::Fix;
use crate::store::log::frame::{Entry, Flag, Raw};
use crate::store::log::load::Laid;
use crate::store::{Damage, Saved};

/// One entry of a new log.
pub(in crate::store) enum NewEntry<'a> {
    Record(Record),
    Fix(Fix),
    Raw(Raw<'a>),
}

impl Entry for NewEntry<'_> {
    fn kind(&self) -> u8 {
        match self {
            NewEntry::Record(record) => Entry::kind(record),
            NewEntry::Fix(fix) => fix.kind(),
            NewEntry::Raw(raw) => raw.kind(),
        }
    }

    fn key(&self, out: &mut Vec<u8>) {
        match self {
            NewEntry::Record(record) => record.key(out),
            NewEntry::Fix(fix) => fix.key(out),
            NewEntry::Raw(raw) => raw.key(out),
        }
    }

    fn value(&self, out: &mut Vec<u8>) -> Flag {
        match self {
            NewEntry::Record(record) => record.value(out),
            NewEntry::Fix(fix) => fix.value(out),
            NewEntry::Raw(raw) => raw.value(out),
        }
    }

    fn size(&self) -> usize {
        match self {
            NewEntry::Record(record) => record.size(),
            NewEntry::Fix(_) => 0,
            NewEntry::Raw(raw) => raw.value.len(),
        }
    }
}

/// What could be read of a log, as a restored copy.
pub(in crate::store) fn salvaged<'a>(laid: &Laid<'a>) -> Vec<NewEntry<'a>> {
    let ends = |raw: &Raw| match RecordKind::of_code(raw.kind) {
        Some(kind) => kind == RecordKind::Restored || kind.ends_with_restore(),
        None => false,
    };
    let others = laid.raws().filter(|raw| !ends(raw)).map(NewEntry::Raw);
    others.chain([NewEntry::Record(Record::Restored(true))]).collect()
}

/// The entries of what another version wrote, damage too. Damage that can't be named makes all doubtful.
pub(super) fn carried_over(mut saved: Saved) -> Vec<NewEntry<'static>> {
    let damaged: Vec<Fix> = saved.damaged.iter().flat_map(Damage::carried).collect();
    saved.restored |= damaged.len() < saved.damaged.len();
    saved.records().into_iter().map(NewEntry::Record).chain(damaged.into_iter().map(NewEntry::Fix)).collect()
}
