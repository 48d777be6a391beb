//! What our agent says on a machine. It says under which epoch it was started: what comes from an older one changes
//! nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::command::Outcome;
use super::super::life::{AgentReport, Disk, Life, Order, Said, SeenDisk};
use super::super::lifecycle::{Condition, DiskState, Known, Work, condition, disk, known, work};
use super::super::{Event, Install, Stage};
use super::cycle::Cycle;
use super::{loader, observe};
use crate::model::facts::Facts;
use crate::model::{Mac, Name, Span};

/// Machines that no revision declares and that are remembered, by subnet.
const FOUND_MAX: usize = 4096;
/// Progress is stored at most so often.
const PROGRESS_STEP: Span = Span::seconds(60);

pub(super) fn apply(mut cycle: Cycle<'_>, report: &AgentReport) -> Outcome {
    let machine = match machine_of(&cycle, report) {
        Ok(machine) => machine,
        Err(why) => return Outcome::Refused(why),
    };
    let life = cycle.state.life(&machine).cloned();
    let order = life.as_ref().and_then(|life| life.order.clone());
    let present = order.as_ref().map_or(0, |order| order.epoch);
    if report.epoch != present {
        return Outcome::Refused(format!(
            "the agent on machine {machine} was started under epoch {}, and the present one is {present}: nothing was \
             changed",
            report.epoch
        ));
    }
    match (&report.said, order) {
        (Said::Hello { cards, disks, facts }, order) => {
            hello(&mut cycle, &machine, report, Shown { cards, disks, facts: facts.as_ref() }, order)
        }
        (Said::Contested(why), order) => {
            contested(&mut cycle, &machine, report.card, why, order.is_some());
            Outcome::Done
        }
        (_, None) => Outcome::Refused(format!("our agent has nothing to do on machine {machine}")),
        (Said::Failed(why), Some(_)) => {
            cycle.fail(&machine, why.to_string(), false);
            Outcome::Done
        }
        (Said::NotWiped(why, certificate), Some(order)) => {
            cycle.certify(&machine, &order, certificate, Some(why.clone()));
            cycle.fail(&machine, why.to_string(), false);
            Outcome::Done
        }
        (_, Some(order)) if order.condition == Condition::Failed => {
            Outcome::Refused(format!("the release of machine {machine} waits for a person: {}", order.why))
        }
        (Said::Running, Some(order)) => {
            running(&mut cycle, &machine, &order);
            Outcome::Done
        }
        (Said::Wiped(certificate), Some(order)) => {
            let outcome = step(&mut cycle, &machine, work::Cause::Wiped);
            if outcome == Outcome::Done {
                cycle.certify(&machine, &order, certificate, None);
            }
            outcome
        }
        (Said::Verified(true), Some(order)) => {
            let outcome = step(&mut cycle, &machine, work::Cause::Verified);
            if outcome == Outcome::Done {
                cycle.verified(order.epoch);
            }
            outcome
        }
        (Said::Verified(false), Some(_)) => step(&mut cycle, &machine, work::Cause::Unverified),
    }
}

/// The machine with the cards that the agent shows. Two with one identity: neither is believed.
fn machine_of(cycle: &Cycle<'_>, report: &AgentReport) -> Result<Name, String> {
    let of = |card: &Mac| {
        let state = &cycle.state;
        state.desired.macs.get(card).or_else(|| state.derived.found.get(card)).cloned()
    };
    let shown = match &report.said {
        Said::Hello { cards, .. } => cards.iter().chain([&report.card]).copied().collect(),
        _ => BTreeSet::from([report.card]),
    };
    let machines: BTreeSet<Name> = shown.iter().filter_map(of).collect();
    let mut machines = machines.into_iter();
    match (machines.next(), machines.next()) {
        (Some(machine), None) => Ok(machine),
        (Some(one), Some(other)) => Err(format!(
            "an agent shows network cards of machine {one} and of machine {other}: it is believed to be neither"
        )),
        (None, _) => {
            let name = format!("m{}", report.card.to_string().replace(':', ""));
            name.parse().map_err(|_| format!("no name can be made of {}", report.card))
        }
    }
}

