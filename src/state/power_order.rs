//! Orders to switch machines: what a task about a machine's power is to reach, which request comes next, and what keeps
//! it from being made. The executor (`daemon::effect`) stores each request before it sends it, and reads afterwards what
//! came of it: none is sent twice.

use std::sync::Arc;

use super::State;
use super::claim_start::Awaited;
use super::lifecycle::{Condition, Work};
use super::outbox::{EffectId, Pending, Task, TaskKind};
use crate::model::{Capabilities, Name, PowerAction, PowerReading, PowerState, PowerStep, Span, Time};

/// So long an order waits for its controller, and for the machine to do what was asked.
pub const PATIENCE: Span = Span::seconds(600);
/// Between two machines that are switched on: many at once draw more current than lines carry.
pub const TURN: Span = Span::seconds(1);

/// What a person, or a rule, wants of a machine's power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerOrder {
    pub action: PowerAction,
    /// Why, for people who read the events later; may be empty.
    pub reason: Arc<str>,
    /// The epoch of whatever had the machine when it was ordered, 0 if nothing had it. The order is for that alone.
    pub epoch: u64,
    /// After this it is given up: the time in which it waits for the turns of those before it is not its own.
    pub until: Time,
}

/// A request that was sent, or was about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub step: PowerStep,
    pub at: Time,
}

/// How the last order about a machine's power ended since the start of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerEnd {
    pub id: EffectId,
    /// What was ordered, in words.
    pub what: Arc<str>,
    pub at: Time,
    /// Why it was given up, if it was.
    pub why: Option<Arc<str>>,
}

/// What is remembered of orders since the start of the daemon.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) ends: imbl::OrdMap<Name, Arc<PowerEnd>>,
    /// The epochs for which machines were switched on to install: once for each.
    pub(super) switched_on: imbl::OrdMap<Name, u64>,
    /// How often machines that are to be switched on were read early, in which epoch.
    pub(super) hastened: imbl::OrdMap<Name, (u64, u32)>,
    /// Machines that claims wait for; `None` before the first tick.
    pub(super) awaited: Option<imbl::OrdMap<Name, Awaited>>,
    /// The last machine that was looked at whether it is to be switched on.
    pub(super) looked_at: Option<Name>,
}

impl PowerOrder {
    /// When it is given up: what was begun is not left half way, however late its turn came.
    pub fn end(&self, last: Option<Sent>) -> Time {
        last.map_or(self.until, |sent| self.until.max(sent.at + PATIENCE))
    }
}

/// What comes next in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(PowerStep),
    /// It is seen later.
    Wait,
    Done,
}

impl Task {
    /// The requests that a task takes at most with a driver that can do so much; empty for other tasks.
    pub fn steps(&self, can: Capabilities) -> Vec<PowerStep> {
        use PowerStep::{BootOnce, Off, On};
        let all: &[PowerStep] = match self {
            Task::Fetch { .. } | Task::ReadPower { .. } => &[],
            // Without a way to switch it off, one that is off is switched on, and one that is on waits for a person.
            Task::Restart { .. } => &[BootOnce, Off, On],
            Task::PowerOff { .. } => &[Off],
            Task::Power { order, .. } => match order.action {
                PowerAction::On => &[On],
                PowerAction::Off => &[Off],
                PowerAction::Cycle => &[Off, On],
                PowerAction::BootOnce => &[BootOnce],
                PowerAction::Install => &[BootOnce, On],
            },
        };
        let can = |step: &&PowerStep| match step {
            BootOnce => can.boot_once,
            Off => can.off && can.read,
            On => can.on,
            PowerStep::ClearBoot => true,
        };
        all.iter().filter(can).copied().collect()
    }
}

/// The next request of `steps` after those that were sent. `seen` is the power as it was read now, or, of a machine
/// that can't be read, `On` once it was seen on the network.
pub fn next(steps: &[PowerStep], sent: Option<PowerStep>, seen: Option<PowerState>) -> Next {
    let is_reached = |step: PowerStep| match step {
        PowerStep::On => seen == Some(PowerState::On),
        PowerStep::Off => seen == Some(PowerState::Off),
        PowerStep::BootOnce | PowerStep::ClearBoot => true,
    };
    if sent.is_some_and(|step| !is_reached(step)) {
        return Next::Wait;
    }
    let after =
        sent.map_or(0, |sent| steps.iter().position(|step| *step == sent).map_or(steps.len(), |at| at + 1));
    let rest = &steps[after..];
    // A machine that is on needs no boot of its own where it is not switched off either.
    if sent.is_none()
        && steps.ends_with(&[PowerStep::On])
        && !steps.contains(&PowerStep::Off)
        && is_reached(PowerStep::On)
    {
        return Next::Done;
    }
    match rest {
        [] => Next::Done,
        // On its way to another state: it is seen where that ends.
        [PowerStep::Off | PowerStep::On, ..]
            if matches!(seen, Some(PowerState::PoweringOn | PowerState::PoweringOff)) =>
        {
            Next::Wait
        }
        [PowerStep::Off, after @ ..] if is_reached(PowerStep::Off) => {
            after.first().map_or(Next::Done, |step| Next::Send(*step))
        }
        [step, ..] => Next::Send(*step),
    }
}

