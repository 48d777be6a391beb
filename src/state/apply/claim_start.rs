//! Has machines started that claims wait for.

use super::super::claim_start::{Awaited, Start};
use super::super::outbox::{Pending, Task};
use super::super::{Event, Stage, State};
use super::cycle::Cycle;
use crate::model::{Name, PowerAction};

type All = imbl::OrdMap<Name, Awaited>;

/// A claim got a machine.
pub(super) fn granted(state: &mut State, machine: &Name, epoch: u64) {
    let now = state.lasting.ran.now;
    // Without a list the next tick makes one.
    if let Some(all) = &mut state.observed.power_log.awaited {
        all.insert(machine.clone(), Awaited::new(epoch, now));
    }
}

/// A task about a machine's power is done: one that was switched on by it, or restarted, has the time to start.
pub(super) fn switched(state: &mut State, pending: &Pending) {
    let starts = match &pending.task {
        // One that was off when it was ordered, and is on, was switched on a moment ago, whoever did it.
        Task::Power { order, .. } if order.action == PowerAction::Install => true,
        Task::Power { order, .. } => {
            matches!(order.action, PowerAction::On | PowerAction::Cycle) && pending.sent.is_some()
        }
        Task::Restart { .. } => pending.sent.is_some(),
        Task::Fetch { .. } | Task::ReadPower { .. } | Task::PowerOff { .. } => false,
    };
    let (machine, now) = (pending.task.subject(), state.lasting.ran.now);
    let awaited = state.observed.power_log.awaited.as_ref().and_then(|all| all.get(machine)).cloned();
    if let Some(awaited) = awaited.filter(|one| starts && pending.task.epoch() == Some(one.epoch)) {
        put(state, machine, Some(awaited.started(now)));
    }
}

/// A machine fetched what it boots from the network: if that is what its claim runs, it has begun.
pub(super) fn booted(state: &mut State, event: &Event) {
    let Some(holder) = event.deployment.as_ref().filter(|_| event.stage == Stage::Script) else { return };
    let Some(machine) = state.lasting.assignments.get(holder).cloned() else { return };
    let is_holders = state.tenancy(&machine).is_some_and(|tenancy| tenancy.holder == *holder);
    if is_holders && state.is_to_boot(&machine) {
        put(state, &machine, None);
    }
}

pub(super) fn tick(cycle: &mut Cycle<'_>) {
    let now = cycle.state.lasting.ran.now;
    let Some(all) = &cycle.state.observed.power_log.awaited else {
        let all = since_the_start(cycle.state, now);
        cycle.state.observed.power_log.awaited = Some(all);
        return;
    };
    let late: Vec<(Name, Awaited)> = all
        .iter()
        .filter(|(_, awaited)| awaited.is_late(now))
        .map(|(machine, awaited)| (machine.clone(), awaited.clone()))
        .collect();
    for (machine, awaited) in late {
        look_at(cycle, &machine, awaited, now);
    }
}

/// What claims waited for when the daemon started.
fn since_the_start(state: &State, now: u64) -> All {
    let places = state.lasting.claims.values().filter_map(|claim| claim.place.as_ref());
    let waiting = places.filter(|place| state.is_to_begin(&place.machine, place.epoch));
    waiting.map(|place| (place.machine.clone(), Awaited::new(place.epoch, now))).collect()
}

fn look_at(cycle: &mut Cycle<'_>, machine: &Name, awaited: Awaited, now: u64) {
    let epoch = awaited.epoch;
    if !cycle.state.is_to_begin(machine, epoch) {
        // Where a person holds it, it is waited for again afterwards.
        let is_kept = cycle.state.is_claims(machine, epoch) && cycle.state.kept_from(machine).is_some();
        return put(cycle.state, machine, is_kept.then(|| awaited.later(now)));
    }
    let claim = cycle.state.claim_on(machine).map(|claim| claim.name.to_string()).unwrap_or_default();
    match cycle.state.start_of(machine, &awaited) {
        Start::Wait => {}
        Start::Restart => {
            let what = if cycle.state.is_to_boot(machine) { "boot" } else { "install" };
            cycle.restart(machine, epoch);
            let text = format!(
                "machine {machine} is on and does not begin to {what} for claim {claim}: it is restarted into the network"
            );
            cycle.say(Some(machine), text);
            put(cycle.state, machine, Some(awaited.restarted(now)));
        }
        Start::Person(why) if awaited.lacks.as_deref() == Some(why.as_str()) => {}
        Start::Person(why) => {
            let text = format!(
                "claim {claim} waits until somebody has machine {machine} boot from the network: {why}"
            );
            cycle.say(Some(machine), text);
            put(cycle.state, machine, Some(awaited.lacking(why.into())));
        }
    }
}

fn put(state: &mut State, machine: &Name, awaited: Option<Awaited>) {
    let Some(all) = &mut state.observed.power_log.awaited else { return };
    match awaited {
        Some(awaited) => drop(all.insert(machine.clone(), awaited)),
        None => drop(all.remove(machine)),
    }
}
