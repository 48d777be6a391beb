//! `GET /v1/effects`.

use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::model::Time;
use crate::state::State;
use crate::state::outbox::{Pending, TaskKind};

/// A row of `GET /v1/effects`: what follows from a change and is not done yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// No two of one state directory that outlive a restart have the same.
    pub id: u64,
    pub task: Word<TaskKind>,
    /// The source or the machine.
    pub subject: String,
    /// RFC 3339; when it was caused.
    pub since: String,
    /// How long ago that was.
    pub seconds: u64,
    /// RFC 3339; when its executor began with it last.
    pub begun: Option<String>,
    /// Attempts that failed since the daemon started.
    pub failures: u32,
    /// Why the last of them did.
    pub reason: Option<String>,
    /// Whether it takes longer than it should, which the status says too.
    pub stuck: bool,
}

/// All of them, the oldest first.
pub fn all(state: &State, now: Time) -> Vec<Effect> {
    state.outbox().iter().map(|pending| row(pending, now)).collect()
}

fn row(pending: &Pending, now: Time) -> Effect {
    let Pending { id, task, since, begun, trouble } = pending;
    Effect {
        id: id.0,
        task: task.kind().into(),
        subject: task.subject().to_string(),
        since: since.to_string(),
        seconds: now.since(*since).as_seconds(),
        begun: begun.map(|at| at.to_string()),
        failures: trouble.as_ref().map_or(0, |trouble| trouble.attempts),
        reason: trouble.as_ref().map(|trouble| trouble.why.to_string()),
        stuck: pending.stuck(now).is_some(),
    }
}

impl Row for Effect {
    const COLUMNS: &'static [&'static str] = &["ID", "TASK", "OF", "SINCE", "BEGUN", "FAILURES", "REASON"];

    fn name(&self) -> &str {
        &self.subject
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.task.to_string(),
            self.subject.clone(),
            self.since.clone(),
            or_dash(self.begun.as_ref()),
            self.failures.to_string(),
            or_dash(self.reason.as_ref()),
        ]
    }
}