/// Two machines speak for one card at a time: neither is given anything, and what was ordered waits for a person.
fn contested(cycle: &mut Cycle<'_>, machine: &Name, card: Mac, why: &Arc<str>, has_order: bool) {
    if cycle.state.life(machine).is_none() {
        return;
    }
    let life = Life { contested: Some(why.clone()), ..cycle.life(machine) };
    cycle.put_life(machine, life);
    if has_order {
        return cycle.fail(machine, why.to_string(), false);
    }
    let event = Event::new(cycle.now, Stage::Daemon, why.to_string());
    observe::observe(cycle.state, Event { mac: Some(card), ..event }, cycle.out);
}

/// Whether an order names just these disks.
fn names(order: &Order, disks: &[SeenDisk]) -> bool {
    let ids: BTreeSet<&Arc<str>> = disks.iter().map(|disk| &disk.id).collect();
    order.disks.as_ref().is_some_and(|named| named.iter().collect::<BTreeSet<_>>() == ids)
}

/// An order that names no disks means those of the machine that was given back.
fn another(machine: &Name, card: Mac, other: &str) -> String {
    format!(
        "another machine may show its network card {card}: {other}; nothing of that one is believed. Take it off the \
         network and retry; if it is the same machine with another board, `voldemortctl wipe {machine}` names its disks"
    )
}

/// What the agent shows of the machine.
struct Shown<'a> {
    cards: &'a Arc<[Mac]>,
    disks: &'a Arc<[SeenDisk]>,
    facts: Option<&'a Arc<Facts>>,
}

fn hello(
    cycle: &mut Cycle<'_>,
    machine: &Name,
    report: &AgentReport,
    shown: Shown<'_>,
    order: Option<Arc<Order>>,
) -> Outcome {
    let Shown { cards, disks, facts } = shown;
    let from = cycle.state.known(machine);
    let Some(known) = known::step(from, known::Cause::Reported) else {
        return Outcome::Refused(format!("machine {machine} is {from}"));
    };
    let is_found = |life: &&Arc<Life>| life.known == Known::Discovered && life.subnet == report.subnet;
    if from == Known::Seen && cycle.state.lasting.lives.values().filter(is_found).count() >= FOUND_MAX {
        return Outcome::Refused(format!("{FOUND_MAX} unknown machines were found there already"));
    }
    let former = cycle.life(machine);
    let is_same_start = report.start.is_some() && report.start == former.start;
    if let Some(order) = order.as_ref().filter(|order| !names(order, disks))
        && let Some(other) = facts.zip(cycle.state.facts(machine)).and_then(|(now, was)| was.other_than(now))
    {
        let why = another(machine, report.card, &other);
        if order.condition != Condition::Failed {
            cycle.fail(machine, why, false);
        }
        return Outcome::Done;
    }
    // Right after a start of the daemon its networks may not be known yet.
    let subnet = report.subnet.clone().or_else(|| former.subnet.clone());
    let tenancy_uses = cycle.state.tenancy(machine).is_some();
    let was_installed = cycle.state.lasting.installs.on(machine).iter().any(Install::is_used);
    // A disk that nobody had seen may have been written since the agent saw it blank.
    let unseen = if was_installed { DiskState::Dirty } else { DiskState::Unknown };
    let disks_now = disks.iter().map(|one| merged(&former, one, unseen, tenancy_uses)).collect();
    let cards: Arc<[Mac]> = cards.clone();
    let (reported, start) = (Some(cycle.now), report.start.clone());
    loader::end_tries(cycle.state, report.card, cycle.out);
    let next = Life { known, subnet, cards, disks: disks_now, reported, start, contested: None, ..former };
    cycle.put_life(machine, next);
    if let Some(facts) = facts {
        learn(cycle, machine, report.card, from, facts);
    }
    match order {
        Some(order) => fenced(cycle, machine, &order, disks, is_same_start),
        None => {
            cycle.serve_queue();
            Outcome::Done
        }
    }
}

