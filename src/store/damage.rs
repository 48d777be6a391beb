//! Records of a state directory that can't be used, and what becomes of them.

use std::fmt;

use super::log::frame::{Entry, Flag};
use crate::model::Name;
use crate::state::record::{Record, RecordKind};

/// A damaged record, which is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub kind: RecordKind,
    /// What it may be about; several where the damage is in the name itself.
    pub names: Vec<String>,
    pub why: String,
}

/// A key, and what becomes of it whatever it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fix {
    kind: RecordKind,
    key: Vec<u8>,
    flag: Flag,
}

impl Entry for Fix {
    fn kind(&self) -> u8 {
        self.kind.code()
    }

    fn key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
    }

    fn value(&self, _: &mut Vec<u8>) -> Flag {
        self.flag
    }
}

impl Damage {
    /// The deployments or machines it may be about.
    pub fn subjects(&self) -> impl Iterator<Item = Name> {
        let words = self.names.iter().flat_map(|name| name.split(['/', ' ']));
        words.filter_map(|word| word.parse().ok())
    }

    /// Whether a machine may be installed or not because of this record.
    pub fn guards_disks(&self) -> bool {
        matches!(
            self.kind,
            RecordKind::Installs | RecordKind::Assignment | RecordKind::Tenancy | RecordKind::Life
        )
    }

    /// Whether these records put something in its place.
    pub fn is_replaced_by(&self, records: &[Record]) -> bool {
        records.iter().any(|record| match (self.kind, record) {
            (RecordKind::Revision | RecordKind::File, Record::Revision(_)) => true,
            (RecordKind::Served, Record::Served(..) | Record::Revision(_)) => true,
            (RecordKind::Serial, Record::Serial(_)) | (RecordKind::Restored, Record::Restored(_)) => true,
            (RecordKind::Note, Record::Note(name, _)) => self.names.iter().any(|own| *own == **name),
            _ => false,
        })
    }

    /// What to do about it at once: what is no matter of disks is forgotten, a protection stays.
    fn flag(&self) -> Option<Flag> {
        match self.kind {
            RecordKind::Protection => Some(Flag::Put),
            // An effect that can't be read is not carried out, and a token opens nothing: a remark says so.
            RecordKind::Card
            | RecordKind::UsedPlan
            | RecordKind::Lease6
            | RecordKind::Lease4
            | RecordKind::Effect
            | RecordKind::ApiToken
            // Claims that run it boot their disks.
            | RecordKind::Prototype
            | RecordKind::Certificate
            | RecordKind::BootOnce
            // Boots show it again.
            | RecordKind::CardBoots
            // The claim says that it had some.
            | RecordKind::UserData
            // The next report says it again.
            | RecordKind::Facts => Some(Flag::Deleted),
            RecordKind::Installs
            | RecordKind::Assignment
            | RecordKind::Tenancy
            | RecordKind::Life
            | RecordKind::Claim
            | RecordKind::Served
            | RecordKind::Note
            | RecordKind::Revision
            | RecordKind::File
            | RecordKind::Serial
            | RecordKind::Restored => None,
        }
    }

    fn fixes(&self, flag: Flag) -> impl Iterator<Item = Fix> {
        let key = |name: &String| self.kind.key_bytes(name);
        self.names.iter().filter_map(key).map(move |key| Fix { kind: self.kind, key, flag })
    }

    pub(super) fn cure(&self) -> Vec<Fix> {
        self.flag().map_or(Vec::new(), |flag| self.fixes(flag).collect())
    }

    /// The same damage, to be written to another log.
    pub(super) fn carried(&self) -> Vec<Fix> {
        self.fixes(Flag::Damaged).collect()
    }

    /// Whether something is not as it should be until a person or the next revision settles it.
    pub fn lasts(&self) -> bool {
        self.flag().is_none()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { kind, names, why } = self;
        write!(f, "the record {} {} in the state directory {why}", kind.name(), names.join(" or "))
    }
}
