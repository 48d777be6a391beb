//! What became of tasks, for `/metrics`.

use crate::daemon::counters::Counters;
use crate::state::effect::TaskOutcome;
use crate::state::outbox::TaskKind;

pub(super) fn count(counters: &Counters, kind: TaskKind, outcome: TaskOutcome) {
    counters.task(kind, outcome);
}
