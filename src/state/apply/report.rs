//! What the installer, or a person in its place, says of an installation, and what a machine says of it by booting
//! again.

use super::super::command::Outcome;
use super::super::{Event, Install, InstallStage, Outcome as Said, Progress, Report, Stage, State};
use super::cycle::Cycle;
use super::{Applied, Stale, claim, observe, permit};
use crate::model::{Caller, Name, Time};

pub(super) fn apply(state: &mut State, report: &Report, now: Time, out: &mut Applied) -> Outcome {
    let before = state.lasting.installs.clone();
    if let Err(stale) = state.take_report(report, now) {
        return Outcome::Refused(stale.to_string());
    }
    out.steps(&before, state);
    if report.outcome != Said::Progress {
        permit::use_disks(state, &report.deployment, now, out);
    }
    if report.outcome.is_success() {
        let by = &Caller::MACHINE;
        claim::installed(Cycle { state, by, now, out }, &report.deployment);
    }
    state.note_progress(report, now);
    let stage = match report.outcome {
        Said::Progress => Stage::Progress,
        Said::Completed => Stage::Completed,
        Said::Failed => Stage::Failed,
        Said::Adopted => Stage::Adopted,
    };
    let mac = state.mac_of(&report.deployment);
    let deployment = Some(report.deployment.clone());
    let event = Event { mac, deployment, ..Event::new(now, stage, report.note.clone()) };
    observe::observe(state, event, out);
    Outcome::Done
}

/// The machine of a deployment that got its answers boots again and has not reported.
pub(super) fn reboot(
    state: &mut State,
    deployment: &Name,
    epoch: u64,
    at: Time,
    out: &mut Applied,
) -> Outcome {
    let install = state.install_of(deployment);
    let spent =
        install.filter(|install| install.stage == InstallStage::Spent && install.epoch == epoch).cloned();
    if let Some(install) = spent {
        let before = state.lasting.installs.clone();
        state.put_install(Install { stage: InstallStage::Unreported, since: at, ..install });
        out.steps(&before, state);
    }
    Outcome::Done
}

/// Installations whose progress is remembered at most.
const PROGRESS_MAX: usize = 1 << 16;

impl State {
    /// Remembers what the installer said last, until its installation has ended.
    fn note_progress(&mut self, report: &Report, now: Time) {
        let install = self.install_of(&report.deployment);
        let Some(epoch) = install.map(|install| install.epoch) else { return };
        let is_its = report.epoch.is_none_or(|own| own == epoch);
        if report.outcome != Said::Progress {
            self.observed.progress.remove(&epoch);
        } else if is_its && self.observed.progress.len() < PROGRESS_MAX {
            self.observed.progress.insert(epoch, Progress { at: now, note: report.note.as_str().into() });
        }
    }

    /// Records what the installer said. Completion ends the permission whatever was recorded
    /// before; saying it twice is harmless.
    fn take_report(&mut self, report: &Report, now: Time) -> Result<(), Stale> {
        let name = &report.deployment;
        let current = match report.epoch {
            Some(epoch) => match self.lasting.installs.named(name).find(|install| install.epoch == epoch) {
                Some(own) => match self.superseded_by(own) {
                    Some(current) => return Err(Stale::Late { reported: epoch, current }),
                    None => Some(own),
                },
                None if self.epoch_of(name) == Some(epoch) => self.install_of(name),
                None => return Err(Stale::Over(name.clone())),
            },
            None => self.install_of(name),
        };
        if let Some(install) = current.filter(|install| install.redeploy > report.redeploy) {
            return Err(Stale::Outdated {
                deployment: name.clone(),
                reported: report.redeploy,
                current: install.redeploy,
            });
        }
        let same = current.filter(|install| install.redeploy == report.redeploy);
        let stage = match (report.outcome, same.map(|install| install.stage)) {
            (Said::Progress, _) | (Said::Failed, Some(InstallStage::Installed)) => return Ok(()),
            (Said::Completed | Said::Adopted, Some(InstallStage::Installed)) => return Ok(()),
            (Said::Completed | Said::Adopted, _) => InstallStage::Installed,
            (Said::Failed, _) => InstallStage::Failed,
        };
        if let Some(install) = same {
            let reported = Install { stage, since: now, ..install.clone() };
            self.end_install(name, reported);
            return Ok(());
        }
        let deployment = self.deployment(name);
        let machine =
            self.lasting.assignments.get(name).and_then(|machine| self.desired.machines.get(machine));
        let (Some(deployment), Some(machine)) = (deployment, machine) else {
            return Err(Stale::Gone(name.clone()));
        };
        let install = Install::new(machine, deployment, stage, now);
        let digest = current.map_or_else(|| "".into(), |install| install.digest.clone());
        let (epoch, again) =
            (self.lasting.installs.next_epoch(), current.is_some_and(|install| install.again));
        self.record_new(Install { epoch, again, digest, redeploy: report.redeploy, ..install });
        Ok(())
    }
}
