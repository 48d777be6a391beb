//! Effects that wait for their executors. Key: the number (8 bytes, big-endian, so that the oldest comes first).
//! Value: when it was caused (8), when its executor began with it (optional, 8), what is to be done (1 byte: 1, read
//! a source; 3, restart a machine; 4, switch it off), the name of whom it is about, who caused it (optional; absent in
//! values of earlier versions), and, of 3 and 4 alone, the epoch of the order.

use std::sync::Arc;

use super::bytes::{Reader, field, number, optional};
use super::{Kind, Record, caller};
use crate::model::Time;
use crate::state::outbox::{EffectId, Pending, Task, TaskKind};

pub(super) struct Effect;

impl Kind for Effect {
    const NAME: &'static str = "effect";
    type Key = EffectId;
    type Value = Pending;

    fn write_key(key: &EffectId, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.0.to_be_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<EffectId> {
        bytes.try_into().ok().map(u64::from_be_bytes).map(EffectId)
    }

    fn write(value: &Pending, out: &mut Vec<u8>) {
        let Pending { id: _, task, by, since, begun, trouble: _ } = value;
        out.extend_from_slice(&since.0.to_le_bytes());
        optional(begun.map(|begun| begun.0.to_le_bytes()).as_ref().map(|bytes| &bytes[..]), out);
        out.push(code(task.kind()));
        field(task.subject().as_str().as_bytes(), out);
        optional(by.as_ref().map(caller::bytes).as_deref(), out);
        task.epoch().into_iter().for_each(|epoch| number(epoch, out));
    }

    fn read(id: EffectId, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let since = reader.time()?;
        let begun = match reader.optional()? {
            Some(begun) => Some(Time(u64::from_le_bytes(begun.try_into().ok()?))),
            None => None,
        };
        let kind = kind(reader.byte()?)?;
        let subject = reader.name()?;
        let by = if reader.0.is_empty() { None } else { reader.optional()?.and_then(caller::read) };
        let task = match kind {
            TaskKind::Fetch => Task::Fetch { source: subject },
            TaskKind::ReadPower => Task::ReadPower { machine: subject },
            TaskKind::Restart => Task::Restart { machine: subject, epoch: reader.number()? },
            TaskKind::PowerOff => Task::PowerOff { machine: subject, epoch: reader.number()? },
        };
        Some(Record::Effect(id, Some(Arc::new(Pending { id, task, by, since, begun, trouble: None }))))
    }

    fn deletion(id: EffectId) -> Option<Record> {
        Some(Record::Effect(id, None))
    }
}

/// Numbers lie in files: none changes, and none is used twice.
fn code(kind: TaskKind) -> u8 {
    match kind {
        TaskKind::Fetch => 1,
        TaskKind::ReadPower => 2,
        TaskKind::Restart => 3,
        TaskKind::PowerOff => 4,
    }
}

/// `None` for a task of a later version.
fn kind(wanted: u8) -> Option<TaskKind> {
    TaskKind::ALL.into_iter().find(|kind| code(*kind) == wanted)
}
