//! The state's serial. One record without a key. Value: the number (8 bytes).

use super::bytes::Reader;
use super::{Kind, Only, Record};

pub(super) struct Serial;

impl Kind for Serial {
    const NAME: &'static str = "serial";
    type Key = Only;
    type Value = u64;

    fn write_key(_: &Only, _: &mut Vec<u8>) {}

    fn read_key(bytes: &[u8]) -> Option<Only> {
        bytes.is_empty().then_some(Only)
    }

    fn write(serial: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&serial.to_le_bytes());
    }

    fn read(_: Only, bytes: &[u8]) -> Option<Record> {
        Reader(bytes).u64().map(Record::Serial)
    }

    fn deletion(_: Only) -> Option<Record> {
        None
    }
}
