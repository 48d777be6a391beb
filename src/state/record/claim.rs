//! Claims. Key: the name. Value: the pool, the number, by whom, when it was asked for (8), how long it lasts (optional,
//! 8), what happens afterwards (1 byte: 1 keep, 2 wipe, 3 wipe and off), the level (1 byte, as in `life.rs`), flags
//! (1: kept, 2: has user data), its machine (optional: the name, the epoch, since when (8), when it ends (optional, 8), when it is
//! taken back (optional, 8)), what named the request (optional), the key of what it runs (optional,
//! as in `prototype.rs`; absent in claims of versions until November 2026).

use std::sync::Arc;

use super::bytes::{Reader, field, name, number, optional};
use super::life::{level_code, level_of, read_time, time};
use super::{Kind, Record, caller};
use crate::model::{Name, OnReturn, Span, Time};
use crate::state::claim::{Claim as Value, Granted};

pub(super) struct Claim;

const KEPT: u8 = 1;
const HAS_USER_DATA: u8 = 2;

impl Kind for Claim {
    const NAME: &'static str = "claim";
    type Key = Name;
    type Value = Value;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value {
            name: _,
            pool,
            number: own,
            by,
            asked,
            ttl,
            on_return,
            level,
            place,
            keep,
            key,
            prototype,
            has_user_data,
        } = value;
        field(pool.as_str().as_bytes(), out);
        number(*own, out);
        field(&caller::bytes(by), out);
        out.extend_from_slice(&asked.0.to_le_bytes());
        time(ttl.map(|ttl| Time(ttl.0)), out);
        out.push(return_code(*on_return));
        out.push(level_code(*level));
        out.push((u8::from(*keep) * KEPT) | (u8::from(*has_user_data) * HAS_USER_DATA));
        optional(place.as_ref().map(place_bytes).as_deref(), out);
        optional(key.as_deref().map(str::as_bytes), out);
        optional(prototype.as_deref().map(str::as_bytes), out);
    }

    fn read(name: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let (pool, number) = (reader.name()?, reader.number()?);
        let by = caller::read(reader.field()?)?;
        let asked = reader.time()?;
        let ttl = read_time(&mut reader)?.map(|time| Span(time.0));
        let (on_return, level, flags) = (reader.byte()?, reader.byte()?, reader.byte()?);
        let on_return = OnReturn::ALL.into_iter().find(|one| return_code(*one) == on_return)?;
        let place = match reader.optional()? {
            Some(place) => Some(read_place(place)?),
            None => None,
        };
        let key = reader.optional_text()?.map(Arc::from);
        let prototype = match reader.0.is_empty() {
            true => None,
            false => reader.optional_text()?.map(Arc::from),
        };
        let (level, keep) = (level_of(level)?, flags & KEPT != 0);
        let has_user_data = flags & HAS_USER_DATA != 0;
        let own = name.clone();
        let claim = Value {
            name,
            pool,
            number,
            by,
            asked,
            ttl,
            on_return,
            level,
            place,
            keep,
            key,
            prototype,
            has_user_data,
        };
        Some(Record::Claim(own, Some(claim.into())))
    }

    fn deletion(name: Name) -> Option<Record> {
        Some(Record::Claim(name, None))
    }
}

fn place_bytes(place: &Granted) -> Vec<u8> {
    let Granted { machine, epoch, since, ends, taken_back } = place;
    let mut out = Vec::new();
    field(machine.as_str().as_bytes(), &mut out);
    number(*epoch, &mut out);
    out.extend_from_slice(&since.0.to_le_bytes());
    time(ends.map(Time), &mut out);
    time(taken_back.map(Time), &mut out);
    out
}

fn read_place(bytes: &[u8]) -> Option<Granted> {
    let mut reader = Reader(bytes);
    let (machine, epoch, since) = (reader.name()?, reader.number()?, reader.time()?);
    let ends = read_time(&mut reader)?.map(|time| time.0);
    Some(Granted { machine, epoch, since, ends, taken_back: read_time(&mut reader)?.map(|time| time.0) })
}

/// Numbers lie in files: none changes, and none is used twice.
fn return_code(on_return: OnReturn) -> u8 {
    match on_return {
        OnReturn::Keep => 1,
        OnReturn::Wipe => 2,
        OnReturn::WipeAndOff => 3,
    }
}
