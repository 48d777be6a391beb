//! The next network boot of a machine, and that one alone, leads to another boot.

use std::sync::Arc;

use super::super::boot_once::BootOnce;
use super::super::command::Outcome;
use super::super::{Record, State};
use super::Applied;
use super::cycle::Cycle;
use crate::model::similar::similar;
use crate::model::{Name, Time};

/// A person orders it.
pub(super) fn order(mut cycle: Cycle<'_>, machine: &Name, boot: &Name, until: Time) -> Outcome {
    let state = &cycle.state;
    if !state.desired.machines.contains_key(machine) {
        return Outcome::Refused(format!("there is no machine {machine} in the manifests"));
    }
    let Some(found) = state.desired.boots.get(boot) else {
        let near = similar(boot.as_str(), state.desired.boots.keys().map(Name::as_str));
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Outcome::Refused(format!("there is no boot {boot} in the inventory{near}"));
    };
    if let Some(why) = state.kept_from_boot(machine).or_else(|| state.unfit_for(machine, found)) {
        return Outcome::Refused(why);
    }
    if let Some(other) = state.boot_once(machine).filter(|once| once.begun.is_none() && once.boot != *boot) {
        let BootOnce { boot, by, since, until, .. } = &**other;
        return Outcome::Refused(format!(
            "machine {machine} is to boot {boot} once already, ordered by {by} at {since} and good until {until}: cancel \
             that first (`voldemortctl boot-once {machine} --cancel`)"
        ));
    }
    let by = cycle.by.clone();
    let text =
        format!("the next network boot of machine {machine} until {until} leads to boot {boot}, by {by}");
    let once = BootOnce { boot: boot.clone(), by, since: cycle.now, until, begun: None };
    put(cycle.state, machine, Some(once), cycle.out);
    cycle.say(Some(machine), text);
    Outcome::Done
}

/// A person takes it back.
pub(super) fn cancel(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    let Some(once) = cycle.state.boot_once(machine).cloned() else {
        return Outcome::Refused(format!(
            "nothing is ordered for the next network boot of machine {machine}"
        ));
    };
    put(cycle.state, machine, None, cycle.out);
    let text = format!("machine {machine} is not led to boot {} any more, by {}", once.boot, cycle.by);
    cycle.say(Some(machine), text);
    Outcome::Done
}

/// The machine fetches its script: before it has it, this is stored.
pub(super) fn begin(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    let Some(once) = cycle.state.boot_once(machine).cloned() else {
        return Outcome::Refused(format!(
            "nothing is ordered for the next network boot of machine {machine}"
        ));
    };
    if once.begun.is_none() {
        let begun = BootOnce { begun: Some(cycle.now), ..BootOnce::clone(&once) };
        put(cycle.state, machine, Some(begun), cycle.out);
        // A rescue system on a machine that nobody has may write to its disks.
        let is_agent = cycle.state.desired.agent.boots.values().any(|own| own.name == once.boot);
        if !is_agent && cycle.state.tenancy(machine).is_none() {
            cycle.soil_disks(machine);
        }
    }
    Outcome::Done
}

/// Time went by: ends the orders whose boot is over, or never came.
pub(super) fn tick(mut cycle: Cycle<'_>) {
    let all = cycle.state.lasting.once.iter();
    let over = all.filter(|(_, once)| once.is_over(cycle.now));
    let over: Vec<(Name, Arc<BootOnce>)> = over.map(|(name, once)| (name.clone(), once.clone())).collect();
    for (machine, once) in over {
        put(cycle.state, &machine, None, cycle.out);
        if once.begun.is_none() {
            let text = format!(
                "machine {machine} did not boot from the network until {}: it is not led to boot {} any more",
                once.until, once.boot
            );
            cycle.say(Some(&machine), text);
        }
    }
}

/// Another revision was adopted: the orders go with their machines under new names, and end with those that are gone.
pub(super) fn follow(state: &mut State, former: &State, out: &mut Applied) {
    let is_gone = |machine: &&Name| !state.desired.machines.contains_key(*machine);
    let gone: Vec<Name> = state.lasting.once.keys().filter(is_gone).cloned().collect();
    gone.iter().for_each(|machine| drop(state.lasting.once.remove(machine)));
    let (before, now) = (&former.lasting.once, &state.lasting.once);
    let ended = before.keys().filter(|machine| !now.contains_key(*machine));
    out.records.extend(ended.map(|machine| Record::BootOnce(machine.clone(), None)));
    let new = now.iter().filter(|(machine, _)| !before.contains_key(*machine));
    out.records.extend(new.map(|(machine, one)| Record::BootOnce(machine.clone(), Some(one.clone()))));
}

/// Keeps the order about a machine, or ends it.
pub(super) fn put(state: &mut State, machine: &Name, once: Option<BootOnce>, out: &mut Applied) {
    let once = once.map(Arc::new);
    match &once {
        Some(once) => drop(state.lasting.once.insert(machine.clone(), once.clone())),
        None => drop(state.lasting.once.remove(machine)),
    }
    out.records.push(Record::BootOnce(machine.clone(), once));
}
