//! User data of claims. Key: the claim. Value: the sealed bytes, as [`crate::state::user_data`] makes them (a field).

use super::bytes::{Reader, field, name};
use super::{Kind, Record};
use crate::model::Name;

pub(super) struct UserData;

impl Kind for UserData {
    const NAME: &'static str = "user-data";
    type Key = Name;
    type Value = [u8];

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &[u8], out: &mut Vec<u8>) {
        field(value, out);
    }

    fn read(name: Name, bytes: &[u8]) -> Option<Record> {
        Some(Record::UserData(name, Some(Reader(bytes).field()?.into())))
    }

    fn deletion(name: Name) -> Option<Record> {
        Some(Record::UserData(name, None))
    }
}
