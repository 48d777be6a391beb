//! The disk that a deployment is installed to, where our agent has seen those of its machine.
//!
//! Hints are resolved to one disk before anything is installed. Where none or several of the disks fit, the deployment
//! is held: its machine boots its own disk, and nothing is chosen by chance. Before our agent has seen any disk the
//! installer looks for the one that fits, and fails where it is not one.

use std::sync::Arc;

use super::{Duty, State};
use crate::desired::Deployment;
use crate::model::Name;
use crate::model::disk::{Hints, is_kernel_name};
use crate::model::facts::{DiskFacts, Facts};
use crate::render::Value;

/// Most disks that a message names.
const SHOWN: usize = 6;

impl State {
    /// The disks that our agent saw on a deployment's machine; `None` where it has not looked or has seen none: its kernel
    /// may lack their driver.
    fn seen_disks(&self, deployment: &Deployment) -> Option<(&Name, &[DiskFacts])> {
        let machine = self.lasting.assignments.get(&deployment.name)?;
        let disks = &self.facts(machine)?.disks;
        (!disks.is_empty()).then_some((machine, disks))
    }

    /// What is known of the hardware of a deployment's machine, where what the machine is served depends on it.
    pub(super) fn facts_of(&self, deployment: &Deployment) -> Option<&Arc<Facts>> {
        let is_hinted = matches!(deployment.values.get("disk"), Some(Value::Table(_)));
        let machine = self.lasting.assignments.get(&deployment.name).filter(|_| is_hinted)?;
        self.facts(machine)
    }

    /// The disk that a deployment's hints fit; `None` where it has no hints, or nothing is known of its machine's disks. The
    /// error says why they fit no single one.
    pub fn hinted_disk(&self, deployment: &Deployment) -> Result<Option<&DiskFacts>, String> {
        let Some(hints) = deployment.disk_hints() else { return Ok(None) };
        let Some((machine, disks)) = self.seen_disks(deployment) else { return Ok(None) };
        let fitting: Vec<&DiskFacts> = disks.iter().filter(|disk| hints.fits(disk)).collect();
        match fitting.as_slice() {
            [only] => Ok(Some(*only)),
            [] => Err(format!(
                "held: no disk of machine {machine} fits {hints}: our agent saw {}{}{}",
                listed(disks.iter()),
                proposal(&disks.iter().collect::<Vec<_>>(), disks),
                self.look_again(machine)
            )),
            several => Err(format!(
                "held: {} disks of machine {machine} fit {hints}: {}{}",
                several.len(),
                listed(several.iter().copied()),
                proposal(several, disks)
            )),
        }
    }

    /// How our agent is had to look at a machine again, whose disks may be others now.
    fn look_again(&self, machine: &Name) -> String {
        let boot = self.desired.agent.boots.values().next();
        let again = |name: &Name| {
            format!(
                "; `voldemortctl boot-once {machine} --boot {name}` has our agent look at the machine again"
            )
        };
        boot.map(|boot| again(&boot.name)).unwrap_or_default()
    }

    /// Why a deployment that is due to be installed is not: no single disk fits its hints.
    pub fn disk_hold(&self, deployment: &Deployment) -> Option<String> {
        let why = self.hinted_disk(deployment).err()?;
        matches!(self.due(deployment), Duty::Install { .. }).then_some(why)
    }

    /// What is doubtful about a disk that a deployment names as the kernel does.
    pub fn doubtful_disk(&self, deployment: &Deployment) -> Option<String> {
        let Some(Value::String(path)) = deployment.values.get("disk") else { return None };
        path.strip_prefix("/dev/").filter(|name| is_kernel_name(name))?;
        let (machine, disks) = self.seen_disks(deployment)?;
        let own = disks.iter().find(|disk| disk.path == *path);
        match (own, disks) {
            (None, _) => Some(format!(
                "our agent saw no {path} on machine {machine}, but {}{}",
                listed(disks.iter()),
                proposal(&disks.iter().collect::<Vec<_>>(), disks)
            )),
            (Some(_), [_]) => None,
            (Some(own), _) => Some(format!(
                "{path} may be another one of the {} disks of machine {machine} at each start; where our agent saw {}{}",
                disks.len(),
                own.described(),
                proposal(&[own], disks)
            )),
        }
    }

    /// The disk of a deployment in a few words, where our agent has seen those of its machine: which one the hints fit,
    /// why no single one, or what is doubtful about the name.
    pub fn disk_outlook(&self, deployment: &Deployment) -> Option<String> {
        match self.hinted_disk(deployment) {
            Ok(Some(disk)) => Some(disk.described()),
            Ok(None) => self.doubtful_disk(deployment).map(|doubt| format!("warning: {doubt}")),
            Err(why) => Some(why),
        }
    }
}

fn listed<'a>(disks: impl Iterator<Item = &'a DiskFacts>) -> String {
    let all: Vec<String> = disks.map(DiskFacts::described).collect();
    match all.len() {
        0..=SHOWN => all.join(", "),
        more => format!("{} and {} more", all[..SHOWN].join(", "), more - SHOWN),
    }
}

/// The hint that would choose each of these disks alone, as far as there is one.
fn proposal(disks: &[&DiskFacts], all: &[DiskFacts]) -> String {
    let hints = disks.iter().take(SHOWN).filter_map(|disk| Hints::telling(disk, all));
    let hints: Vec<String> = hints.map(|hints| format!("`disk = {hints}`")).collect();
    match hints.is_empty() {
        true => "; no hint tells them apart: name one below /dev/disk/by-path".to_owned(),
        false => format!("; {} fits one alone", hints.join(" or ")),
    }
}
