//! What the boots of a card showed is kept: which boot program its machine needs, and how often it booted our agent
//! without a report.

use std::sync::Arc;

use super::super::agent_boot::STRANGERS_MAX;
use super::super::command::Outcome;
use super::super::learned::{CardBoots, Learned, Lesson};
use super::super::{Event, Record, Stage, State};
use super::Applied;
use super::cycle::Cycle;
use crate::model::{Mac, Name, Time};

/// Takes in what a machine did; returns what a person should know of it.
pub(super) fn see(state: &mut State, event: &Event, out: &mut Applied) -> Option<Event> {
    if !state.concerns_loaders(event) {
        return None;
    }
    let card = event.mac?;
    let text = match state.learn_loader(event)? {
        Lesson::GivesWay(arch, way, program) => {
            for card in state.cards_that_learned(card) {
                forget(state, card, |one| one.arch == arch && one.way == way && one.program == program, out);
            }
            format!(
                "{program} was fetched twice by {way} and led to no script: firmware refuses it, or it hangs; another boot \
                 program is offered instead, if there is one"
            )
        }
        Lesson::Leads(arch, way, program) => {
            let mut boots = boots(state, card);
            boots.loaders.retain(|one| one.arch != arch || one.way != way);
            boots.loaders.push(Learned { arch, way, program, since: event.at });
            put(state, card, boots, out);
            format!("{program} leads to its script: it is offered by {way} to this machine from now on")
        }
    };
    Some(Event { mac: Some(card), ..Event::new(event.at, Stage::Daemon, text) })
}

fn boots(state: &State, card: Mac) -> CardBoots {
    state.lasting.boots.get(&card).map_or_else(CardBoots::default, |boots| CardBoots::clone(boots))
}

fn put(state: &mut State, card: Mac, boots: CardBoots, out: &mut Applied) {
    if boots == CardBoots::default() {
        if state.lasting.boots.remove(&card).is_some() {
            out.records.push(Record::CardBoots(card, None));
        }
        return;
    }
    let boots = Arc::new(boots);
    state.lasting.boots.insert(card, boots.clone());
    out.records.push(Record::CardBoots(card, Some(boots)));
}

/// Forgets the boot programs of a card that fit.
fn forget(state: &mut State, card: Mac, fits: impl Fn(&Learned) -> bool, out: &mut Applied) -> bool {
    let mut boots = boots(state, card);
    let before = boots.loaders.len();
    boots.loaders.retain(|one| !fits(one));
    let is_less = boots.loaders.len() < before;
    if is_less {
        put(state, card, boots, out);
    }
    is_less
}

/// An unknown machine fetched the script that boots our agent.
pub(super) fn count_try(state: &mut State, card: Mac, at: Time, out: &mut Applied) {
    if state.lasting.boots.len() >= STRANGERS_MAX && !state.lasting.boots.contains_key(&card) {
        let strangers: Vec<Mac> = state.lasting.boots.keys().copied().collect();
        strangers.into_iter().for_each(|card| end_tries(state, card, out));
    }
    let mut boots = boots(state, card);
    if boots.count_try(at) {
        put(state, card, boots, out);
    }
}

/// A machine has reported.
pub(super) fn end_tries(state: &mut State, card: Mac, out: &mut Applied) {
    let boots = boots(state, card);
    if boots.tries > 0 {
        put(state, card, CardBoots { loaders: boots.loaders, ..CardBoots::default() }, out);
    }
}

/// The hardware of a machine is other than it was, or a person wants it tried anew.
pub(super) fn forget_all(state: &mut State, cards: &[Mac], out: &mut Applied) -> bool {
    let mut is_any = false;
    for card in cards {
        is_any |= state.observed.trials.remove(card).is_some_and(|trials| !trials.is_empty());
        is_any |= forget(state, *card, |_| true, out);
    }
    is_any
}

/// Programs of cards that no machine has any more, and tries of those whose machines are declared now.
pub(super) fn forget_gone(state: &mut State, out: &mut Applied) {
    let has = |boots: &CardBoots| !boots.loaders.is_empty();
    let all = state.lasting.boots.iter().filter(|(_, boots)| has(boots)).map(|(card, _)| *card);
    let gone: Vec<Mac> = all.filter(|card| state.machine_of_card(*card).is_none()).collect();
    for card in gone {
        forget(state, card, |_| true, out);
    }
    let tried = state.lasting.boots.iter().filter(|(_, boots)| boots.tries > 0).map(|(card, _)| *card);
    let declared: Vec<Mac> = tried.filter(|card| state.machine(*card).is_some()).collect();
    declared.into_iter().for_each(|card| end_tries(state, card, out));
}

/// A person has the boot programs of a machine tried anew.
pub(super) fn forget_by(mut cycle: Cycle<'_>, machine: &Name) -> Outcome {
    let declared = cycle.state.desired.machines.get(machine).map(|own| cycle.state.cards(own));
    let mut cards = declared.unwrap_or_default();
    cards.extend(cycle.life(machine).cards.iter());
    if !forget_all(cycle.state, &cards, cycle.out) {
        return Outcome::Refused(format!("no boot program is learned of machine {machine}"));
    }
    let text =
        format!("what was learned of the boot programs of machine {machine} is forgotten, by {}", cycle.by);
    cycle.say(Some(machine), text);
    Outcome::Done
}