/// Keeps the facts, and says what is new or other than before.
fn learn(cycle: &mut Cycle<'_>, machine: &Name, card: Mac, from: Known, facts: &Arc<Facts>) {
    let former = cycle.state.facts(machine).cloned();
    if former.as_ref() == Some(facts) {
        return;
    }
    let text = match &former {
        Some(former) => {
            let changes = former.changes(facts);
            (!changes.is_empty())
                .then(|| format!("the hardware of machine {machine} changed: {}", changes.join("; ")))
        }
        None if from == Known::Seen => {
            let near = cycle.state.never_seen_near(card).map(|near| {
                format!(
                    "; machine {near} of the manifests, which was never seen, has an address one typing mistake away"
                )
            });
            let near = near.unwrap_or_default();
            Some(format!("machine {machine} was discovered: {}{near}", facts.summary()))
        }
        None => Some(format!("our agent reports machine {machine}: {}", facts.summary())),
    };
    cycle.put_facts(machine, facts.clone());
    if former.is_some_and(|former| !former.boots_alike(facts)) {
        let cards = cycle.life(machine).cards;
        loader::forget_all(cycle.state, &cards, cycle.out);
    }
    if let Some(text) = text {
        let event = Event::new(cycle.now, Stage::Daemon, text);
        observe::observe(cycle.state, Event { mac: Some(card), ..event }, cycle.out);
    }
}

/// The order gets further. What is stored of it is the minute, so that a wipe of days is not thousands of records.
fn running(cycle: &mut Cycle<'_>, machine: &Name, order: &Order) {
    let now = cycle.state.lasting.ran.now;
    let is_new =
        now.saturating_sub(order.progress) >= PROGRESS_STEP.0 || order.condition == Condition::Overdue;
    let mut life = cycle.life(machine);
    let Some(own) = life.order.as_mut().map(Arc::make_mut).filter(|_| is_new) else { return };
    (own.progress, own.attempts) = (now, 0);
    if let Some(next) = condition::step(own.condition, condition::Cause::Progress) {
        own.condition = next;
        own.why = "".into();
    }
    cycle.put_life(machine, life);
}

/// A disk as it is after our agent has seen it. On a machine that somebody has, what is found is the tenancy's.
fn merged(former: &Life, seen: &SeenDisk, unseen: DiskState, is_used: bool) -> Disk {
    let was = former.disks.iter().find(|disk| disk.id == seen.id).map(|disk| disk.state);
    let cause = if seen.blank { disk::Cause::SeenBlank } else { disk::Cause::SeenData };
    let from = was.unwrap_or(unseen);
    let next = disk::step(from, cause).unwrap_or(from);
    // Also where it was found blank: what the agent saw may be older than what an installer has written since.
    let state = if is_used { DiskState::InUse } else { next };
    Disk { id: seen.id.clone(), bytes: seen.bytes, state }
}

/// Our agent runs under the epoch of the order: the former system does not. Whatever does not fit the order stops it.
fn fenced(
    cycle: &mut Cycle<'_>,
    machine: &Name,
    order: &Order,
    disks: &[SeenDisk],
    is_same_start: bool,
) -> Outcome {
    if cycle.state.hold(machine).is_some() || order.condition == Condition::Failed {
        // Whoever was started meanwhile has not seen what is to be verified.
        let is_anew = order.work == Work::Verifying && !is_same_start;
        return if is_anew { step(cycle, machine, work::Cause::AgentRuns) } else { Outcome::Done };
    }
    let mut ids: Vec<Arc<str>> = disks.iter().map(|disk| disk.id.clone()).collect();
    ids.sort();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let why = format!("two of its disks are known by {}, so that an order can't name one", twice[0]);
        cycle.fail(machine, why, false);
        return Outcome::Done;
    }
    let foreign = ids.iter().find_map(|id| {
        let owner = cycle.state.owner_of(id).filter(|owner| *owner != machine)?;
        Some(format!("its disk {id} is machine {owner}'s"))
    });
    let other = order.disks.as_ref().filter(|named| {
        let mut named: Vec<&Arc<str>> = named.iter().collect();
        named.sort();
        named != ids.iter().collect::<Vec<_>>()
    });
    let other = other.map(|named| {
        format!("the order names the disks {}, and it has {}", named.join(", "), ids.join(", "))
    });
    if let Some(why) = foreign.or(other) {
        cycle.fail(machine, why, false);
        return Outcome::Done;
    }
    if ids.is_empty() && !order.consented {
        let why = "our agent sees no disk on it, so that nothing can be wiped: the kernel of [agent] boot may lack a \
                   driver; if it has no disk, retry it";
        cycle.fail(machine, why.into(), true);
        return Outcome::Done;
    }
    if order.work == Work::Fencing && !order.consented {
        let (most, spent) = (
            cycle.state.desired.safety.max_wipes,
            cycle.state.lasting.budget.spent(cycle.state.lasting.ran.now),
        );
        if most.is_some_and(|most| spent >= most as usize) {
            let why = format!(
                "{spent} wipes began within an hour, and [safety] max-wipes allows no more: retry it to agree to this one"
            );
            cycle.fail(machine, why, true);
            return Outcome::Done;
        }
    }
    // It goes on with what it does. One that was started anew begins anew: of what the former had wiped, nothing may be
    // verified by who has not seen it before.
    let goes_on = order.work == Work::Wiping || order.work == Work::Verifying && is_same_start;
    if goes_on && order.disks.is_some() {
        return Outcome::Done;
    }
    let mut life = cycle.life(machine);
    if let Some(order) = life.order.as_mut().map(Arc::make_mut) {
        order.disks = Some(ids.into());
    }
    cycle.put_life(machine, life);
    step(cycle, machine, work::Cause::AgentRuns)
}

