//! What machines, their controllers, installers and our agent do.

use std::sync::Arc;

use voldemort::state::life::{AgentReport, Instruction, Said};
use voldemort::state::lifecycle::Boot;
use voldemort::state::outbox::{EffectId, Pending, Progress, Task};
use voldemort::state::{Command, Outcome as Report, Permit, PermitStep, State, Verb};

use super::metal::{Content, Controller, Runs};
use super::{Cloud, Did, HOUR, Item, MINUTE, SECOND};

impl Cloud {
    /// A controller gets a task.
    pub(super) fn control(&mut self, pending: &Pending) {
        let Some(state) = self.state() else { return };
        if !self.started.insert(pending.id) {
            return;
        }
        let machine = self.by_name[pending.task.subject()];
        if !state.wants(&pending.task) {
            let verb = Verb::Progress(pending.id, Progress::GivenUp("it is not wanted any more".into()));
            return self.arrive(Command::daemon(verb));
        }
        let kind = if self.is_trouble { self.metal[machine].controller } else { Controller::Good };
        let (wait, acts) = match kind {
            Controller::Good => (self.dice.below(MINUTE), true),
            Controller::Slow => (self.dice.below(2 * HOUR), true),
            Controller::Liar => (self.dice.below(MINUTE), false),
            Controller::Dead => return,
        };
        self.later(wait, Item::Controlled { id: pending.id, machine, acts });
    }

    pub(super) fn controlled(&mut self, id: EffectId, machine: usize, acts: bool) {
        let Some(state) = self.state() else { return };
        let Some(pending) = state.outbox().get(id).cloned() else { return };
        // It looks last, right before it acts.
        if acts && state.wants(&pending.task) {
            let epoch = pending.task.epoch().unwrap();
            match &pending.task {
                Task::Restart { machine: name, .. } => {
                    assert_eq!(
                        state.agent_epoch(name),
                        epoch,
                        "{name} is restarted for an order that is over"
                    );
                    self.restart(machine);
                }
                Task::PowerOff { machine: name, .. } => {
                    assert!(state.tenancy(name).is_none(), "{name} is somebody's and is switched off");
                    self.metal[machine].boot += 1;
                    self.metal[machine].runs = Runs::Nothing;
                }
                _ => unreachable!("no other task is caused here"),
            }
        }
        self.arrive(Command::daemon(Verb::Progress(id, Progress::Done)));
    }

    /// The power of a machine is cut, and comes back.
    pub(super) fn restart(&mut self, machine: usize) {
        let metal = &mut self.metal[machine];
        (metal.boot, metal.runs) = (metal.boot + 1, Runs::Nothing);
        let boot = metal.boot;
        let wait = self.dice.between(SECOND, 3 * MINUTE);
        self.later(wait, Item::Boot { machine, boot });
    }

    pub(super) fn boot(&mut self, machine: usize, boot: u64) {
        if self.metal[machine].boot != boot {
            return;
        }
        let again = self.dice.between(MINUTE, 5 * MINUTE);
        let lost = self.is_trouble && self.dice.percent(10);
        let Some(state) = self.state().filter(|_| !lost) else {
            return self.later(again, Item::Boot { machine, boot });
        };
        let name = self.metal[machine].name.clone();
        match state.boot_of(&name, false) {
            Boot::Agent => {
                self.metal[machine].runs = Runs::Agent(state.agent_epoch(&name));
                let wait = self.dice.below(2 * MINUTE);
                self.later(wait, Item::Agent { machine, boot, did: Did::Nothing });
            }
            Boot::Installer => self.later(0, Item::Install { machine, boot, step: 0 }),
            Boot::Kernel => {}
            Boot::Disk => {
                self.metal[machine].runs = Runs::System;
                // As the daemon does when it has served a script that boots the disk.
                let tenant = state.tenant(&name).map(|tenant| tenant.name.clone());
                let install = tenant.as_ref().and_then(|tenant| state.install_of(tenant));
                if let (Some(deployment), Some(install)) = (tenant.clone(), install) {
                    let verb = Verb::Reboot { deployment, epoch: install.epoch, at: self.clock() };
                    self.send(Command::machine(verb));
                }
            }
        }
    }

