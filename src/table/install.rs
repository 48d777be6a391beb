//! Permission to install: one-shot, for one deployment and one `redeploy` number.
//!
//! The order that keeps disks safe: a step is stored before the answer that makes it possible
//! leaves. *Started* is stored before the first script with an installer's kernel line, *Spent*
//! before the first answer that can destroy data (the answer file; where the kernel line names
//! none, the last initrd). A machine that boots again while Started has destroyed nothing and
//! starts over. One that boots again while Spent may have, and its report may be lost: it is
//! told to boot its disk, for ever, until a person raises `redeploy`.

use std::fmt;
use std::sync::Arc;

use super::Table;
use crate::desired::Deployment;
use crate::model::{Name, Time};

/// How far the latest installation of a deployment got.
#[derive(Clone, Debug, PartialEq)]
pub struct Install {
    pub machine: Name,
    /// The deployment's `redeploy` number that was used up.
    pub redeploy: u64,
    pub stage: InstallStage,
    /// When `stage` was entered.
    pub since: Time,
    /// The deployment's digest when its script was served.
    pub digest: Arc<str>,
    /// Whether it wiped an earlier installation and so takes one of the places that `max-in-flight`
    /// counts.
    pub again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStage {
    /// The installer's kernel line was served; nothing was destroyed yet.
    Started,
    /// An answer that can destroy data was served.
    Spent,
    /// The machine booted again without having reported.
    Unreported,
    /// The installer reported failure.
    Failed,
    Installed,
}

impl InstallStage {
    pub const ALL: [InstallStage; 5] = [
        InstallStage::Started,
        InstallStage::Spent,
        InstallStage::Unreported,
        InstallStage::Failed,
        InstallStage::Installed,
    ];
}

impl fmt::Display for InstallStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InstallStage::Started => "started",
            InstallStage::Spent => "spent",
            InstallStage::Unreported => "unreported",
            InstallStage::Failed => "failed",
            InstallStage::Installed => "installed",
        })
    }
}

/// What a network boot of a deployment's machine is to lead to.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// The installer. `permit` tells whether the start must be stored first.
    Install { permit: bool },
    /// The deployment's kernel, every time (diskless).
    NetworkBoot,
    /// The machine's own disk, for this reason.
    LocalBoot(String),
}

/// A step of an installation that must be durable before its answer leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    pub deployment: Name,
    pub redeploy: u64,
    pub step: PermitStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitStep {
    /// The installer's kernel line is about to be served.
    Start,
    /// An answer that can destroy data is about to be served.
    Spend,
}

/// The installer's own word.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub deployment: Name,
    pub redeploy: u64,
    pub outcome: Outcome,
    /// What the caller added (query or body), shortened and made printable.
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Progress,
    Completed,
    Failed,
}

impl Table {
    /// What a network boot leads to now. A reinstallation may have to wait for its turn.
    pub fn duty(&self, deployment: &Deployment) -> Duty {
        match self.due(deployment) {
            Duty::Install { permit: true } => match self.waits(&deployment.name) {
                Some(why) => Duty::LocalBoot(why),
                None => Duty::Install { permit: true },
            },
            duty => duty,
        }
    }

    /// What a network boot leads to as soon as nothing has to be waited for.
    pub fn due(&self, deployment: &Deployment) -> Duty {
        if !deployment.installs() {
            return Duty::NetworkBoot;
        }
        let Some(machine) = self.assignments.get(&deployment.name) else {
            return Duty::LocalBoot("no machine is assigned".into());
        };
        let Some(install) = self.installs.get(&deployment.name) else {
            return Duty::Install { permit: true };
        };
        if install.redeploy < deployment.redeploy {
            if self.protected.contains(machine) && install.stage != InstallStage::Started {
                return Duty::LocalBoot(format!(
                    "machine {machine} is protected: redeploy = {} waits for protect = false",
                    deployment.redeploy
                ));
            }
            return Duty::Install { permit: true };
        }
        if install.machine != *machine {
            return Duty::LocalBoot(format!(
                "redeploy = {} was used on machine {}; raise it to install on {machine}",
                install.redeploy, install.machine
            ));
        }
        match install.stage {
            InstallStage::Started => Duty::Install { permit: false },
            InstallStage::Spent | InstallStage::Unreported => Duty::LocalBoot(format!(
                "installation {} got its answers and never reported; raise redeploy to install again",
                install.redeploy
            )),
            InstallStage::Failed => Duty::LocalBoot(format!(
                "installation {} reported failure; raise redeploy to install again",
                install.redeploy
            )),
            InstallStage::Installed => Duty::LocalBoot("installed".into()),
        }
    }
}