impl State {
    /// Whether a task about a machine's power is still to be done; see [`State::wants`].
    pub(super) fn wants_power(&self, machine: &Name, order: &PowerOrder) -> bool {
        self.desired.machines.get(machine).is_some_and(|machine| machine.power.is_some())
            && self.power_epoch(machine) == order.epoch
            && (order.action != PowerAction::Install
                || self.is_to_install(machine)
                || self.work(machine) == Work::NetworkBoot)
    }

    /// The epoch of whatever has a machine: of the order that is carried out on it, else of its tenancy.
    pub(super) fn power_epoch(&self, machine: &Name) -> u64 {
        match self.agent_epoch(machine) {
            0 => self.tenancy(machine).map_or(0, |tenancy| tenancy.epoch),
            epoch => epoch,
        }
    }

    /// Whether a machine is to install now: it has the permission, or gets it when it asks.
    pub(super) fn is_to_install(&self, machine: &Name) -> bool {
        let Some(tenant) = self.tenant(machine) else { return false };
        self.work(machine) == Work::Installing && matches!(self.duty(tenant), super::Duty::Install { .. })
    }

    /// Whether a restart is still to be made: into our agent for an order, where an agent that has come up is not to be
    /// interrupted at its work, or for a claim into the installation, which is not to be interrupted either.
    pub(super) fn wants_restart(&self, machine: &Name, epoch: u64) -> bool {
        let order = self.life(machine).and_then(|life| life.order.as_ref());
        order
            .filter(|order| order.epoch == epoch)
            .is_some_and(|order| order.work == Work::Fencing || order.condition == Condition::Overdue)
            || self.is_to_begin(machine, epoch)
    }

    /// Why a task waits, although it is wanted; `None` while nothing keeps it.
    pub fn delays(&self, task: &Task) -> Option<String> {
        let machine = match task {
            Task::Fetch { .. } | Task::ReadPower { .. } => return None,
            task => task.subject(),
        };
        if let Some(hold) = self.hold(machine) {
            return Some(format!("machine {machine} is held by {}: {}", hold.by, hold.reason));
        }
        let protected = self.lasting.protected.contains(machine)
            && !matches!(task, Task::Power { order, .. } if !interrupts(order.action));
        protected.then(|| format!("machine {machine} is protected: commit protect = false first"))
    }

    /// Why an action is refused that a person orders.
    pub(super) fn refuses_power(&self, machine: &Name, action: PowerAction) -> Option<String> {
        let Some(own) = self.desired.machines.get(machine) else {
            return Some(format!("there is no machine {machine} in the manifests"));
        };
        let Some(power) = &own.power else {
            return Some(format!(
                "machine {machine} has no `power` in its manifest: write how it is switched, as in power = {{ kind = \"ipmi\", … }}"
            ));
        };
        if let Some(why) = power.kind.unable(action) {
            return Some(format!("machine {machine}: {why}"));
        }
        if let Some(hold) = self.hold(machine) {
            return Some(format!("machine {machine} is held by {}: {}", hold.by, hold.reason));
        }
        if interrupts(action) && self.lasting.protected.contains(machine) {
            return Some(format!("machine {machine} is protected: commit protect = false first"));
        }
        let order = self.life(machine).and_then(|life| life.order.as_ref());
        let is_wanted = order.is_some_and(|order| order.condition != Condition::Failed);
        (is_wanted && matches!(action, PowerAction::Off | PowerAction::BootOnce)).then(|| {
            format!("machine {machine} is being released, and is started into the agent for that: {action} would stop it")
        })
    }

    /// The orders about a machine's power that a person or a rule gave and that are not done.
    pub fn power_orders(&self, machine: &Name) -> impl Iterator<Item = &Arc<Pending>> {
        self.lasting.outbox.about(machine).filter(|pending| pending.task.kind() == TaskKind::Power)
    }

