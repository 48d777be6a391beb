//! A person settles doubtful installations.

use super::super::command::Outcome;
use super::super::{Doubts, Event, Stage, State, Verdict};
use super::{Applied, observe};
use crate::model::Time;

pub(super) fn apply(
    state: &mut State,
    doubts: &Doubts,
    verdict: Verdict,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    let names = match state.doubts(doubts) {
        Ok(names) => names,
        Err(reason) => return Outcome::Refused(reason),
    };
    let (before, tenancies) = (state.lasting.installs.clone(), state.lasting.tenancies.clone());
    state.settle_doubts(&names, verdict, now);
    out.steps(&before, state);
    out.tenancies(&tenancies, state);
    let text = match verdict {
        Verdict::Install => "was doubtful; a person approved the installation",
        Verdict::Keep => "was doubtful; a person confirmed that the machine has its system",
    };
    for name in &names {
        let mac = state.mac_of(name);
        let event = Event { mac, deployment: Some(name.clone()), ..Event::new(now, Stage::Daemon, text) };
        observe::observe(state, event, out);
    }
    Outcome::Settled(names)
}
