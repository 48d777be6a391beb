//! Tokens of the control API. Key: the name. Value: the number that a token shows (4 bytes, little-endian), the SHA-256 of
//! the token (32), the role (1 byte, as in `caller.rs`), when it was created (8), when it ends (optional, 8), when it
//! was last used (optional, 8; to an hour), who created it (optional), and of one that is bound to pools their names. The
//! role of such a one has the bit [`BOUND`], which versions before do not know: they let it open nothing.

use std::sync::Arc;

use super::bytes::{Reader, field, optional};
use super::{Kind, Record, caller};
use crate::model::{Name, Time};
use crate::state::ApiToken as Value;

/// In the byte of the role: pools follow.
const BOUND: u8 = 0x40;

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
        let Value { name: _, id, digest, role, pools, by, created, expires, used } = value;
        let time = |time: &Option<Time>| time.map(|time| time.0.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(digest);
        out.push(caller::role_code(*role) | if pools.is_empty() { 0 } else { BOUND });
        out.extend_from_slice(&created.0.to_le_bytes());
        optional(time(expires).as_ref().map(|bytes| &bytes[..]), out);
        optional(time(used).as_ref().map(|bytes| &bytes[..]), out);
        optional(by.as_ref().map(caller::bytes).as_deref(), out);
        if !pools.is_empty() {
            let mut names = Vec::new();
            pools.iter().for_each(|pool| field(pool.as_str().as_bytes(), &mut names));
            field(&names, out);
        }
    }

    fn read(name: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let id = u32::from_le_bytes(reader.take(4)?.try_into().ok()?);
        let digest = reader.take(32)?.try_into().ok()?;
        let code = reader.byte()?;
        let role = caller::role(code & !BOUND)?;
        let created = reader.time()?;
        let (expires, used) = (time(&mut reader)?, time(&mut reader)?);
        let by = reader.optional()?.and_then(caller::read);
        // What is bound and names no pool is damaged: it is not unbound.
        let pools = if code & BOUND == 0 { Vec::new() } else { pools(reader.field()?)? };
        let token = Value { name: name.clone(), id, digest, role, pools, by, created, expires, used };
        Some(Record::ApiToken(name, Some(Arc::new(token))))
    }

    fn deletion(name: Name) -> Option<Record> {
        Some(Record::ApiToken(name, None))
    }
}

/// One name at least.
fn pools(bytes: &[u8]) -> Option<Vec<Name>> {
    let mut reader = Reader(bytes);
    let mut pools = vec![reader.text()?.parse().ok()?];
    while !reader.0.is_empty() {
        pools.push(reader.text()?.parse().ok()?);
    }
    Some(pools)
}

/// A time that may be absent.
fn time(reader: &mut Reader<'_>) -> Option<Option<Time>> {
    Some(match reader.optional()? {
        Some(bytes) => Some(Time(u64::from_le_bytes(bytes.try_into().ok()?))),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn value(pools: &[&str]) -> Value {
        let pools = pools.iter().map(|pool| pool.parse().unwrap()).collect();
        let (name, created) = ("ci".parse().unwrap(), Time(5));
        let role = Role::Editor;
        Value { name, id: 7, digest: [9; 32], role, pools, by: None, created, expires: None, used: None }
    }

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        ApiToken::write(value, &mut out);
        out
    }

    #[test]
    fn what_is_bound_to_pools_is_never_read_as_unbound() {
        let (free, bound) = (bytes(&value(&[])), bytes(&value(&["blue", "red"])));
        let read = |bytes: &[u8]| ApiToken::read("ci".parse().unwrap(), bytes);
        assert_eq!(read(&free), Some(Record::ApiToken("ci".parse().unwrap(), Some(Arc::new(value(&[]))))));
        let again = read(&bound);
        assert_eq!(
            again,
            Some(Record::ApiToken("ci".parse().unwrap(), Some(Arc::new(value(&["blue", "red"])))))
        );
        // As versions before wrote and read it: to them the role is one of a later version.
        assert_eq!(free[36], 2);
        assert!(caller::role(bound[36]).is_none());
        assert!((0..bound.len()).all(|length| read(&bound[..length]).is_none()), "cut off it is damaged");
    }
}