fn step(cycle: &mut Cycle<'_>, machine: &Name, cause: work::Cause) -> Outcome {
    let from = cycle.state.work(machine);
    match cycle.work(machine, from, cause, None) {
        Ok(()) => Outcome::Done,
        Err(why) => Outcome::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Applied, apply};
    use super::*;
    use crate::model::{Caller, Time, WipeLevel};
    use crate::state::{Command, Server, State, Verb};

    #[test]
    fn a_machine_without_a_disk_in_sight_is_neither_clean_nor_wiped() {
        let (machine, card): (Name, Mac) =
            ("m525400aa0001".parse().unwrap(), "52:54:00:aa:00:01".parse().unwrap());
        let order = Order {
            epoch: 7,
            work: Work::Fencing,
            condition: Condition::Well,
            why: "".into(),
            over_budget: false,
            level: WipeLevel::Clear,
            disks: None,
            off: false,
            consented: false,
            by: Caller::DAEMON,
            reason: "claim ci-1 was released".into(),
            since: Time(1),
            progress: 0,
            attempts: 0,
        };
        let (cards, reported) = ([card].into(), Some(Time(1)));
        let life = Life { known: Known::Discovered, cards, reported, epoch: 7, ..Life::default() };
        assert!(!life.is_clean());
        let life = Life { order: Some(Arc::new(order)), ..life };
        let state = State::new(Server::stand_in(Ipv4Addr::LOCALHOST));
        let mut state =
            state.with_lasting(|lasting| drop(lasting.lives.insert(machine.clone(), life.into())));
        let said = Said::Hello { cards: [card].into(), disks: [].into(), facts: None };
        let report = AgentReport { card, subnet: None, epoch: 7, start: None, said };
        apply(&mut state, Command::machine(Verb::Agent(report)), Time(1), &mut Applied::default());
        let order = state.life(&machine).and_then(|life| life.order.clone()).unwrap();
        assert_eq!((order.condition, order.work), (Condition::Failed, Work::Fencing));
        assert!(order.why.contains("sees no disk"), "{}", order.why);
    }

    #[test]
    fn the_subnet_of_a_machine_is_not_forgotten_while_none_is_known() {
        let mut state = State::new(Server::stand_in(Ipv4Addr::LOCALHOST));
        let card: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let mut hello = |subnet: Option<&str>| {
            let said = Said::Hello { cards: [card].into(), disks: [].into(), facts: None };
            let subnet = subnet.map(|name| name.parse().unwrap());
            let report = AgentReport { card, subnet, epoch: 0, start: None, said };
            apply(&mut state, Command::machine(Verb::Agent(report)), Time(1), &mut Applied::default());
            let life = state.life(&"m525400aa0001".parse().unwrap()).unwrap();
            life.subnet.as_ref().map(ToString::to_string)
        };
        assert_eq!(hello(Some("lab")).as_deref(), Some("lab"));
        assert_eq!(hello(None).as_deref(), Some("lab"), "the daemon has just started");
        assert_eq!(hello(Some("rack")).as_deref(), Some("rack"));
    }
}
