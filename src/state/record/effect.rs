//! Effects that wait for their executors. Key: the number (8 bytes, big-endian, so that the oldest comes first).
//! Value: when it was caused (8), when its executor began with it (optional, 8), what is to be done (1 byte: 1, read
//! a source), the name of whom it is about, who caused it (optional; absent in values of earlier versions).
//!
//! Who caused it: how that is known (1 byte: 1 a user of the host, 2 a token, 3 the daemon, 4 a machine, 5 a webhook),
//! the role (1 byte: 1 viewer, 2 editor, 3 admin), then the number of the user or the name of the token, if it is one.

use std::sync::Arc;

use super::bytes::{Reader, field, number, optional};
use super::{Kind, Record};
use crate::model::{By, Caller, Role, Time, Token};
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
        optional(by.map(caller_bytes).as_deref(), out);
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
        let task = match kind {
            TaskKind::Fetch => Task::Fetch { source: subject },
            TaskKind::ReadPower => Task::ReadPower { machine: subject },
        };
        let by = if reader.0.is_empty() { None } else { reader.optional()?.and_then(caller) };
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
    }
}

/// `None` for a task of a later version.
fn kind(wanted: u8) -> Option<TaskKind> {
    TaskKind::ALL.into_iter().find(|kind| code(*kind) == wanted)
}

fn caller_bytes(Caller { by, role }: Caller) -> Vec<u8> {
    let code = match by {
        By::User(_) => 1,
        By::Token(_) => 2,
        By::Daemon => 3,
        By::Machine => 4,
        By::Webhook => 5,
    };
    let mut out = vec![code, role_code(role)];
    match by {
        By::User(uid) => number(uid.into(), &mut out),
        By::Token(token) => field(token.name().as_bytes(), &mut out),
        By::Daemon | By::Machine | By::Webhook => {}
    }
    out
}

/// `None` for a caller of a later version.
fn caller(bytes: &[u8]) -> Option<Caller> {
    let mut reader = Reader(bytes);
    let (code, role) = (reader.byte()?, reader.byte()?);
    let by = match code {
        1 => By::User(reader.number()?.try_into().ok()?),
        2 => By::Token(Token::named(reader.text()?)?),
        3 => By::Daemon,
        4 => By::Machine,
        5 => By::Webhook,
        _ => return None,
    };
    let role = Role::ALL.into_iter().find(|known| role_code(*known) == role)?;
    Some(Caller { by, role })
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Viewer => 1,
        Role::Editor => 2,
        Role::Admin => 3,
    }
}
