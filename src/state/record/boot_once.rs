//! Orders about the next network boot of machines. Key: the machine's name. Value: the boot, by whom, since when (8), until
//! when (8), when it began (optional, 8).

use super::bytes::{Reader, field, name};
use super::life::{read_time, time};
use super::{Kind, Record, caller};
use crate::model::Name;
use crate::state::boot_once::BootOnce as Value;

pub(super) struct BootOnce;

impl Kind for BootOnce {
    const NAME: &'static str = "boot-once";
    type Key = Name;
    type Value = Value;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { boot, by, since, until, begun } = value;
        field(boot.as_str().as_bytes(), out);
        field(&caller::bytes(by), out);
        out.extend_from_slice(&since.0.to_le_bytes());
        out.extend_from_slice(&until.0.to_le_bytes());
        time(*begun, out);
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let boot = reader.name()?;
        let by = caller::read(reader.field()?)?;
        let (since, until) = (reader.time()?, reader.time()?);
        let begun = read_time(&mut reader)?;
        Some(Record::BootOnce(machine, Some(Value { boot, by, since, until, begun }.into())))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::BootOnce(machine, None))
    }
}
