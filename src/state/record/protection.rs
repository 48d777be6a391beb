//! Machines under protection. Key: the machine's name. Value: nothing.

use super::bytes::name;
use super::{Kind, Record};
use crate::model::Name;

pub(super) struct Protection;

impl Kind for Protection {
    const NAME: &'static str = "protected";
    type Key = Name;
    type Value = ();

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write((): &(), _: &mut Vec<u8>) {}

    fn read(machine: Name, _: &[u8]) -> Option<Record> {
        Some(Record::Protection(machine, true))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Protection(machine, false))
    }
}