    /// How the last order about a machine's power ended.
    pub fn power_end(&self, machine: &Name) -> Option<&Arc<PowerEnd>> {
        self.observed.power_log.ends.get(machine)
    }

    /// Machines that were switched on to install over what is on their disks and have not begun, unless they are seen to be
    /// off.
    pub(super) fn switched_on(&self) -> impl Iterator<Item = &Name> {
        let log = &self.observed.power_log.switched_on;
        let is_coming = |machine: &Name| {
            let is_off = matches!(
                self.observed.power.get(machine),
                Some(PowerReading { state: Ok(PowerState::Off), .. })
            );
            self.is_to_install(machine) && (!is_off || self.power_orders(machine).next().is_some())
        };
        log.iter()
            .filter(move |(machine, epoch)| {
                self.starts_again(machine) && self.power_epoch(machine) == **epoch && is_coming(machine)
            })
            .map(|(machine, _)| machine)
    }

    /// When a machine was last seen on the network.
    pub fn last_seen(&self, machine: &Name) -> Option<Time> {
        let cards = self.cards(self.desired.machines.get(machine)?);
        cards.iter().filter_map(|mac| Some(self.observed.seen.get(mac)?.last)).max()
    }
}

/// Whether what runs on a machine ends by it, or another system starts in its place.
fn interrupts(action: PowerAction) -> bool {
    match action {
        PowerAction::On | PowerAction::Install => false,
        PowerAction::Off | PowerAction::Cycle | PowerAction::BootOnce => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PowerKind;

    const ON: Option<PowerState> = Some(PowerState::On);
    const OFF: Option<PowerState> = Some(PowerState::Off);

    #[test]
    fn a_cycle_is_off_then_on_and_nothing_is_sent_twice() {
        let steps = [PowerStep::Off, PowerStep::On];
        assert_eq!(next(&steps, None, ON), Next::Send(PowerStep::Off));
        assert_eq!(next(&steps, Some(PowerStep::Off), ON), Next::Wait);
        assert_eq!(next(&steps, Some(PowerStep::Off), Some(PowerState::PoweringOff)), Next::Wait);
        assert_eq!(next(&steps, Some(PowerStep::Off), OFF), Next::Send(PowerStep::On));
        assert_eq!(next(&steps, Some(PowerStep::On), OFF), Next::Wait);
        assert_eq!(next(&steps, Some(PowerStep::On), ON), Next::Done);
        assert_eq!(next(&steps, None, OFF), Next::Send(PowerStep::On), "one that is off is not switched off");
    }

    #[test]
    fn one_that_is_as_it_should_be_is_left_alone() {
        assert_eq!(next(&[PowerStep::On], None, ON), Next::Done);
        assert_eq!(next(&[PowerStep::Off], None, OFF), Next::Done);
        assert_eq!(next(&[PowerStep::On], None, Some(PowerState::PoweringOn)), Next::Wait);
        let install = [PowerStep::BootOnce, PowerStep::On];
        assert_eq!(next(&install, None, ON), Next::Done);
        assert_eq!(next(&install, None, OFF), Next::Send(PowerStep::BootOnce));
        assert_eq!(next(&install, Some(PowerStep::BootOnce), OFF), Next::Send(PowerStep::On));
        assert_eq!(next(&[PowerStep::BootOnce], Some(PowerStep::BootOnce), ON), Next::Done);
        assert_eq!(next(&[PowerStep::On], None, None), Next::Send(PowerStep::On), "nobody knows");
        assert_eq!(next(&[PowerStep::On], Some(PowerStep::On), None), Next::Wait);
    }

    /// Whatever is seen and whenever the daemon starts anew, no request is made a second time.
    #[test]
    fn no_path_sends_a_step_again() {
        let restart = Task::Restart { machine: "m1".parse().unwrap(), epoch: 1 };
        for kind in PowerKind::ALL {
            let steps = restart.steps(kind.capabilities());
            let states = PowerState::ALL.map(Some).into_iter().chain([None]).collect::<Vec<_>>();
            for (at, sent) in steps.iter().enumerate() {
                for seen in &states {
                    if let Next::Send(step) = next(&steps, Some(*sent), *seen) {
                        let place = steps.iter().position(|one| *one == step).unwrap();
                        assert!(place > at, "{kind}: {step} after {sent}");
                    }
                }
            }
        }
    }
}
