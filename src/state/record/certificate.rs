//! Certificates of wipes. Key: the number of the order (8 bytes, the highest first, so that keys sort as numbers). Value:
//! the machine, the level (1 byte, as in `life.rs`), by whom, what the order follows from, when the disks were wiped (8),
//! when they were verified (optional, 8), what our agent said (JSON), and why
//! the wipe failed (optional; absent where it was written before 0.3).

use super::bytes::{Reader, field, optional};
use super::life::{level_code, level_of, read_time, time};
use super::{Kind, Record, caller};
use crate::state::certificate::WipeCertificate as Value;

pub(super) struct Certificate;

impl Kind for Certificate {
    const NAME: &'static str = "certificate";
    type Key = u64;
    type Value = Value;

    fn write_key(key: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.to_be_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<u64> {
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { epoch: _, machine, level, by, reason, wiped, verified, text, failed } = value;
        field(machine.as_str().as_bytes(), out);
        out.push(level_code(*level));
        field(&caller::bytes(by), out);
        field(reason.as_bytes(), out);
        out.extend_from_slice(&wiped.0.to_le_bytes());
        time(*verified, out);
        field(text.as_bytes(), out);
        optional(failed.as_deref().map(str::as_bytes), out);
    }

    fn read(epoch: u64, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let (machine, level) = (reader.name()?, level_of(reader.byte()?)?);
        let by = caller::read(reader.field()?)?;
        let (reason, wiped) = (reader.text()?.into(), reader.time()?);
        let (verified, text) = (read_time(&mut reader)?, reader.text()?.into());
        let failed = if reader.0.is_empty() { None } else { reader.optional_text()? };
        let failed = failed.map(std::sync::Arc::from);
        let one = Value { epoch, machine, level, by, reason, wiped, verified, text, failed };
        Some(Record::Certificate(epoch, Some(one.into())))
    }

    fn deletion(epoch: u64) -> Option<Record> {
        Some(Record::Certificate(epoch, None))
    }
}
