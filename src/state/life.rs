//! What is recorded of a machine's life: how well it is known, its disks, the order that is carried out on it, and
//! whether a person holds it. What it is for is its [tenancy](super::tenancy), and how far its installation is stands in
//! its [installations](super::installs).

use std::sync::Arc;

use super::lifecycle::tenancy::Holder;
use super::lifecycle::{Boot, Condition, DiskState, Known, Word, Work, boot, word};
use super::outbox::{EffectId, Task};
use super::{Duty, InstallStage, State};
use crate::desired::Deployment;
use crate::model::facts::Facts;
use crate::model::{Caller, Mac, Name, OnReturn, Time, WipeLevel};

/// What is recorded of a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    pub known: Known,
    /// The subnet that its agent reported from last.
    pub subnet: Option<Name>,
    /// The network cards that its agent reported.
    pub cards: Arc<[Mac]>,
    pub disks: Arc<[Disk]>,
    /// When its agent reported last.
    pub reported: Option<Time>,
    pub order: Option<Arc<Order>>,
    pub hold: Option<Arc<Hold>>,
    /// The epoch of its last order; 0 if it had none.
    pub epoch: u64,
    /// Which start of our agent reported last: after a restart of the daemon no other is believed before it reports.
    pub start: Option<Arc<str>>,
    /// Why nothing is done with it: two machines showed its network card at a time. Ends when our agent reports and is
    /// the only one, or a person has it tried again.
    pub contested: Option<Arc<str>>,
}

/// A disk as our agent reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it is known by: its WWN, else its serial number, model and size.
    pub id: Arc<str>,
    pub bytes: u64,
    pub state: DiskState,
}

/// The disks of a machine are to be wiped.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub epoch: u64,
    /// How far it is: fencing, wiping or verifying.
    pub work: Work,
    pub condition: Condition,
    /// Why it is overdue or failed; else empty.
    pub why: Arc<str>,
    pub level: WipeLevel,
    /// Whether the machine is switched off afterwards.
    pub off: bool,
    /// The disks that it names; none until our agent runs, if those that it finds then are meant.
    pub disks: Option<Arc<[Arc<str>]>>,
    /// Whether it failed because the budget was used up, or no disk was seen, and whether a person agreed to it all the same.
    pub over_budget: bool,
    pub consented: bool,
    pub by: Caller,
    /// What it follows from.
    pub reason: Arc<str>,
    pub since: Time,
    /// The time that had run (see [`super::ran`]) when it last got further.
    pub progress: u64,
    /// How often time ran out since then.
    pub attempts: u32,
}

/// A person keeps a machine from being used.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub by: Caller,
    pub reason: Arc<str>,
    pub until: Option<Time>,
}

/// What our agent is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// Nothing now; it asks again.
    Wait,
    Wipe {
        level: WipeLevel,
        disks: Arc<[Arc<str>]>,
    },
    /// Read back what was wiped.
    Verify {
        disks: Arc<[Arc<str>]>,
    },
    /// What it was started for is over: it restarts the machine.
    Leave,
}

impl Default for Life {
    /// Of a machine that a revision declares and nothing happened to.
    fn default() -> Life {
        Life {
            known: Known::Accepted,
            subnet: None,
            cards: Arc::default(),
            disks: Arc::default(),
            reported: None,
            order: None,
            hold: None,
            epoch: 0,
            start: None,
            contested: None,
        }
    }
}

impl Life {
    /// Whether its disks are known to be clean: our agent has looked, and nothing is on any of them. Where it sees none
    /// its kernel may lack their driver.
    pub fn is_clean(&self) -> bool {
        self.reported.is_some()
            && !self.disks.is_empty()
            && self.disks.iter().all(|disk| disk.state == DiskState::Clean)
    }
}

impl State {
    /// What is recorded of a machine.
    pub fn life(&self, machine: &Name) -> Option<&Arc<Life>> {
        self.lasting.lives.get(machine)
    }

    /// What our agent found out about a machine's hardware.
    pub fn facts(&self, machine: &Name) -> Option<&Arc<Facts>> {
        self.lasting.facts.get(machine)
    }

    fn order(&self, machine: &Name) -> Option<&Arc<Order>> {
        self.life(machine)?.order.as_ref()
    }

    /// Which two machines showed a network card of this one at a time, if they did.
    pub fn contest_of(&self, machine: &Name) -> Option<&Arc<str>> {
        self.life(machine)?.contested.as_ref()
    }

    /// Who holds a machine, and why.
    pub fn hold(&self, machine: &Name) -> Option<&Arc<Hold>> {
        self.life(machine)?.hold.as_ref()
    }

    /// What a deployment's or a claim's name stands for.
    pub fn deployment(&self, name: &Name) -> Option<&Arc<Deployment>> {
        self.desired.deployments.get(name).or_else(|| self.derived.claimed.get(name))
    }

