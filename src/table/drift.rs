//! Where machines are not as the inventory has them. Reported, never corrected: a machine that runs
//! is left alone.

use super::{InstallStage, Table};
use crate::desired::Deployment;
use crate::model::Name;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub deployment: Name,
    pub machine: Option<Name>,
    pub kind: DriftKind,
    pub actual: String,
    pub desired: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftKind {
    /// What was served at the installation is not what would be served now.
    Content,
    /// The machine uses another address.
    Address,
    /// It is installed on another machine.
    Machine,
}

impl Table {
    /// Every difference, by deployment.
    pub fn drift(&self) -> Vec<Drift> {
        self.desired.deployments.values().flat_map(|deployment| self.drift_of(deployment)).collect()
    }

    fn drift_of(&self, deployment: &Deployment) -> Vec<Drift> {
        let machine = self.assignments.get(&deployment.name);
        let mut found = Vec::new();
        let mut add = |kind, actual: String, desired: String| {
            let (deployment, machine) = (deployment.name.clone(), machine.cloned());
            found.push(Drift { deployment, machine, kind, actual, desired });
        };
        let installed = self.installs.get(&deployment.name);
        let installed = installed.filter(|install| install.stage == InstallStage::Installed);
        if let Some(install) = installed {
            if machine.is_some_and(|machine| *machine != install.machine) {
                let wanted = machine.map_or_else(String::new, ToString::to_string);
                add(DriftKind::Machine, install.machine.to_string(), wanted);
            }
            // A completion call without a script served before leaves no digest. Where another
            // installation is asked for already, the difference is wanted.
            let asked = install.redeploy < deployment.redeploy;
            if !asked && !install.digest.is_empty() && install.digest != deployment.digest {
                add(DriftKind::Content, short(&install.digest), short(&deployment.digest));
            }
        }
        let described = machine.and_then(|machine| self.desired.machines.get(machine));
        let seen = described
            .and_then(|machine| self.active_mac(machine))
            .and_then(|mac| self.seen.get(&mac))
            .and_then(|seen| seen.address);
        if let (Some(used), Some(wanted)) = (seen, deployment.address)
            && used != wanted
        {
            add(DriftKind::Address, used.to_string(), wanted.to_string());
        }
        found
    }
}

fn short(digest: &str) -> String {
    digest.get(..12).unwrap_or(digest).to_owned()
}
