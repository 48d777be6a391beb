//! Machines' lives. Key: the machine's name. Value: how well it is known (1 byte: 1 seen, 2 discovered, 3 accepted), its
//! subnet (optional), its cards, its disks (each: what it is known by, its bytes, its state in 1 byte: 1 unknown,
//! 2 clean, 3 dirty, 4 in use), when its agent reported (optional, 8), the epoch of its last order, its order (optional),
//! who holds it (optional), which start of our agent reported last (optional), which two machines showed its card
//! (optional). The last two are absent where they were written before 0.3.
//!
//! An order: its epoch, its work (1 byte: 1 fencing, 2 wiping, 3 verifying), its condition (1 byte: 1 well, 2 overdue,
//! 3 failed), why, its level (1 byte: 1 quick, 2 clear, 3 purge), flags (1: off, 2: names disks, 4: over the budget,
//! 8: consented), the disks, by whom, its reason, since when (8), when it got further, attempts. A hold: by whom,
//! its reason, until when (optional, 8).

use std::sync::Arc;

use super::bytes::{Reader, field, name, number, optional};
use super::{Kind, Record, caller};
use crate::model::{Name, Time, WipeLevel};
use crate::state::life::{Disk, Hold, Life as Value, Order};
use crate::state::lifecycle::{Condition, DiskState, Known, Work};

pub(super) struct Life;

const OFF: u8 = 1;
const NAMES_DISKS: u8 = 2;
const OVER_BUDGET: u8 = 4;
const CONSENTED: u8 = 8;

impl Kind for Life {
    const NAME: &'static str = "machine";
    type Key = Name;
    type Value = Value;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { known, subnet, cards, disks, reported, order, hold, epoch, start, contested } = value;
        out.push(known_code(*known));
        optional(subnet.as_ref().map(|subnet| subnet.as_str().as_bytes()), out);
        number(cards.len() as u64, out);
        cards.iter().for_each(|card| out.extend_from_slice(&card.octets()));
        number(disks.len() as u64, out);
        for Disk { id, bytes, state } in disks.iter() {
            field(id.as_bytes(), out);
            number(*bytes, out);
            out.push(disk_code(*state));
        }
        time(*reported, out);
        number(*epoch, out);
        optional(order.as_deref().map(order_bytes).as_deref(), out);
        optional(hold.as_deref().map(hold_bytes).as_deref(), out);
        optional(start.as_deref().map(str::as_bytes), out);
        optional(contested.as_deref().map(str::as_bytes), out);
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let known = reader.byte()?;
        let known = Known::ALL.into_iter().find(|one| known_code(*one) == known)?;
        let subnet = reader.optional_name()?;
        let cards = reader.list(Reader::mac)?.into();
        let disks = reader.list(read_disk)?.into();
        let reported = read_time(&mut reader)?;
        let epoch = reader.number()?;
        let order = match reader.optional()? {
            Some(order) => Some(Arc::new(read_order(order)?)),
            None => None,
        };
        let hold = match reader.optional()? {
            Some(hold) => Some(Arc::new(read_hold(hold)?)),
            None => None,
        };
        let mut text = || if reader.0.is_empty() { Some(None) } else { reader.optional_text() };
        let (start, contested) = (text()?.map(Arc::from), text()?.map(Arc::from));
        let life = Value { known, subnet, cards, disks, reported, order, hold, epoch, start, contested };
        Some(Record::Life(machine, Some(life.into())))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Life(machine, None))
    }
}

fn order_bytes(order: &Order) -> Vec<u8> {
    let Order {
        epoch,
        work,
        condition,
        why,
        level,
        off,
        disks,
        over_budget,
        consented,
        by,
        reason,
        since,
        progress,
        attempts,
    } = order;
    let mut out = Vec::new();
    number(*epoch, &mut out);
    out.push(work_code(*work));
    out.push(condition_code(*condition));
    field(why.as_bytes(), &mut out);
    out.push(level_code(*level));
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let own = flag(*off, OFF) | flag(disks.is_some(), NAMES_DISKS);
    out.push(own | flag(*over_budget, OVER_BUDGET) | flag(*consented, CONSENTED));
    let disks = disks.as_deref().unwrap_or_default();
    number(disks.len() as u64, &mut out);
    disks.iter().for_each(|disk| field(disk.as_bytes(), &mut out));
    field(&caller::bytes(by), &mut out);
    field(reason.as_bytes(), &mut out);
    out.extend_from_slice(&since.0.to_le_bytes());
    number(*progress, &mut out);
    number((*attempts).into(), &mut out);
    out
}

