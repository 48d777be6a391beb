//! A person keeps a machine from being used, or has a release tried again.

use std::sync::Arc;

use super::super::command::Outcome;
use super::super::life::{Hold, Life};
use super::super::lifecycle::{Condition, Work, condition};
use super::cycle::Cycle;
use crate::model::{Name, Time};

pub(super) fn hold(mut cycle: Cycle<'_>, machine: &Name, reason: Arc<str>, until: Option<Time>) -> Outcome {
    if !is_known(&cycle, machine) {
        return Outcome::Refused(format!("there is no machine {machine}"));
    }
    let text = format!("machine {machine} is held by {}: {reason}", cycle.by);
    let hold = Some(Hold { by: cycle.by.clone(), reason, until }.into());
    let life = Life { hold, ..cycle.life(machine) };
    cycle.put_life(machine, life);
    cycle.say(Some(machine), text);
    Outcome::Done
}

pub(super) fn unhold(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    if cycle.state.hold(machine).is_none() {
        return Outcome::Refused(format!("machine {machine} is not held"));
    }
    release(&mut cycle, machine);
    Outcome::Done
}

/// Nobody holds a machine any more.
pub(super) fn release(cycle: &mut Cycle<'_>, machine: &Name) {
    let life = Life { hold: None, ..cycle.life(machine) };
    cycle.put_life(machine, life);
    cycle.say(Some(machine), format!("machine {machine} is not held any more"));
    cycle.place_pin(machine);
    cycle.serve_queue();
}

/// A release that failed, or takes long, is tried again. That is the person's word where the budget was used up.
pub(super) fn retry(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    let mut life = cycle.life(machine);
    let was_contested = life.contested.take().is_some();
    if was_contested && life.order.is_none() {
        cycle.put_life(machine, life);
        cycle.place_pin(machine);
        cycle.serve_queue();
        return Outcome::Done;
    }
    let Some(order) = life.order.as_mut().map(Arc::make_mut) else {
        return Outcome::Refused(format!("machine {machine} is not being released"));
    };
    let Some(next) = condition::step(order.condition, condition::Cause::Retried) else {
        return Outcome::Refused(format!(
            "the release of machine {machine} goes on: there is nothing to retry"
        ));
    };
    order.consented |= order.over_budget && order.condition == Condition::Failed;
    (order.condition, order.why, order.over_budget) = (next, "".into(), false);
    (order.progress, order.attempts) = (cycle.state.lasting.ran.now, 0);
    let (work, epoch) = (order.work, order.epoch);
    cycle.put_life(machine, life);
    if work == Work::Fencing {
        cycle.restart(machine, epoch);
    }
    Outcome::Done
}

fn is_known(cycle: &Cycle<'_>, machine: &Name) -> bool {
    cycle.state.desired.machines.contains_key(machine) || cycle.state.life(machine).is_some()
}
