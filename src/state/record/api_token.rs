//! Tokens of the control API. Key: the name. Value: the number that a token shows (4 bytes, little-endian), the SHA-256 of
//! the token (32), the role (1 byte, as in `caller.rs`), when it was created (8), when it ends (optional, 8), when it
//! was last used (optional, 8; to an hour), who created it (optional).

use std::sync::Arc;

use super::bytes::{Reader, optional};
use super::{Kind, Record, caller};
use crate::model::{Name, Time};
use crate::state::ApiToken as Value;

pub(super) struct ApiToken;

impl Kind for ApiToken {
    const NAME: &'static str = "token";
    type Key = Name;
    type Value = Value;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { name: _, id, digest, role, by, created, expires, used } = value;
        let time = |time: &Option<Time>| time.map(|time| time.0.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(digest);
        out.push(caller::role_code(*role));
        out.extend_from_slice(&created.0.to_le_bytes());
        optional(time(expires).as_ref().map(|bytes| &bytes[..]), out);
        optional(time(used).as_ref().map(|bytes| &bytes[..]), out);
        optional(by.as_ref().map(caller::bytes).as_deref(), out);
    }

    fn read(name: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let id = u32::from_le_bytes(reader.take(4)?.try_into().ok()?);
        let digest = reader.take(32)?.try_into().ok()?;
        let role = caller::role(reader.byte()?)?;
        let created = reader.time()?;
        let (expires, used) = (time(&mut reader)?, time(&mut reader)?);
        let by = reader.optional()?.and_then(caller::read);
        let token = Value { name: name.clone(), id, digest, role, by, created, expires, used };
        Some(Record::ApiToken(name, Some(Arc::new(token))))
    }

    fn deletion(name: Name) -> Option<Record> {
        Some(Record::ApiToken(name, None))
    }
}

/// A time that may be absent.
fn time(reader: &mut Reader<'_>) -> Option<Option<Time>> {
    Some(match reader.optional()? {
        Some(bytes) => Some(Time(u64::from_le_bytes(bytes.try_into().ok()?))),
        None => None,
    })
}
