//! Records that last: one kind a file, each with its keys, its values and their bytes.
//!
//! A record says how one thing is from now on: its new value, or that it was deleted. Its bytes are
//! compact: numbers are little-endian, a length is a LEB128 number before what it counts, and the length of
//! something optional is one more than its real length, zero where it is absent. A value may be longer than
//! a version knows: a later version adds fields at the end, and reads those of an earlier one as absent.
//!
//! A new kind is a new file here, a line in `kinds!` below, and an arm wherever the compiler asks for one.

mod api_token;
mod assignment;
mod boot_once;
mod bytes;
mod caller;
mod card;
mod card_boots;
mod certificate;
mod claim;
mod effect;
mod facts;
mod file;
mod installs;
mod lease4;
mod lease6;
mod life;
mod note;
mod protection;
mod prototype;
mod restored;
mod revision;
mod serial;
mod served;
mod tenancy;
mod used_plan;
mod user_data;

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use ::bytes::Bytes;

use super::boot_once::BootOnce;
use super::certificate::WipeCertificate;
use super::learned::CardBoots;
use super::outbox::{EffectId, Pending};
use super::prototype::Prototype;
use super::user_data::Sealed;
use super::{ApiToken, Claim, Install, Lease, Lease6, Life, Served, Tenancy};
use crate::model::facts::Facts;
use crate::model::{Mac, Name};

pub use super::revision::stored::SavedRevision;

/// A change of what lasts: put or delete of one kind of record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Lease4(Lease),
    Lease6(Lease6),
    /// All installations of a machine; an empty list deletes them.
    Installs(Name, Arc<[Install]>),
    /// Which machine a deployment has; `None` deletes, likewise below. Written by earlier versions, and only
    /// deleted by this one: tenancies are in their place.
    Assignment(Name, Option<Name>),
    /// Whether a machine is under protection.
    Protection(Name, bool),
    /// A deployment as it was last served.
    Served(Name, Option<Arc<Served>>),
    /// What the daemon wrote down for itself, by name.
    Note(Cow<'static, str>, Vec<u8>),
    /// A card in no manifest, and the machine it was learned to be of.
    Card(Mac, Option<Name>),
    /// A saved plan that was applied, and the serial it was made for.
    UsedPlan(Arc<str>, Option<u64>),
    /// The revision that is served, but for its files.
    Revision(Arc<SavedRevision>),
    /// A file of that revision.
    File(Arc<str>, Option<Bytes>),
    /// The state's serial.
    Serial(u64),
    /// Whether the state is a restored copy whose installations nobody has settled yet.
    Restored(bool),
    /// An effect that waits for its executor; `None` if it has ended.
    Effect(EffectId, Option<Arc<Pending>>),
    /// A token of the control API.
    ApiToken(Name, Option<Arc<ApiToken>>),
    /// What a machine is for.
    Tenancy(Name, Option<Tenancy>),
    /// What is recorded of a machine besides.
    Life(Name, Option<Arc<Life>>),
    Claim(Name, Option<Arc<Claim>>),
    /// What claims run, by its key.
    Prototype(Arc<str>, Option<Arc<Prototype>>),
    /// Sealed user data of a claim.
    UserData(Name, Option<Sealed>),
    /// What our agent found out about a machine's hardware.
    Facts(Name, Option<Arc<Facts>>),
    /// What was done to the disks of a machine, by the number of the order.
    Certificate(u64, Option<Arc<WipeCertificate>>),
    /// What the boots of a card showed.
    CardBoots(Mac, Option<Arc<CardBoots>>),
    /// What the next network boot of a machine leads to.
    BootOnce(Name, Option<Arc<BootOnce>>),
}

/// How the records of one kind lie in bytes.
pub trait Kind {
    /// What people call it.
    const NAME: &'static str;
    /// Read from what it shows as.
    type Key: FromStr + Display;
    type Value: ?Sized;

    fn write_key(key: &Self::Key, out: &mut Vec<u8>);
    fn read_key(bytes: &[u8]) -> Option<Self::Key>;
    fn write(value: &Self::Value, out: &mut Vec<u8>);
    /// The record of a value; `None` if the bytes are none.
    fn read(key: Self::Key, bytes: &[u8]) -> Option<Record>;
    /// The record that deletes; `None` where only another value takes its place.
    fn deletion(key: Self::Key) -> Option<Record>;
}

/// The key of a kind of which there is one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Only;

impl Display for Only {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl FromStr for Only {
    type Err = ();

