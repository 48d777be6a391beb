//! What machines are for. Key: the machine's name. Value: the holder (1 byte: 1 a deployment; then its name), its highest
//! `redeploy`, the epoch, since when (8).

use super::bytes::{Reader, field, name, number};
use super::{Kind, Record};
use crate::model::Name;
use crate::state::Tenancy as Value;

pub(super) struct Tenancy;

/// Numbers of holders lie in files: none changes, and none is used twice.
const DEPLOYMENT: u8 = 1;

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
        let Value { deployment, redeploy, epoch, since } = value;
        out.push(DEPLOYMENT);
        field(deployment.as_str().as_bytes(), out);
        number(*redeploy, out);
        number(*epoch, out);
        out.extend_from_slice(&since.0.to_le_bytes());
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        if reader.byte()? != DEPLOYMENT {
            return None;
        }
        let (deployment, redeploy) = (reader.name()?, reader.number()?);
        let (epoch, since) = (reader.number()?, reader.time()?);
        Some(Record::Tenancy(machine, Some(Value { deployment, redeploy, epoch, since })))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Tenancy(machine, None))
    }
}
