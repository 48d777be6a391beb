//! An installation takes a step that must be durable before the answer that depends on it is sent.

use std::sync::Arc;

use super::super::command::Outcome;
use super::super::life::Disk;
use super::super::lifecycle::{DiskState, disk};
use super::super::{Duty, Install, InstallStage, Permit, PermitStep, State};
use super::Applied;
use super::cycle::{self, Cycle};
use crate::model::{Caller, Name, Time};

/// Why a step of an installation was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    #[error("deployment {0} is no longer in the inventory")]
    Gone(Name),
    #[error("deployment {0} was changed meanwhile; the machine is to ask again")]
    Moved(Name),
    #[error("{0} is not installed now: {1}")]
    Kept(Name, String),
    #[error("this report belongs to an installation of {0} that is over")]
    Over(Name),
    #[error(
        "this report is of epoch {reported} of a machine whose present epoch is {current}: nothing was changed"
    )]
    Late { reported: u64, current: u64 },
    #[error("this report belongs to installation {reported} of {deployment}, whose present one is {current}")]
    Outdated { deployment: Name, reported: u64, current: u64 },
}

pub(super) fn apply(state: &mut State, permit: &Permit, now: Time, out: &mut Applied) -> Outcome {
    let (before, tenancies) = (state.lasting.installs.clone(), state.lasting.tenancies.clone());
    match state.take_step(permit, now) {
        Ok(()) => {
            out.steps(&before, state);
            out.tenancies(&tenancies, state);
            if permit.step == PermitStep::Spend {
                use_disks(state, &permit.deployment, now, out);
            }
            Outcome::Done
        }
        Err(stale) => Outcome::Refused(stale.to_string()),
    }
}

/// What is on the disks of a deployment's machine is its own from now on.
pub(super) fn use_disks(state: &mut State, deployment: &Name, now: Time, out: &mut Applied) {
    let Some(machine) = state.assignments().get(deployment).cloned() else { return };
    let is_new = |disk: &Disk| disk.state != DiskState::InUse;
    if !state.life(&machine).is_some_and(|life| life.disks.iter().any(is_new)) {
        return;
    }
    let mut cycle = Cycle { state, by: &Caller::MACHINE, now, out };
    let mut life = cycle.life(&machine);
    cycle::change(&mut life, disk::Cause::Used, |_| true);
    cycle.put_life(&machine, life);
}

pub(super) fn installed(state: &mut State, install: Install, out: &mut Applied) -> Outcome {
    if state.install_on(&install.machine, &install.deployment).is_none() {
        let before = state.lasting.installs.clone();
        let epoch = before.next_epoch();
        state.record_new(Install { epoch, ..install });
        out.steps(&before, state);
    }
    Outcome::Done
}

impl State {
    /// The second look at the state: another request may have been faster.
    fn take_step(&mut self, permit: &Permit, now: Time) -> Result<(), Stale> {
        let name = &permit.deployment;
        let deployment = self.deployment(name).ok_or_else(|| Stale::Gone(name.clone()))?;
        let Some(machine) =
            self.lasting.assignments.get(name).and_then(|name| self.desired.machines.get(name))
        else {
            return Err(Stale::Moved(name.clone()));
        };
        // It may have come to another machine meanwhile: a word of the former one is none of this one.
        let is_other = permit.epoch.is_some() && permit.epoch != self.epoch_of(name);
        if deployment.redeploy != permit.redeploy || is_other {
            return Err(Stale::Moved(name.clone()));
        }
        let current = self.install_on(&machine.name, name);
        if let Some(why) = self.kept_from(&machine.name).or_else(|| self.disk_hold(deployment)) {
            return Err(Stale::Kept(name.clone(), why));
        }
        // Another request took the same step, or the last place: the second look at the state decides.
        match (permit.step, self.duty(deployment), current) {
            (PermitStep::Start, Duty::Install { permit: true }, _) => {
                let install = Install::new(machine, deployment, InstallStage::Started, now);
                let (place, again) = (machine.name.clone(), self.starts_again(&machine.name));
                let epoch = self.epoch_to_begin(&place, name, now);
                self.record_new(Install { epoch, again, ..install });
            }
            (PermitStep::Spend, Duty::Install { permit: false }, Some(install)) => {
                let digest = deployment.digest.clone();
                let spent = Install { stage: InstallStage::Spent, since: now, digest, ..install.clone() };
                self.put_install(spent);
            }
            (PermitStep::Spend, _, None) => return Err(Stale::Moved(name.clone())),
            _ => {}
        }
        Ok(())
    }

    /// The epoch of an installation that begins now: its tenancy's, unless one that was used up, or one on another
    /// machine, has that already.
    fn epoch_to_begin(&mut self, machine: &Name, deployment: &Name, now: Time) -> u64 {
        let installs = &self.lasting.installs;
        let present = self.epoch_of(deployment).filter(|epoch| {
            let has = |one: &&Install| one.epoch == *epoch && (one.is_used() || one.machine != *machine);
            !installs.on(machine).iter().chain(installs.named(deployment)).any(|one| has(&one))
        });
        present.unwrap_or_else(|| self.raise_epoch(machine, now))
    }

    /// Puts an installation of `name` that has ended. Where it counted for `name` because of the machine alone, the
    /// deployment gets one of its own besides: it used its number up, wherever it goes.
    pub(in crate::state) fn end_install(&mut self, name: &Name, install: Install) {
        let own = Install {
            epoch: self.lasting.installs.next_epoch(),
            deployment: name.clone(),
            former: Arc::default(),
            ..install.clone()
        };
        let is_shared = install.deployment != *name;
        self.put_install(install);
        if is_shared {
            self.put_install(own);
        }
    }

    /// Records an installation in the place of the deployment's earlier ones on the machine.
    pub fn record_new(&mut self, install: Install) {
        self.lasting.installs.supersede(install.clone());
        let merged = self.lasting.installs.on(&install.machine).iter().find(|one| one.epoch == install.epoch);
        let merged = merged.cloned().unwrap_or(install);
        self.put_install(merged);
    }
}