    /// Whether a claim or an order has a machine, so that no revision can give it to a deployment.
    pub fn is_taken(&self, machine: &Name) -> bool {
        self.order(machine).is_some() || self.tenancy(machine).is_some_and(|tenancy| tenancy.is_claim)
    }

    pub fn known(&self, machine: &Name) -> Known {
        match self.life(machine) {
            Some(life) => life.known,
            None if self.desired.machines.contains_key(machine) => Known::Accepted,
            None => Known::Seen,
        }
    }

    pub fn holder(&self, machine: &Name) -> Holder {
        match self.tenancy(machine) {
            None => Holder::None,
            Some(tenancy) if tenancy.is_claim => Holder::Claim,
            Some(_) => Holder::Deployment,
        }
    }

    /// What is being done with a machine.
    pub fn work(&self, machine: &Name) -> Work {
        if let Some(order) = self.order(machine) {
            return order.work;
        }
        let Some(tenant) = self.tenant(machine) else { return Work::None };
        let is_spent = self.install_of(&tenant.name).is_some_and(|one| one.stage == InstallStage::Spent);
        match self.due(tenant) {
            Duty::NetworkBoot => Work::NetworkBoot,
            // It boots its own disk, or once our agent, which may see other disks.
            Duty::Install { .. } if self.hinted_disk(tenant).is_err() => Work::None,
            Duty::Install { .. } => Work::Installing,
            Duty::LocalBoot(_) if is_spent => Work::Installing,
            Duty::LocalBoot(_) => Work::None,
        }
    }

    /// How that goes on.
    pub fn condition(&self, machine: &Name) -> Condition {
        if let Some(order) = self.order(machine) {
            return order.condition;
        }
        let install = self.tenant(machine).and_then(|tenant| self.install_of(&tenant.name));
        let is_for_a_person = |stage| matches!(stage, InstallStage::Failed | InstallStage::Unreported);
        match install {
            Some(install) if is_for_a_person(install.stage) => Condition::Failed,
            _ => Condition::Well,
        }
    }

    /// The one word that people see of a machine.
    pub fn word(&self, machine: &Name) -> Word {
        let install = self.tenant(machine).and_then(|tenant| self.install_of(&tenant.name));
        word::of(
            self.known(machine),
            self.holder(machine),
            self.work(machine),
            self.condition(machine),
            self.hold(machine).is_some() || self.lacks_disk(machine),
            install.map(|install| install.stage),
        )
    }

    /// Whether a machine is to be installed, and no single disk of it fits what its deployment says of the disk.
    fn lacks_disk(&self, machine: &Name) -> bool {
        self.tenant(machine).is_some_and(|tenant| self.disk_hold(tenant).is_some())
    }

    /// What a network boot of a machine is answered; `discovers` where its subnet has unknown machines looked at. A claim
    /// whose time is over gets nothing new.
    pub fn boot_of(&self, machine: &Name, discovers: bool) -> Boot {
        let is_over = self.claim_on(machine).is_some_and(|claim| claim.is_in_grace());
        // An installation that got its answers is under way, and is not begun again.
        let may_install =
            self.tenant(machine).is_some_and(|tenant| matches!(self.duty(tenant), Duty::Install { .. }));
        let work = match self.work(machine) {
            Work::Installing if !may_install => Work::None,
            work => work,
        };
        let is_held = self.hold(machine).is_some() || self.contest_of(machine).is_some();
        boot::answer(self.known(machine), work, is_held || is_over, discovers)
    }

    /// What an agent that was started under an epoch is to do on a machine.
    pub fn instruction(&self, machine: &Name, epoch: u64) -> Instruction {
        match self.ordered(machine, epoch) {
            Instruction::Wipe { .. } | Instruction::Verify { .. } if self.hold(machine).is_some() => {
                Instruction::Wait
            }
            instruction => instruction,
        }
    }

    /// The same as if no person held the machine: how an order ended that was begun before the hold.
    pub fn ordered(&self, machine: &Name, epoch: u64) -> Instruction {
        let Some(life) = self.life(machine) else { return Instruction::Leave };
        let Some(order) = life.order.as_ref().filter(|order| order.epoch == epoch) else {
            return Instruction::Leave;
        };
        let (Some(disks), Condition::Well | Condition::Overdue) = (&order.disks, order.condition) else {
            return Instruction::Wait;
        };
        match order.work {
            Work::Wiping => Instruction::Wipe { level: order.level, disks: disks.clone() },
            Work::Verifying => Instruction::Verify { disks: disks.clone() },
            _ => Instruction::Wait,
        }
    }

    /// The epoch that an agent on a machine is started under; 0 without an order.
    pub fn agent_epoch(&self, machine: &Name) -> u64 {
        self.order(machine).map_or(0, |order| order.epoch)
    }

