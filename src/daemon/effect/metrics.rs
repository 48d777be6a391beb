//! What became of tasks, for `/metrics`.

use crate::daemon::tally::Tally;
use crate::state::effect::TaskOutcome;
use crate::state::outbox::TaskKind;

pub(super) fn count(tally: &Tally, kind: TaskKind, outcome: TaskOutcome) {
    tally.task(kind, outcome);
}
