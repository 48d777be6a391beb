//! Which machines boot our agent, and the tokens by which it identifies itself.
//!
//! A machine with an order boots the agent until the order is carried out. A machine that no manifest declares boots it
//! where its subnet has unknown machines looked at, once: after a report, or after two boots that led to none, it boots
//! its own disk.

use std::sync::Arc;

use super::State;
use super::learned::CardBoots;
use super::lifecycle::Boot as Answer;
use super::token::is_same;
use crate::desired::{Boot, Subnet};
use crate::model::{Cpu, Mac, Name, Span, Time, Unknown, hex};

/// Machines in no manifest that are remembered at most, beyond those in manifests. Messages in the
/// name of ever new ones must not fill the memory; when there are so many, all are forgotten.
pub(super) const STRANGERS_MAX: usize = 1 << 16;
/// So often an unknown machine boots the agent without a report.
const TRIES: u8 = 2;
/// Scripts that are fetched within this time belong to one boot.
const ONE_BOOT: Span = Span::seconds(30);

/// A machine that boots our agent now.
#[derive(Clone, Debug)]
pub struct AgentBoot<'a> {
    /// `None`: nothing is recorded of it.
    pub machine: Option<&'a Name>,
    /// Of its order; 0 without one.
    pub epoch: u64,
    /// What the agent runs on; `None`: there is no boot for the machine's architecture.
    pub boot: Option<&'a Arc<Boot>>,
}

/// What a token of an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentToken {
    pub card: Mac,
    pub epoch: u64,
    /// Which start of the agent it is of; `None`: it opens the session of any.
    pub boot_id: Option<String>,
}

impl CardBoots {
    /// An unknown machine fetched the script that boots the agent. Returns whether that is another boot.
    pub(super) fn count_try(&mut self, at: Time) -> bool {
        let is_new = self.tries == 0 || at.since(self.tried).0 >= ONE_BOOT.0;
        if is_new {
            (self.tries, self.tried) = (self.tries.saturating_add(1), at);
        }
        is_new
    }
}

impl State {
    /// The machine with a card: one that a revision declares, else one that our agent found.
    pub fn machine_of_card(&self, card: Mac) -> Option<&Name> {
        self.machine(card).map(|machine| &machine.name).or_else(|| self.derived.found.get(&card))
    }

    /// How the machine with this card boots our agent, if it is to boot it now; `subnet` is where it boots.
    pub fn agent_boot<'a>(
        &'a self,
        card: Mac,
        subnet: impl FnOnce() -> Option<&'a Subnet>,
        cpu: Option<Cpu>,
    ) -> Option<AgentBoot<'a>> {
        let machine = self.machine_of_card(card);
        let has_agent = !self.desired.agent.boots.is_empty();
        let discovers = || has_agent && subnet().is_some_and(|subnet| subnet.unknown != Unknown::Ignore);
        let is_due = match machine {
            Some(machine) => self.agent_epoch(machine) > 0 && self.boot_of(machine, false) == Answer::Agent,
            None => discovers() && self.has_tries_left(card),
        };
        let epoch = machine.map_or(0, |machine| self.agent_epoch(machine));
        is_due.then(|| AgentBoot { machine, epoch, boot: self.desired.agent.boot(cpu) })
    }

    /// Why an unknown machine boots its own disk in a subnet where such machines are looked at.
    pub fn undiscovered(&self, card: Mac) -> String {
        match self.derived.found.get(&card) {
            Some(name) => {
                format!("it was discovered already, as {name}: `voldemortctl register {card}` accepts it")
            }
            None if self.desired.agent.boots.is_empty() => {
                "it is in no manifest, and [agent] names no boot".to_owned()
            }
            None => "our agent was booted on it twice and did not report".to_owned(),
        }
    }

    /// A machine of the manifests that was never seen, with a card whose address is one typing mistake away from this one.
    pub fn never_seen_near(&self, card: Mac) -> Option<&Name> {
        let own = card.octets();
        let shared = |other: &Mac| other.octets().iter().zip(own).filter(|(one, two)| **one == *two).count();
        // A mistake changes one octet or two; most addresses need no closer look.
        let near = self.desired.macs.iter().filter(|(mac, _)| shared(mac) >= 4 && card.is_slip_of(**mac));
        let is_new = |machine: &&Name| {
            let machine = self.desired.machines.get(*machine);
            machine
                .is_some_and(|machine| machine.macs.iter().all(|mac| !self.observed.seen.contains_key(mac)))
        };
        near.map(|(_, machine)| machine).filter(is_new).min()
    }

    fn has_tries_left(&self, card: Mac) -> bool {
        self.lasting.boots.get(&card).is_none_or(|boots| boots.tries < TRIES)
    }

    /// For the kernel command line: opens the sessions of an agent that boots on this machine under this epoch.
    pub fn boot_token(&self, card: Mac, epoch: u64) -> String {
        let seal = self.agent_seal(&format!("boot\n{card}\n{epoch}"));
        format!("{}.{epoch}.{seal}", hex(&card.octets()))
    }

    /// Authorizes one start of an agent, until its epoch is over.
    pub fn session_token(&self, card: Mac, epoch: u64, boot_id: &str) -> String {
        let seal = self.agent_seal(&format!("session\n{card}\n{epoch}\n{boot_id}"));
        format!("{}.{epoch}.{boot_id}.{seal}", hex(&card.octets()))
    }

    /// What a token of ours says; `None` of any other text.
    pub fn agent_token(&self, token: &str) -> Option<AgentToken> {
        let parts: Vec<&str> = token.split('.').collect();
        let (card, epoch, boot_id) = match parts.as_slice() {
            [card, epoch, _] => (card, epoch, None),
            [card, epoch, boot_id, _] => (card, epoch, Some((*boot_id).to_owned())),
            _ => return None,
        };
        let (card, epoch) = (card.parse().ok()?, epoch.parse().ok()?);
        let own = match &boot_id {
            None => self.boot_token(card, epoch),
            Some(boot_id) => self.session_token(card, epoch, boot_id),
        };
        is_same(token, &own).then_some(AgentToken { card, epoch, boot_id })
    }

    fn agent_seal(&self, text: &str) -> String {
        self.seal(&format!("agent\n{text}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::state::Server;

    #[test]
    fn tokens_open_what_they_are_made_for() {
        let state = State::new(Server::stand_in(Ipv4Addr::LOCALHOST));
        let other = state.clone().with_lasting(|lasting| lasting.token_key = [1; 32].into());
        let card: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let boot = state.boot_token(card, 7);
        assert_eq!(state.agent_token(&boot), Some(AgentToken { card, epoch: 7, boot_id: None }));
        let session = state.session_token(card, 7, "b-1");
        let expected = AgentToken { card, epoch: 7, boot_id: Some("b-1".into()) };
        assert_eq!(state.agent_token(&session), Some(expected));
        assert_eq!(other.agent_token(&boot), None);
        for forged in [boot.replace(".7.", ".8."), boot.replace("01.", "02."), session.replace("b-1", "b-2")]
        {
            assert_eq!(state.agent_token(&forged), None, "{forged}");
        }
        for nonsense in ["", ".", "...", "a.b.c", &boot[..boot.len() - 1], &format!("{boot}.x")] {
            assert_eq!(state.agent_token(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn an_unknown_machine_is_tried_twice() {
        let mut boots = CardBoots::default();
        let counted = [100, 110, 200, 300].map(|second| (boots.count_try(Time(second * 1000)), boots.tries));
        assert_eq!(counted, [(true, 1), (false, 1), (true, 2), (true, 3)]);
    }
}
