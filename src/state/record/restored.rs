//! Whether the state is a restored copy whose installations nobody has settled yet. One record without a
//! key. Value: 0 or 1 (1 byte).

use super::bytes::Reader;
use super::{Kind, Only, Record};

pub(super) struct Restored;

impl Kind for Restored {
    const NAME: &'static str = "restored";
    type Key = Only;
    type Value = bool;

    fn write_key(_: &Only, _: &mut Vec<u8>) {}

    fn read_key(bytes: &[u8]) -> Option<Only> {
        bytes.is_empty().then_some(Only)
    }

    fn write(restored: &bool, out: &mut Vec<u8>) {
        out.push((*restored).into());
    }

    fn read(_: Only, bytes: &[u8]) -> Option<Record> {
        Reader(bytes).byte().map(|byte| Record::Restored(byte != 0))
    }

    fn deletion(_: Only) -> Option<Record> {
        None
    }
}
