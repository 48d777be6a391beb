//! What machines are for. Key: the machine's name. Value: the holder (1 byte: 1 a deployment, 2 a claim; then its name), its highest
//! `redeploy`, the epoch, since when (8).

use super::bytes::{Reader, field, name, number};
use super::{Kind, Record};
use crate::model::Name;
use crate::state::Tenancy as Value;

pub(super) struct Tenancy;

/// Numbers of holders lie in files: none changes, and none is used twice.
const DEPLOYMENT: u8 = 1;
const CLAIM: u8 = 2;

impl Kind for Tenancy {
    const NAME: &'static str = "tenancy";
    type Key = Name;
    type Value = Value;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { holder, is_claim, redeploy, epoch, since } = value;
        out.push(if *is_claim { CLAIM } else { DEPLOYMENT });
        field(holder.as_str().as_bytes(), out);
        number(*redeploy, out);
        number(*epoch, out);
        out.extend_from_slice(&since.0.to_le_bytes());
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let is_claim = match reader.byte()? {
            DEPLOYMENT => false,
            CLAIM => true,
            _ => return None,
        };
        let (holder, redeploy) = (reader.name()?, reader.number()?);
        let (epoch, since) = (reader.number()?, reader.time()?);
        Some(Record::Tenancy(machine, Some(Value { holder, is_claim, redeploy, epoch, since })))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Tenancy(machine, None))
    }
}
