//! Effects that wait for their executors. Key: the number (8 bytes, big-endian, so that the oldest comes first).
//! Value: when it was caused (8), when its executor began with it (optional, 8), what is to be done (1 byte: 1, read
//! a source; 3, restart a machine; 4, switch it off; 5, what a person or a rule orders of its power), the name of whom it
//! is about, who caused it (optional; absent in values of earlier versions), of 3, 4 and 5 the epoch, and of 5 alone what
//! is ordered (1: 1 on, 2 off, 3 cycle, 4 boot-once, 5 install), until when (8) and why. Of 3, 4 and 5 the last request
//! that was sent follows (optional; absent in values of earlier versions): which (1: 1 boot-once, 2 off, 3 on,
//! 4 clear-boot) and when (8).

use std::sync::Arc;

use super::bytes::{Reader, field, number, optional};
use super::{Kind, Record, caller};
use crate::model::{PowerAction, PowerStep, Time};
use crate::state::outbox::{EffectId, Pending, Task, TaskKind};
use crate::state::power_order::{PowerOrder, Sent};

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
        let Pending { id: _, task, by, since, begun, sent, trouble: _ } = value;
        out.extend_from_slice(&since.0.to_le_bytes());
        optional(begun.map(|begun| begun.0.to_le_bytes()).as_ref().map(|bytes| &bytes[..]), out);
        out.push(code(task.kind()));
        field(task.subject().as_str().as_bytes(), out);
        optional(by.as_ref().map(caller::bytes).as_deref(), out);
        task.epoch().into_iter().for_each(|epoch| number(epoch, out));
        if let Task::Power { order: PowerOrder { action, reason, epoch: _, until }, .. } = task {
            out.push(action_code(*action));
            number(until.0, out);
            field(reason.as_bytes(), out);
        }
        if task.kind().is_power() {
            let sent = sent.map(|Sent { step, at }| {
                let mut bytes = vec![step_code(step)];
                bytes.extend_from_slice(&at.0.to_le_bytes());
                bytes
            });
            optional(sent.as_deref(), out);
        }
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
            TaskKind::Power => {
                let epoch = reader.number()?;
                let action = action(reader.byte()?)?;
                let (until, reason) = (Time(reader.number()?), reader.text()?.into());
                Task::Power { machine: subject, order: PowerOrder { action, reason, epoch, until } }
            }
        };
        let has_sent = task.kind().is_power() && !reader.0.is_empty();
        let sent = if has_sent { reader.optional()? } else { None };
        let sent = match sent {
            Some(bytes) => {
                let mut reader = Reader(bytes);
                Some(Sent { step: step(reader.byte()?)?, at: reader.time()? })
            }
            None => None,
        };
        Some(Record::Effect(id, Some(Arc::new(Pending { id, task, by, since, begun, sent, trouble: None }))))
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
        TaskKind::Power => 5,
    }
}

fn action_code(action: PowerAction) -> u8 {
    match action {
        PowerAction::On => 1,
        PowerAction::Off => 2,
        PowerAction::Cycle => 3,
        PowerAction::BootOnce => 4,
        PowerAction::Install => 5,
    }
}

/// `None` for one of a later version.
fn action(wanted: u8) -> Option<PowerAction> {
    PowerAction::ALL.into_iter().find(|action| action_code(*action) == wanted)
}

fn step_code(step: PowerStep) -> u8 {
    match step {
        PowerStep::BootOnce => 1,
        PowerStep::Off => 2,
        PowerStep::On => 3,
        PowerStep::ClearBoot => 4,
    }
}

/// `None` for one of a later version.
fn step(wanted: u8) -> Option<PowerStep> {
    PowerStep::ALL.into_iter().find(|step| step_code(*step) == wanted)
}

/// `None` for a task of a later version.
fn kind(wanted: u8) -> Option<TaskKind> {
    TaskKind::ALL.into_iter().find(|kind| code(*kind) == wanted)
}
