//! What follows from a command outside the state, as values. Their executors carry them out when the
//! command's records are durable.

use crate::model::Line;

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A line of the log that is no event of the timeline.
    Log(Level, Line),
}

/// How urgently a line of the log is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warn,
    Info,
}
