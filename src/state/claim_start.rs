//! Machines that claims have and that do not begin by themselves to install, or to boot what the claim runs from the
//! network: they run a former system, or their own. One that is on and can be switched is restarted into the network, once;
//! of any other a person is told what it needs.

use std::sync::Arc;

use super::outbox::{Pending, Task};
use super::{Duty, State};
use crate::desired::Deployment;
use crate::model::{Name, PowerAction, PowerState, PowerStep, Span};

/// How long a machine that was given out may take to begin: one in our agent is restarted by that within seconds.
const PATIENCE: Span = Span::seconds(90);
/// The same after it was restarted: servers test their memory for minutes.
const AFTER_RESTART: Span = Span::seconds(15 * 60);

/// A machine that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Awaited {
    /// The epoch of its claim.
    pub epoch: u64,
    /// The time that had run when it was given out, or restarted.
    since: u64,
    pub is_restarted: bool,
    /// What a person was told that it needs.
    pub lacks: Option<Arc<str>>,
}

/// What brings a machine to its installation, or its boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Restart,
    /// It is seen later.
    Wait,
    /// A person, for this reason.
    Person(String),
}

impl Awaited {
    pub(super) fn new(epoch: u64, now: u64) -> Awaited {
        Awaited { epoch, since: now, is_restarted: false, lacks: None }
    }

    /// The same, to be looked at later; what a person was told before is over.
    pub(super) fn later(self, now: u64) -> Awaited {
        Awaited { since: now, lacks: None, ..self }
    }

    pub(super) fn restarted(self, now: u64) -> Awaited {
        Awaited { is_restarted: true, ..self.later(now) }
    }

    /// The machine was switched on, or restarted: it has fifteen minutes from then on. The restart for its claim is made
    /// once all the same.
    pub(super) fn started(self, now: u64) -> Awaited {
        let already = if self.is_restarted { AFTER_RESTART } else { PATIENCE };
        self.later(now.saturating_add(AFTER_RESTART.0 - already.0))
    }

    pub(super) fn lacking(self, what: Arc<str>) -> Awaited {
        Awaited { lacks: Some(what), ..self }
    }

    /// Whether it takes longer than it should.
    pub(super) fn is_late(&self, now: u64) -> bool {
        let patience = if self.is_restarted { AFTER_RESTART } else { PATIENCE };
        now >= self.since.saturating_add(patience.0)
    }
}

impl State {
    /// Whether a machine is to install, or to boot from the network, for the claim of this epoch, and has not begun.
    pub(super) fn is_to_begin(&self, machine: &Name, epoch: u64) -> bool {
        let is_due = |tenant: &Deployment| match self.duty(tenant) {
            Duty::Install { permit: true } => self.is_to_install(machine),
            Duty::NetworkBoot => self.is_to_boot(machine),
            Duty::Install { permit: false } | Duty::LocalBoot(_) => false,
        };
        self.is_claims(machine, epoch)
            && self.tenant(machine).is_some_and(|tenant| is_due(tenant))
            && self.kept_from(machine).is_none()
    }

    /// Whether a machine is the claim's of this epoch.
    pub(super) fn is_claims(&self, machine: &Name, epoch: u64) -> bool {
        self.tenancy(machine).is_some_and(|tenancy| tenancy.is_claim && tenancy.epoch == epoch)
    }

    /// Whether a machine is to boot from the network what its claim runs, and has not fetched its script since the claim
    /// has it: until then a former system may run there. After a start of the daemon nothing is known of that, and what
    /// runs is left alone, unless the machine was being started for the claim.
    pub fn is_to_boot(&self, machine: &Name) -> bool {
        let is_awaited = match &self.observed.power_log.awaited {
            Some(all) => all.get(machine).is_some_and(|awaited| self.is_claims(machine, awaited.epoch)),
            None => self.is_being_started(machine),
        };
        is_awaited
            && self.tenant(machine).is_some_and(|tenant| {
                // A Raspberry Pi without a command line fetches nothing that is made for its claim.
                let has_script = !tenant.boot.starts_a_pi() || !tenant.boot.cmdline.is_empty();
                has_script && self.duty(tenant) == Duty::NetworkBoot
            })
    }

