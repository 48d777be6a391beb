//! A person has the disks of a machine wiped that nobody has.

use std::sync::Arc;

use super::super::command::Outcome;
use super::super::lifecycle::{Condition, Known, work};
use super::cycle::{Cycle, Draft};
use crate::model::{Name, WipeLevel};

/// `disks` are those that the person saw and means: all of the machine's, or nothing happens.
pub(super) fn wipe(mut cycle: Cycle<'_>, machine: &Name, disks: &[Arc<str>], level: WipeLevel) -> Outcome {
    if let Err(why) = may_be_wiped(&cycle, machine) {
        return Outcome::Refused(why);
    }
    let known: Vec<&str> = cycle
        .state
        .life(machine)
        .into_iter()
        .flat_map(|life| life.disks.iter())
        .map(|disk| &*disk.id)
        .collect();
    let mut named: Vec<&str> = disks.iter().map(|disk| &**disk).collect();
    named.sort_unstable();
    let mut sorted = known.clone();
    sorted.sort_unstable();
    if sorted != named {
        return Outcome::Refused(format!(
            "machine {machine} has the disks {}: name them all to have them wiped",
            known.join(", ")
        ));
    }
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Outcome::Refused(format!(
            "two disks of machine {machine} are known by {}: an order can't name one of them",
            twice[0]
        ));
    }
    let reason = format!("{} had {machine} wiped", cycle.by);
    let draft = Draft { level, off: false, disks: Some(disks.into()), reason };
    let from = cycle.state.work(machine);
    match cycle.work(machine, from, work::Cause::Ordered, Some(draft)) {
        Ok(()) => Outcome::Done,
        Err(why) => Outcome::Refused(why),
    }
}

/// A person has a machine not wiped after all. Once our agent runs under the order, the disks are not what they were.
pub(super) fn withdraw(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    let Some(order) = cycle.state.life(machine).and_then(|life| life.order.clone()) else {
        return Outcome::Refused(format!("machine {machine} has no order that could be cancelled"));
    };
    let from = cycle.state.work(machine);
    if work::step(from, work::Cause::Withdrawn).is_none() {
        return Outcome::Refused(format!(
            "our agent runs on machine {machine} under this order ({from}), and may have erased something already: it is \
             not cancelled; `voldemortctl hold {machine}` keeps it from going on"
        ));
    }
    if let Err(why) = cycle.work(machine, from, work::Cause::Withdrawn, None) {
        return Outcome::Refused(why);
    }
    let text = format!(
        "{} cancelled the wipe of machine {machine} ({}): its disks stay as they are",
        cycle.by, order.reason
    );
    cycle.say(Some(machine), text);
    Outcome::Done
}

fn may_be_wiped(cycle: &Cycle<'_>, machine: &Name) -> Result<(), String> {
    let state = &cycle.state;
    if state.known(machine) != Known::Accepted {
        return Err(format!("machine {machine} is in no manifest: what is not ours is never wiped"));
    }
    if let Some(tenancy) = state.tenancy(machine) {
        return Err(format!("machine {machine} is {}'s: release or remove that first", tenancy.holder));
    }
    if state.protected().contains(machine) {
        return Err(format!("machine {machine} is protected: commit protect = false first"));
    }
    if state
        .life(machine)
        .and_then(|life| life.order.as_ref())
        .is_some_and(|order| order.condition != Condition::Failed)
    {
        return Err(format!("machine {machine} is being released already"));
    }
    if let Some(hold) = state.hold(machine) {
        return Err(format!("machine {machine} is held by {}: {}", hold.by, hold.reason));
    }
    match state.life(machine).is_some_and(|life| life.reported.is_some()) {
        true => Ok(()),
        false => Err(format!("our agent has not looked at machine {machine}: its disks are not known")),
    }
}
