//! Time went by: maintenance windows open and close, contests end, a clock may have been set back.

use super::super::command::Outcome;
use super::super::{Event, Stage, State};
use super::{Applied, observe};
use crate::model::Time;

pub(super) fn apply(table: &mut State, now: Time, out: &mut Applied) -> Outcome {
    table.tick(now);
    watch_clock(table, now, out);
    Outcome::Done
}

/// A clock that is set back must not leave leases behind that last until it would have been.
fn watch_clock(table: &mut State, now: Time, out: &mut Applied) {
    let before = std::mem::replace(&mut table.clock, now);
    if now >= before {
        return;
    }
    let changed = table.limit_leases(now, &|_| true);
    let text = format!(
        "the clock was set back by {} s: {} leases end earlier",
        before.since(now).as_seconds(),
        changed.leases.len() + changed.leases6.len()
    );
    out.leases(changed);
    observe::observe(table, Event::new(now, Stage::Daemon, text), out);
}