fn read_order(bytes: &[u8]) -> Option<Order> {
    let mut reader = Reader(bytes);
    let epoch = reader.number()?;
    let (work, condition) = (reader.byte()?, reader.byte()?);
    let why = reader.text()?.into();
    let (level, flags) = (reader.byte()?, reader.byte()?);
    let disks = reader.list(|reader| reader.text().map(Arc::<str>::from))?;
    let by = caller::read(reader.field()?)?;
    let reason = reader.text()?.into();
    let since = reader.time()?;
    let (progress, attempts) = (reader.number()?, reader.number()?.try_into().ok()?);
    Some(Order {
        epoch,
        work: Work::ALL.into_iter().find(|one| one.is_order() && work_code(*one) == work)?,
        condition: Condition::ALL.into_iter().find(|one| condition_code(*one) == condition)?,
        why,
        level: level_of(level)?,
        off: flags & OFF != 0,
        disks: (flags & NAMES_DISKS != 0).then(|| disks.into()),
        over_budget: flags & OVER_BUDGET != 0,
        consented: flags & CONSENTED != 0,
        by,
        reason,
        since,
        progress,
        attempts,
    })
}

fn hold_bytes(hold: &Hold) -> Vec<u8> {
    let Hold { by, reason, until } = hold;
    let mut out = Vec::new();
    field(&caller::bytes(by), &mut out);
    field(reason.as_bytes(), &mut out);
    time(*until, &mut out);
    out
}

fn read_hold(bytes: &[u8]) -> Option<Hold> {
    let mut reader = Reader(bytes);
    let by = caller::read(reader.field()?)?;
    let reason = reader.text()?.into();
    Some(Hold { by, reason, until: read_time(&mut reader)? })
}

fn read_disk(reader: &mut Reader<'_>) -> Option<Disk> {
    let (id, bytes, state) = (reader.text()?.into(), reader.number()?, reader.byte()?);
    let state = DiskState::ALL.into_iter().find(|one| disk_code(*one) == state)?;
    Some(Disk { id, bytes, state })
}

/// A time that may be absent.
pub(super) fn time(time: Option<Time>, out: &mut Vec<u8>) {
    optional(time.map(|time| time.0.to_le_bytes()).as_ref().map(|bytes| &bytes[..]), out);
}

pub(super) fn read_time(reader: &mut Reader<'_>) -> Option<Option<Time>> {
    Some(match reader.optional()? {
        Some(bytes) => Some(Time(u64::from_le_bytes(bytes.try_into().ok()?))),
        None => None,
    })
}

// Numbers lie in files: none changes, and none is used twice.

fn known_code(known: Known) -> u8 {
    match known {
        Known::Seen => 1,
        Known::Discovered => 2,
        Known::Accepted => 3,
    }
}

fn disk_code(state: DiskState) -> u8 {
    match state {
        DiskState::Unknown => 1,
        DiskState::Clean => 2,
        DiskState::Dirty => 3,
        DiskState::InUse => 4,
    }
}

/// No order has one of the others.
fn work_code(work: Work) -> u8 {
    match work {
        Work::Fencing => 1,
        Work::Wiping => 2,
        Work::Verifying => 3,
        Work::None | Work::Installing | Work::NetworkBoot => 0,
    }
}

fn condition_code(condition: Condition) -> u8 {
    match condition {
        Condition::Well => 1,
        Condition::Overdue => 2,
        Condition::Failed => 3,
    }
}

pub(super) fn level_code(level: WipeLevel) -> u8 {
    match level {
        WipeLevel::Quick => 1,
        WipeLevel::Clear => 2,
        WipeLevel::Purge => 3,
    }
}

pub(super) fn level_of(code: u8) -> Option<WipeLevel> {
    WipeLevel::ALL.into_iter().find(|level| level_code(*level) == code)
}
