//! Something happened: what a machine did, or the daemon has to say.

use super::super::agent_boot::STRANGERS_MAX;
use super::super::command::Outcome;
use super::super::effect::Level;
use super::super::{Contest, Event, Seen, Stage, State};
use super::{Applied, boot_once, claim_start, loader};
use crate::model::{Mac, Name, Span, Time};

/// Cards that are remembered at most: a machine that changes its address all the time must not
/// fill the memory.
const LEARNED_MAX: usize = 4096;

/// Two cards seen within this time belong to two machines, if firmware uses one of them: as long as a card
/// must have been silent before a sibling takes its address.
const AT_A_TIME: Span = crate::state::lease::QUIET;

pub(super) fn apply(state: &mut State, events: Vec<Event>, out: &mut Applied) -> Outcome {
    let (learned, contested) = (state.lasting.learned.clone(), state.lasting.contested.clone());
    out.events.reserve(events.len());
    for event in events {
        take(state, event, out);
    }
    out.cards(&learned, state);
    out.contests(&contested, state);
    Outcome::Done
}

/// Takes one event in, and records what it taught.
pub(super) fn observe(state: &mut State, event: Event, out: &mut Applied) {
    let (learned, contested) = (state.lasting.learned.clone(), state.lasting.contested.clone());
    take(state, event, out);
    out.cards(&learned, state);
    out.contests(&contested, state);
}

/// What a person has to know of it besides stands before or behind it.
fn take(state: &mut State, event: Event, out: &mut Applied) {
    if let Some(contest) = state.fold(&event) {
        out.log(Level::Warn, contest.text.clone());
        out.events.push(contest);
    }
    let known = |mac| state.desired.macs.get(&mac).or_else(|| state.lasting.learned.get(&mac));
    let machine = event.mac.and_then(known);
    let stuck = state.observed.loops.see(&event, machine);
    let is_stranger = event.stage == Stage::Script && event.deployment.is_none();
    if let Some(card) = event.mac.filter(|card| is_stranger && state.machine_of_card(*card).is_none()) {
        loader::count_try(state, card, event.at, out);
    }
    if let Some(machine) = state.ends_boot_once(&event).cloned() {
        boot_once::put(state, &machine, None, out);
    }
    claim_start::booted(state, &event);
    let lesson = loader::see(state, &event, out);
    out.events.push(event);
    out.events.extend(stuck);
    out.events.extend(lesson);
}

impl State {
    /// Takes in when and how a machine was seen last, and nothing else. What the daemon says of it, on its own or because a
    /// person asked for something, is no sight of it.
    pub fn recall(&mut self, event: &Event) {
        let Some(mac) = event.mac.filter(|_| event.stage.is_of_machine()) else { return };
        self.see(mac, event);
    }

    fn see(&mut self, mac: Mac, event: &Event) {
        let first = Seen { first: event.at, last: event.at, arch: None, ipxe: false, address: None };
        let mut seen = self.observed.seen.get(&mac).cloned().unwrap_or(first);
        seen.last = event.at;
        seen.arch = event.arch.or(seen.arch);
        seen.ipxe = event.ipxe.unwrap_or(seen.ipxe);
        seen.address = event.address.or(seen.address);
        self.observed.seen.insert(mac, seen);
    }

    /// Applies what a machine did. Returns an event for people if there is something they should know.
    pub fn fold(&mut self, event: &Event) -> Option<Event> {
        let mac = event.mac?;
        if self.observed.seen.len() >= self.desired.macs.len() + LEARNED_MAX + STRANGERS_MAX {
            self.forget_strangers();
        }
        self.recall(event);
        self.learn(mac, event)
    }

    fn forget_strangers(&mut self) {
        let known = |mac: &Mac| self.desired.macs.contains_key(mac) || self.lasting.learned.contains_key(mac);
        let own = self.observed.seen.iter().filter(|(mac, _)| known(mac));
        self.observed.seen = own.map(|(mac, seen)| (*mac, seen.clone())).collect();
    }

    /// A card that DHCP answered as a deployment's machine although it is not written down for it:
    /// the machine was known by its client id or UUID. What this card asks for next is its too.
    fn learn(&mut self, mac: Mac, event: &Event) -> Option<Event> {
        let answered =
            matches!(event.stage, Stage::Offer | Stage::Ack) && !self.desired.macs.contains_key(&mac);
        let name = event.deployment.as_ref().filter(|_| answered)?;
        let name = self.lasting.assignments.get(name)?.clone();
        let known = self.lasting.learned.get(&mac) == Some(&name);
        if let Some(other) = self.rival(&name, mac, known, event) {
            return self.contest(name, [other, mac], event.at);
        }
        if !known && self.lasting.learned.len() < LEARNED_MAX {
            self.observed.loops.learn(mac, &name);
            self.lasting.learned.insert(mac, name);
        }
        None
    }

    /// Another card of the machine that was seen a moment ago, while firmware uses this one, or one that
    /// was not known by this identity before: one machine does not do both. (An iPXE that firmware has just
    /// loaded may continue with another card.)
    fn rival(&self, name: &Name, mac: Mac, known: bool, event: &Event) -> Option<Mac> {
        let begins = event.ipxe == Some(false) || !known && event.ipxe.is_none();
        let machine = self.desired.machines.get(name).filter(|_| begins)?;
        let heard = |other: &Mac| {
            let last = self.observed.seen.get(other).map(|seen| seen.last);
            // A clock that was set back by more makes no two of one.
            let is_near = |last: Time| event.at.since(last).0.max(last.since(event.at).0) < AT_A_TIME.0;
            *other != mac && last.is_some_and(is_near)
        };
        self.cards(machine).into_iter().find(heard)
    }

    /// Ignores the identities of a machine from now on.
    fn contest(&mut self, name: Name, cards: [Mac; 2], at: Time) -> Option<Event> {
        self.lasting.learned.retain(|_, owner| *owner != name);
        let fresh = self.lasting.contested.insert(name.clone(), Contest { cards, since: at }).is_none();
        let text = self.lasting.contested.get(&name)?.text(&name);
        fresh.then(|| Event {
            deployment: self.derived.tenants.get(&name).cloned(),
            ..Event::new(at, Stage::Daemon, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::desired::Desired;

    #[test]
    fn ever_new_strangers_push_out_each_other_and_nobody_else() {
        let mac = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            Mac::new([0x52, 0x54, a, b, c, d]).unwrap()
        };
        let mut state = State::new(crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
        let own = mac(0);
        let macs = [(own, "m".parse().unwrap())].into_iter().collect();
        state.desired = Arc::new(Desired { macs, ..Desired::default() });
        for number in 0..200_000 {
            state.fold(&Event { mac: Some(mac(number)), ..Event::new(Time(1), Stage::Silence, "") });
            assert!(state.observed.seen.len() <= STRANGERS_MAX + LEARNED_MAX + 1);
        }
        assert!(state.observed.seen.contains_key(&own) && state.observed.seen.contains_key(&mac(199_999)));
    }

    #[test]
    fn what_people_and_the_daemon_say_of_a_machine_is_no_sight_of_it() {
        let mut state = State::new(crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
        let mac: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let event = |at, stage| Event { mac: Some(mac), ..Event::new(Time(at), stage, "") };
        for stage in [Stage::Daemon, Stage::Adopted] {
            state.fold(&event(1, stage));
            state.recall(&event(1, stage));
        }
        assert!(state.observed.seen.is_empty(), "it was never on the network");
        state.fold(&event(2, Stage::Offer));
        state.fold(&event(3, Stage::Daemon));
        assert_eq!(state.observed.seen[&mac].last, Time(2));
    }
}