    /// An installer asks for its script, then for its answers, then writes and reports.
    pub(super) fn install(&mut self, machine: usize, boot: u64, step: u8) {
        if self.metal[machine].boot != boot {
            return;
        }
        let Some(state) = self.state() else { return self.restart(machine) };
        if self.is_trouble && self.dice.percent(4) {
            return self.restart(machine);
        }
        let name = self.metal[machine].name.clone();
        let tenant = state.tenant(&name).cloned();
        match (step, tenant, self.metal[machine].runs.clone()) {
            (0, Some(tenant), _) => {
                let permit = Permit::new(&state, &tenant, PermitStep::Start);
                let epoch = state.epoch_of(&tenant.name).unwrap_or(0);
                self.metal[machine].runs = Runs::Installer { tenant: tenant.name.clone(), epoch };
                self.send(Command::machine(Verb::Permit(permit)));
                // Whoever hears nothing tries again from the beginning.
                let wait = self.dice.between(10 * MINUTE, 20 * MINUTE);
                self.later(wait, Item::Boot { machine, boot });
            }
            (1, Some(own), Runs::Installer { tenant, epoch }) if own.name == tenant => {
                let permit = Permit { epoch: Some(epoch), ..Permit::new(&state, &own, PermitStep::Spend) };
                self.send(Command::machine(Verb::Permit(permit)));
            }
            (2, _, Runs::Installer { tenant, epoch }) => {
                self.write(machine, epoch, &state);
                let outcome = if self.dice.percent(90) { Report::Completed } else { Report::Failed };
                let report = voldemort::state::Report {
                    deployment: tenant,
                    redeploy: 0,
                    epoch: Some(epoch),
                    outcome,
                    note: String::new(),
                };
                self.send(Command::machine(Verb::Report(report)));
                self.restart(machine);
            }
            _ => {}
        }
    }

    /// An installer that has its answers writes to the disks, once.
    pub(super) fn write(&mut self, machine: usize, epoch: u64, state: &State) {
        let name = self.metal[machine].name.clone();
        self.rules.installs(&name, epoch);
        if let Some(claim) =
            state.claim_on(&name).filter(|claim| ["ci", "lab"].contains(&claim.pool.as_str()))
        {
            assert!(
                self.metal[machine].is_blank(),
                "{name} was given to {} with something on it",
                claim.name
            );
        }
        self.metal[machine].disks.iter_mut().for_each(|(_, content)| *content = Content::System(epoch));
    }

    pub(super) fn agent(&mut self, machine: usize, boot: u64, did: Did) {
        let metal = &self.metal[machine];
        let Runs::Agent(epoch) = metal.runs else { return };
        if metal.boot != boot {
            return;
        }
        if self.is_trouble && self.dice.percent(2) {
            return self.restart(machine);
        }
        let (card, name) = (metal.card, metal.name.clone());
        let report = |said| {
            Command::machine(Verb::Agent(AgentReport { card, subnet: None, epoch, start: None, said }))
        };
        let blank = metal.is_blank();
        match did {
            Did::Nothing => {
                let cards = match self.is_trouble && self.dice.below(200) == 0 {
                    // It has a card of another machine as well.
                    true => [card, self.metal[(machine + 1) % self.metal.len()].card].into(),
                    false => [card].into(),
                };
                let disks = self.metal[machine].seen();
                self.send(report(Said::Hello { cards, disks, facts: None }));
            }
            Did::Wiped => self.send(report(Said::Wiped("{}".into()))),
            Did::Verified => self.send(report(Said::Verified(blank))),
        }
        if self.is_trouble && self.dice.below(300) == 0 {
            let said = if self.dice.percent(50) {
                Said::Verified(true)
            } else {
                Said::Failed("a bad sector".into())
            };
            // What it says may be wrong, where the daemon can see that.
            if matches!(said, Said::Failed(_)) || did == Did::Nothing {
                self.send(report(said));
            }
        }
        let next = match self.state().map(|state| state.instruction(&name, epoch)) {
            Some(Instruction::Wipe { disks, .. }) => {
                self.wipe(machine, &disks);
                Did::Wiped
            }
            Some(Instruction::Verify { .. }) => Did::Verified,
            Some(Instruction::Leave) if epoch > 0 || did != Did::Nothing => return self.restart(machine),
            Some(Instruction::Leave) => {
                // It has shown the hardware; it hands over to the disk.
                let wait = self.dice.below(10 * MINUTE);
                self.metal[machine].runs = Runs::System;
                if self.dice.percent(30) {
                    self.metal[machine].runs = Runs::Agent(0);
                    self.later(wait, Item::Agent { machine, boot, did: Did::Nothing });
                }
                return;
            }
            Some(Instruction::Wait) | None => Did::Nothing,
        };
        let wait = self.dice.between(30 * SECOND, 4 * MINUTE);
        self.later(wait, Item::Agent { machine, boot, did: next });
    }

    pub(super) fn wipe(&mut self, machine: usize, named: &[Arc<str>]) {
        let name = self.metal[machine].name.clone();
        self.rules.wipes(&name);
        let state = self.state().unwrap();
        let present = state.tenancy(&name).map(|tenancy| tenancy.epoch);
        for id in named {
            let owner = state.owner_of(id).filter(|owner| **owner != name);
            assert!(owner.is_none(), "{name} is told to wipe {id}, which is {owner:?}'s");
        }
        for (id, content) in self.metal[machine].disks.iter_mut().filter(|(id, _)| named.contains(id)) {
            assert!(
                !matches!(content, Content::System(epoch) if Some(*epoch) == present),
                "{id} of {name} is in use"
            );
            *content = Content::Blank;
        }
    }
}