    /// Whether a machine is to be started for its claim by a task that has not switched it on: then it did not boot for
    /// the claim yet, and may be off.
    fn is_being_started(&self, machine: &Name) -> bool {
        self.lasting.outbox.about(machine).any(|one| {
            let starts = match &one.task {
                Task::Restart { .. } => true,
                Task::Power { order, .. } => order.action == PowerAction::Install,
                Task::Fetch { .. } | Task::ReadPower { .. } | Task::PowerOff { .. } => false,
            };
            let is_open =
                one.sent.is_none_or(|sent| matches!(sent.step, PowerStep::BootOnce | PowerStep::Off));
            starts && is_open && one.task.epoch().is_some_and(|epoch| self.is_claims(machine, epoch))
        })
    }

    /// What brings such a machine to its installation, or its boot.
    pub(super) fn start_of(&self, machine: &Name, awaited: &Awaited) -> Start {
        let person = |why: &str| Start::Person(why.to_owned());
        let Some(declared) = self.desired.machines.get(machine) else { return Start::Wait };
        let Some(power) = &declared.power else {
            return person("it has no `power` in its manifest");
        };
        if let Some(why) = power.kind.unable(PowerAction::Cycle) {
            return Start::Person(why);
        }
        match self.observed.power.get(machine).map(|reading| &reading.state) {
            None => Start::Wait,
            Some(Err(why)) => Start::Person(format!("its power can't be read: {why}")),
            Some(Ok(PowerState::On)) => self.restart_of(machine, awaited),
            Some(Ok(PowerState::Off)) if !declared.power_on => {
                person("it is off, and its manifest has no power-on = true")
            }
            Some(Ok(_)) => Start::Wait,
        }
    }

    /// The same of a machine that is on.
    fn restart_of(&self, machine: &Name, awaited: &Awaited) -> Start {
        let is_order =
            |one: &&Arc<Pending>| one.task.kind().is_power() && one.task.epoch() == Some(awaited.epoch);
        match self.lasting.outbox.about(machine).find(is_order) {
            // Its turn comes later, or it does what was asked.
            Some(one) if one.trouble.is_none() || one.sent.is_some() => Start::Wait,
            Some(_) => {
                let why = "an order to switch it has trouble, which `voldemortctl get effects` shows";
                Start::Person(why.to_owned())
            }
            None if awaited.is_restarted => {
                Start::Person("it was restarted, and did not boot from the network".to_owned())
            }
            None => Start::Restart,
        }
    }

    /// Why a person has to start a claim's machine, where that is known.
    pub fn needs_a_start(&self, machine: &Name) -> Option<&Arc<str>> {
        let awaited = self.observed.power_log.awaited.as_ref()?.get(machine)?;
        awaited.lacks.as_ref().filter(|_| self.is_to_begin(machine, awaited.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_counted_from_the_last_thing_that_was_done() {
        let awaited = Awaited::new(3, 1000);
        assert!(!awaited.is_late(90_999) && awaited.is_late(91_000));
        let restarted = awaited.restarted(91_000);
        assert!(!restarted.is_late(91_000 + 899_999) && restarted.is_late(91_000 + 900_000));
        let switched_on = Awaited::new(3, 1000).lacking("it is off".into()).started(60_000);
        assert!(!switched_on.is_late(60_000 + 899_999) && switched_on.is_late(60_000 + 900_000));
        assert!(!switched_on.is_restarted && switched_on.lacks.is_none());
        // Its turn came late.
        let restarted = Awaited::new(3, 1000).restarted(91_000).started(2_000_000);
        assert!(!restarted.is_late(2_000_000 + 899_999) && restarted.is_late(2_000_000 + 900_000));
        assert!(restarted.is_restarted);
    }
}