    /// Whether a task is still to be done: an executor asks that last before it begins, since an order may be over, and
    /// its machine somebody's, when its turn comes.
    pub fn wants(&self, task: &Task) -> bool {
        match task {
            Task::Fetch { .. } | Task::ReadPower { .. } => true,
            Task::Restart { machine, epoch } => self.wants_restart(machine, *epoch),
            Task::Power { machine, order } => self.wants_power(machine, order),
            Task::PowerOff { machine, epoch } => {
                let is_last =
                    self.life(machine).is_some_and(|life| life.epoch == *epoch && life.order.is_none());
                is_last && self.tenancy(machine).is_none()
            }
        }
    }

    /// Why nothing new is done with a machine, whatever it is for.
    pub(super) fn kept_from(&self, machine: &Name) -> Option<String> {
        let hold = self
            .hold(machine)
            .map(|hold| format!("machine {machine} is held by {}: {}", hold.by, hold.reason));
        let contest = || self.contest_of(machine).map(ToString::to_string);
        hold.or_else(contest).or_else(|| {
            let claim = self.claim_on(machine).filter(|claim| claim.is_in_grace())?;
            Some(format!("the time of claim {} is over", claim.name))
        })
    }

    /// The same of a deployment's machine.
    pub(super) fn kept_of(&self, deployment: &Name) -> Option<String> {
        self.kept_from(self.lasting.assignments.get(deployment)?)
    }

    /// What happens to a machine that this state has given to a deployment, and `next`, a revision after it, gives to
    /// nobody. Both revisions have to say so: one that is the first to want it changes no machine by that. Nor does the
    /// first revision after the state was restored.
    pub fn on_release(&self, next: &State, machine: &Name) -> OnReturn {
        let is_free =
            next.desired.machines.contains_key(machine) && !next.derived.tenants.contains_key(machine);
        let is_protected = [self, next].iter().any(|state| state.lasting.protected.contains(machine));
        let is_known = !self.desired.revision.is_empty() && self.knows_tenant(machine);
        match is_free && !is_protected && is_known {
            true => self.desired.safety.on_release.min(next.desired.safety.on_release),
            false => OnReturn::Keep,
        }
    }

    /// The machine that owns a disk, wherever it is found.
    pub fn owner_of(&self, disk: &str) -> Option<&Name> {
        self.derived.owners.get(disk)
    }
}

impl State {
    /// This state is a restored backup: no machine is switched that may be somebody else's by now.
    pub(super) fn distrust_effects(&mut self) -> Vec<EffectId> {
        let switching = self.lasting.outbox.iter().filter(|pending| pending.task.kind().is_power());
        let ids: Vec<EffectId> = switching.map(|pending| pending.id).collect();
        ids.iter().for_each(|id| drop(self.lasting.outbox.remove(*id)));
        ids
    }

    /// Likewise: what was ordered then may be done, undone or wrong now, and what was clean may be in use.
    pub(super) fn distrust_lives(&mut self) {
        for (machine, life) in self.lasting.lives.clone() {
            let mut next = Life::clone(&life);
            for disk in Arc::make_mut(&mut next.disks) {
                disk.state = if disk.state == DiskState::Clean { DiskState::Dirty } else { disk.state };
            }
            if let Some(order) = next.order.take() {
                let reason = format!(
                    "the state was restored from a backup while it was being released ({}): the order is cancelled",
                    order.reason
                );
                next.hold = Some(Hold { by: Caller::DAEMON, reason: reason.into(), until: None }.into());
            }
            self.index_life(&machine, Some(&next));
            self.lasting.lives.insert(machine, next.into());
        }
    }
}

/// What our agent says on a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentReport {
    /// The card that it speaks by.
    pub card: Mac,
    /// The subnet that it speaks from, where that is known.
    pub subnet: Option<Name>,
    /// The epoch that it was started under; 0 without an order.
    pub epoch: u64,
    /// The kernel's name for this start of the agent.
    pub start: Option<Arc<str>>,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It runs, and shows the hardware. It says so again as long as it has to wait.
    Hello { cards: Arc<[Mac]>, disks: Arc<[SeenDisk]>, facts: Option<Arc<Facts>> },
    /// It carries the order out, and gets further.
    Running,
    /// Every disk of its order is wiped, as its certificate shows: JSON of `api::agent::Certificate`.
    Wiped(Arc<str>),
    /// Whether what it read back holds nothing of what was there.
    Verified(bool),
    /// It can't go on, for this reason.
    Failed(Arc<str>),
    /// The same where it wiped disks, or tried to: what it did nevertheless, as above; empty if it says nothing of it.
    NotWiped(Arc<str>, Arc<str>),
    /// Another machine shows the same network card at the same time: both, for people.
    Contested(Arc<str>),
}

/// A disk as our agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDisk {
    pub id: Arc<str>,
    pub bytes: u64,
    /// Whether it found nothing on it.
    pub blank: bool,
}
