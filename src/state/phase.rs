//! How far a deployment has come, in one word.

use super::{Duty, InstallStage, State};
use crate::desired::Deployment;
use crate::model::Phase;

impl State {
    /// How far a deployment has come on the machine that it has.
    pub fn phase(&self, deployment: &Deployment) -> Phase {
        let stage = self.install_of(&deployment.name).map(|install| install.stage);
        match (self.due(deployment), self.lasting.assignments.get(&deployment.name), stage) {
            (Duty::NetworkBoot, ..) => Phase::NetworkBoot,
            (_, None, _) => Phase::Unassigned,
            (Duty::Install { permit: true }, ..) | (_, _, None | Some(InstallStage::Approved)) => {
                Phase::Waiting
            }
            (_, _, Some(InstallStage::Doubtful)) => Phase::Doubtful,
            (_, _, Some(InstallStage::Started)) => Phase::Installing,
            (_, _, Some(InstallStage::Spent)) => Phase::Spent,
            (_, _, Some(InstallStage::Unreported)) => Phase::Unreported,
            (_, _, Some(InstallStage::Failed)) => Phase::Failed,
            (_, _, Some(InstallStage::Installed)) => Phase::Installed,
        }
    }
}
