//! How the daemon stands with a source that it follows.

use crate::model::{SourceCondition, Time};

/// The status of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStatus {
    /// Directory or repository.
    pub location: String,
    /// The revision that is served; empty if there is none.
    pub applied: String,
    /// The revision seen last; empty if there is none.
    pub attempted: String,
    pub condition: SourceCondition,
    /// Why, in words.
    pub reason: String,
    /// When the condition began.
    pub since: Time,
}

impl SourceStatus {
    /// Of a source that was not read yet.
    pub fn loading(location: String, now: Time) -> SourceStatus {
        let (applied, attempted, reason) = Default::default();
        let condition = SourceCondition::Loading;
        SourceStatus { location, applied, attempted, condition, reason, since: now }
    }
}
