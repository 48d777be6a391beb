//! How work goes on.

use crate::model::words::words;

words! {
    /// How work goes on.
    pub enum Condition {
        Well = "well",
        /// It takes longer than usual. It goes on by itself: a switch that is off must not cost a person's work for
        /// each machine behind it.
        Overdue = "overdue",
        /// The machine, its controller or the installer reported an error: a person decides.
        Failed = "failed",
    }
}

words! {
    /// What changes that.
    pub enum Cause {
        TimeRanOut = "nothing was heard for long",
        Progress = "something got further",
        Error = "an error was reported, or a safety rule refuses to go on",
        Retried = "a person has it tried again",
    }
}

/// The next condition; `None` where that can't happen.
pub fn step(from: Condition, cause: Cause) -> Option<Condition> {
    match (from, cause) {
        (Condition::Failed, Cause::TimeRanOut | Cause::Progress) => Some(Condition::Failed),
        (_, Cause::TimeRanOut) => Some(Condition::Overdue),
        (_, Cause::Progress) => Some(Condition::Well),
        (_, Cause::Error) => Some(Condition::Failed),
        (Condition::Overdue | Condition::Failed, Cause::Retried) => Some(Condition::Well),
        (Condition::Well, Cause::Retried) => None,
    }
}
