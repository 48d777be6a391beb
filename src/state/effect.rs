//! What follows from a command outside the state, as values. They are handed out when the command's records are
//! durable, and their executors (`daemon::effect`) carry them out.
//!
//! What can be lost without harm is a value here and nothing else. What has to be done, also after a crash, is an
//! entry of the [outbox](super::outbox), which [`Effect::Start`] names.

use std::sync::Arc;

use super::outbox::{EffectId, Pending, TaskKind};
use crate::model::Line;
use crate::model::words::words;

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A line of the log that is no event of the timeline.
    Log(Level, Line),
    /// One more of what became of tasks, for `/metrics`.
    Count(TaskKind, TaskOutcome),
    /// An entry of the outbox waits for its executor.
    Start(Arc<Pending>),
    /// An entry of the outbox was cancelled: its executor stops, if it has begun.
    Stop(EffectId),
}

/// How urgently a line of the log is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warn,
    Info,
}

words! {
    /// What became of a task, or of one attempt at it.
    pub enum TaskOutcome {
        Done = "done",
        /// The attempt failed.
        Failed = "failed",
        /// Nobody tries it again.
        GivenUp = "given-up",
        /// A person cancelled it.
        Cancelled = "cancelled",
    }
}
