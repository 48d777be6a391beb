//! Time went by: maintenance windows open and close, contests end, the power of machines is to be read again, a
//! clock may have been set back.

use super::super::command::Outcome;
use super::super::{Event, Stage, State};
use super::cycle::Cycle;
use super::{Applied, boot_once, claim_start, observe, power, power_order, season};
use crate::model::{Caller, Time};

pub(super) fn apply(state: &mut State, now: Time, out: &mut Applied) -> Outcome {
    state.tick(now);
    watch_clock(state, now, out);
    power::ask_due(state, now, out);
    power_order::switch_on(state, now, out);
    boot_once::tick(Cycle { state, by: &Caller::DAEMON, now, out });
    season::tick(&mut Cycle { state, by: &Caller::DAEMON, now, out });
    claim_start::tick(&mut Cycle { state, by: &Caller::DAEMON, now, out });
    Outcome::Done
}

/// A clock that is set back must not leave leases behind that last until it would have been.
fn watch_clock(state: &mut State, now: Time, out: &mut Applied) {
    let before = std::mem::replace(&mut state.observed.clock, now);
    if now >= before {
        return;
    }
    power::clock_set_back(state, now);
    let changed = state.limit_leases(now, &|_| true);
    let contested = state.lasting.contested.clone();
    state.restart_contests(now);
    out.contests(&contested, state);
    let leases = match changed.leases.len() + changed.leases6.len() {
        1 => "1 lease ends earlier".to_owned(),
        many => format!("{many} leases end earlier"),
    };
    let text = format!("the clock was set back by {} s: {leases}", before.since(now).as_seconds());
    out.leases(changed);
    observe::observe(state, Event::new(now, Stage::Daemon, text), out);
}
