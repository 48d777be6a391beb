//! Saved plans that were applied. Key: the plan's digest. Value: the serial it was made for (8 bytes).

use super::bytes::Reader;
use super::{Kind, Record};

pub(super) struct UsedPlan;

impl Kind for UsedPlan {
    const NAME: &'static str = "used";
    type Key = String;
    type Value = u64;

    fn write_key(key: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn write(serial: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&serial.to_le_bytes());
    }

    fn read(key: String, bytes: &[u8]) -> Option<Record> {
        let serial = Reader(bytes).u64()?;
        Some(Record::UsedPlan(key.into(), Some(serial)))
    }

    fn deletion(key: String) -> Option<Record> {
        Some(Record::UsedPlan(key.into(), None))
    }
}
