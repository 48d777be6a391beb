//! Which machine a deployment has. Key: the deployment's name. Value: the machine's name.

use super::bytes::{Reader, field, name};
use super::{Kind, Record};
use crate::model::Name;

pub(super) struct Assignment;

impl Kind for Assignment {
    const NAME: &'static str = "assigned";
    type Key = Name;
    type Value = Name;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(machine: &Name, out: &mut Vec<u8>) {
        field(machine.as_str().as_bytes(), out);
    }

    fn read(deployment: Name, bytes: &[u8]) -> Option<Record> {
        let machine = Reader(bytes).name()?;
        Some(Record::Assignment(deployment, Some(machine)))
    }

    fn deletion(deployment: Name) -> Option<Record> {
        Some(Record::Assignment(deployment, None))
    }
}