    fn from_str(text: &str) -> Result<Only, ()> {
        if text.is_empty() { Ok(Only) } else { Err(()) }
    }
}

macro_rules! kinds {
    ($($kind:ident = $code:literal: $own:ty,)*) => {
        /// Which kind a record is of. Its number lies in files and is never used again for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RecordKind {
            $($kind = $code,)*
        }

        impl RecordKind {
            pub const ALL: &'static [RecordKind] = &[$(RecordKind::$kind,)*];

            /// `None` for one of a later version, or of damage.
            pub fn of_code(code: u8) -> Option<RecordKind> {
                match code {
                    $($code => Some(RecordKind::$kind),)*
                    _ => None,
                }
            }

            /// What people call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(RecordKind::$kind => <$own>::NAME,)*
                }
            }

            /// A key's bytes as people read them; `None` if they are no key.
            pub fn key_text(self, key: &[u8]) -> Option<String> {
                match self {
                    $(RecordKind::$kind => <$own>::read_key(key).map(|key| key.to_string()),)*
                }
            }

            /// The bytes of a key that shows so; `None` if none does.
            pub fn key_bytes(self, text: &str) -> Option<Vec<u8>> {
                let mut bytes = Vec::new();
                match self {
                    $(RecordKind::$kind => {
                        let key: <$own as Kind>::Key = text.parse().ok()?;
                        <$own>::write_key(&key, &mut bytes);
                    })*
                }
                Some(bytes)
            }

            /// The record of a key and a value, without a value the one that deletes; `None` if the bytes
            /// are none that this version can read.
            pub fn read(self, key: &[u8], value: Option<&[u8]>) -> Option<Record> {
                match self {
                    $(RecordKind::$kind => {
                        let key = <$own>::read_key(key)?;
                        match value {
                            Some(value) => <$own>::read(key, value),
                            None => <$own>::deletion(key),
                        }
                    })*
                }
            }
        }
    };
}

kinds! {
    Lease4 = 1: lease4::Lease4,
    Lease6 = 2: lease6::Lease6,
    Installs = 3: installs::Installs,
    Assignment = 4: assignment::Assignment,
    Protection = 5: protection::Protection,
    Served = 6: served::Served,
    Note = 7: note::Note,
    Card = 8: card::Card,
    UsedPlan = 9: used_plan::UsedPlan,
    Revision = 10: revision::Revision,
    File = 11: file::File,
    Serial = 12: serial::Serial,
    Restored = 13: restored::Restored,
    Effect = 14: effect::Effect,
    ApiToken = 15: api_token::ApiToken,
    Tenancy = 16: tenancy::Tenancy,
    Life = 17: life::Life,
    Claim = 18: claim::Claim,
    Facts = 19: facts::Facts,
    Prototype = 20: prototype::Prototype,
    Certificate = 21: certificate::Certificate,
    CardBoots = 22: card_boots::CardBoots,
    BootOnce = 23: boot_once::BootOnce,
    UserData = 24: user_data::UserData,
}

impl RecordKind {
    /// Whether records of this kind are not carried over into a restored copy: what was to be done then is not to
    /// be done again now.
    pub fn ends_with_restore(self) -> bool {
        matches!(self, RecordKind::Effect | RecordKind::BootOnce)
    }

    /// The number that stands for it in files, from 1 to 61: the log uses the two bits above for itself.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Record {
    pub fn kind(&self) -> RecordKind {
        match self {
            Record::Lease4(_) => RecordKind::Lease4,
            Record::Lease6(_) => RecordKind::Lease6,
            Record::Installs(..) => RecordKind::Installs,
            Record::Assignment(..) => RecordKind::Assignment,
            Record::Protection(..) => RecordKind::Protection,
            Record::Served(..) => RecordKind::Served,
            Record::Note(..) => RecordKind::Note,
            Record::Card(..) => RecordKind::Card,
            Record::UsedPlan(..) => RecordKind::UsedPlan,
            Record::Revision(_) => RecordKind::Revision,
            Record::File(..) => RecordKind::File,
            Record::Serial(_) => RecordKind::Serial,
            Record::Restored(_) => RecordKind::Restored,
            Record::Effect(..) => RecordKind::Effect,
            Record::ApiToken(..) => RecordKind::ApiToken,
            Record::Tenancy(..) => RecordKind::Tenancy,
            Record::Life(..) => RecordKind::Life,
            Record::Claim(..) => RecordKind::Claim,
            Record::Prototype(..) => RecordKind::Prototype,
            Record::Facts(..) => RecordKind::Facts,
            Record::UserData(..) => RecordKind::UserData,
            Record::Certificate(..) => RecordKind::Certificate,
            Record::CardBoots(..) => RecordKind::CardBoots,
            Record::BootOnce(..) => RecordKind::BootOnce,
        }
    }

    /// Appends the bytes of its key.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        match self {
            Record::Lease4(lease) => lease4::Lease4::write_key(&lease.address, out),
            Record::Lease6(lease) => lease6::Lease6::write_key(&lease.address, out),
            Record::Installs(machine, _) => installs::Installs::write_key(machine, out),
            Record::Assignment(deployment, _) => assignment::Assignment::write_key(deployment, out),
            Record::Protection(machine, _) => protection::Protection::write_key(machine, out),
            Record::Served(deployment, _) => served::Served::write_key(deployment, out),
            Record::Note(name, _) => out.extend_from_slice(name.as_bytes()),
            Record::Card(mac, _) => card::Card::write_key(mac, out),
            Record::UsedPlan(plan, _) => out.extend_from_slice(plan.as_bytes()),
            Record::File(path, _) => out.extend_from_slice(path.as_bytes()),
            Record::Effect(id, _) => effect::Effect::write_key(id, out),
            Record::ApiToken(name, _) => api_token::ApiToken::write_key(name, out),
            Record::Tenancy(machine, _) => tenancy::Tenancy::write_key(machine, out),
            Record::Life(machine, _) => life::Life::write_key(machine, out),
            Record::Claim(name, _) => claim::Claim::write_key(name, out),
            Record::Prototype(key, _) => out.extend_from_slice(key.as_bytes()),
            Record::Facts(machine, _) => facts::Facts::write_key(machine, out),
            Record::UserData(name, _) => user_data::UserData::write_key(name, out),
            Record::Certificate(epoch, _) => certificate::Certificate::write_key(epoch, out),
            Record::CardBoots(card, _) => card_boots::CardBoots::write_key(card, out),
            Record::BootOnce(machine, _) => boot_once::BootOnce::write_key(machine, out),
            Record::Revision(_) | Record::Serial(_) | Record::Restored(_) => {}
        }
    }

    /// Appends the bytes of its value, and answers whether it has one: without, it deletes.
    pub fn write_value(&self, out: &mut Vec<u8>) -> bool {
        fn put<K: Kind>(value: &K::Value, out: &mut Vec<u8>) -> bool {
            K::write(value, out);
            true
        }
        match self {
            Record::Lease4(lease) => put::<lease4::Lease4>(lease, out),
            Record::Lease6(lease) => put::<lease6::Lease6>(lease, out),
            Record::Installs(_, list) => !list.is_empty() && put::<installs::Installs>(list, out),
            Record::Assignment(_, machine) => {
                machine.as_ref().is_some_and(|machine| put::<assignment::Assignment>(machine, out))
            }
            Record::Protection(_, is_protected) => *is_protected,
            Record::Served(_, served) => {
                served.as_ref().is_some_and(|served| put::<served::Served>(served, out))
            }
            Record::Note(_, note) => put::<note::Note>(note, out),
            Record::Card(_, machine) => {
                machine.as_ref().is_some_and(|machine| put::<card::Card>(machine, out))
            }
            Record::UsedPlan(_, serial) => {
                serial.as_ref().is_some_and(|serial| put::<used_plan::UsedPlan>(serial, out))
            }
            Record::Revision(revision) => put::<revision::Revision>(revision, out),
            Record::File(_, bytes) => bytes.as_ref().is_some_and(|bytes| put::<file::File>(bytes, out)),
            Record::Serial(serial) => put::<serial::Serial>(serial, out),
            Record::Restored(restored) => put::<restored::Restored>(restored, out),
            Record::Effect(_, pending) => {
                pending.as_ref().is_some_and(|pending| put::<effect::Effect>(pending, out))
            }
            Record::ApiToken(_, token) => {
                token.as_ref().is_some_and(|token| put::<api_token::ApiToken>(token, out))
            }
            Record::Life(_, life) => life.as_ref().is_some_and(|life| put::<life::Life>(life, out)),
            Record::Prototype(_, one) => {
                one.as_ref().is_some_and(|one| put::<prototype::Prototype>(one, out))
            }
            Record::Claim(_, claim) => claim.as_ref().is_some_and(|claim| put::<claim::Claim>(claim, out)),
            Record::Facts(_, facts) => facts.as_ref().is_some_and(|facts| put::<facts::Facts>(facts, out)),
            Record::UserData(_, one) => one.as_ref().is_some_and(|one| put::<user_data::UserData>(one, out)),
            Record::Certificate(_, one) => {
                one.as_ref().is_some_and(|one| put::<certificate::Certificate>(one, out))
            }
            Record::CardBoots(_, boots) => {
                boots.as_ref().is_some_and(|boots| put::<card_boots::CardBoots>(boots, out))
            }
            Record::BootOnce(_, once) => {
                once.as_ref().is_some_and(|once| put::<boot_once::BootOnce>(once, out))
            }
            Record::Tenancy(_, tenancy) => {
                tenancy.as_ref().is_some_and(|tenancy| put::<tenancy::Tenancy>(tenancy, out))
            }
        }
    }
}

#[cfg(test)]
mod tests;
