//! Permission to install: one-shot, for one machine, one tenancy of it and one `redeploy` number. The names
//! of machines and deployments are labels: whatever they are called later, a number that was used on a
//! machine stays used there.
//!
//! The order that keeps disks safe: a step is stored before the answer that makes it possible is sent.
//! *Started* is stored before the first script with an installer's kernel line, *Spent* before the first
//! answer that can destroy data (the answer file; where the kernel line names none, the last initrd). A
//! machine that boots again while Started has destroyed nothing and starts over. One that boots again while
//! Spent may have, and its report may be lost: it boots its disk until a person raises `redeploy`.

use std::sync::Arc;

use super::{State, conflict};
use crate::desired::{Deployment, Machine};
use crate::model::words::words;
use crate::model::{Identity, Mac, Name, Time};

/// How far the latest installation of a deployment on a machine got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The machine, by its present name.
    pub machine: Name,
    /// The network cards it was last known with; empty where it had none or that was never noted.
    pub cards: Arc<[Mac]>,
    /// The other marks it was last known by; empty likewise.
    pub marks: Arc<[Identity]>,
    /// The deployment, by its present or last name.
    pub deployment: Name,
    /// Other names that it had.
    pub former: Arc<[Name]>,
    /// What it was called when the number was used.
    pub used_as: Name,
    /// Number of the installation: of two on one machine the higher is the later. Its URLs are made of it.
    pub epoch: u64,
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
    /// Whether another deployment has its name now: it counts on its own machine alone.
    pub closed: bool,
    /// Whether its URLs may be those of a version that made them of name and number alone.
    pub plain_urls: bool,
    /// Whether it is doubtful because stored installations of the machine contradicted each other (`conflict`).
    pub conflict: bool,
}

impl Install {
    /// An installation of this very moment.
    pub fn new(machine: &Machine, deployment: &Deployment, stage: InstallStage, now: Time) -> Install {
        Install {
            machine: machine.name.clone(),
            cards: machine.macs.as_slice().into(),
            marks: machine.ids.as_slice().into(),
            deployment: deployment.name.clone(),
            former: Arc::default(),
            used_as: deployment.name.clone(),
            epoch: 0,
            redeploy: deployment.redeploy,
            stage,
            since: now,
            digest: deployment.digest.clone(),
            again: false,
            closed: false,
            plain_urls: false,
            conflict: false,
        }
    }
}

words! {
    /// How far an installation got.
    pub enum InstallStage {
        /// A new or restored state was asked for it, and it is unknown whether the machine has its system
        /// already.
        Doubtful = "doubtful",
        /// A person agreed to an installation that was doubtful.
        Approved = "approved",
        /// The installer's kernel line was served; nothing was destroyed yet.
        Started = "started",
        /// An answer that can destroy data was served.
        Spent = "spent",
        /// The machine booted again without having reported.
        Unreported = "unreported",
        /// The installer reported failure.
        Failed = "failed",
        Installed = "installed",
    }
}

/// What a network boot of a deployment's machine is to lead to.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// The installer. `permit` decides whether the start must be stored first.
    Install { permit: bool },
    /// The deployment's kernel, every time (diskless).
    NetworkBoot,
    /// The machine's own disk, for this reason.
    LocalBoot(String),
}

words! {
    /// What a network boot leads to, in a word for metrics.
    pub enum NextBoot {
        Install = "install",
        NetworkBoot = "network-boot",
        LocalBoot = "local-boot",
    }
}

impl Duty {
    pub const fn next_boot(&self) -> NextBoot {
        match self {
            Duty::Install { .. } => NextBoot::Install,
            Duty::NetworkBoot => NextBoot::NetworkBoot,
            Duty::LocalBoot(_) => NextBoot::LocalBoot,
        }
    }
}

/// A step of an installation that must be durable before its answer leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    pub deployment: Name,
    pub redeploy: u64,
    /// The tenancy that the step was decided under; `None`: whichever the deployment has now.
    pub epoch: Option<u64>,
    pub step: PermitStep,
}

impl Permit {
    /// A step of a deployment as it is now.
    pub fn new(state: &State, deployment: &Deployment, step: PermitStep) -> Permit {
        let (name, redeploy) = (deployment.name.clone(), deployment.redeploy);
        Permit { epoch: state.epoch_of(&name), deployment: name, redeploy, step }
    }
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
    /// The installation it is of, or the tenancy where none was begun; `None`: the deployment's on the machine that
    /// it has.
    pub epoch: Option<u64>,
    pub outcome: Outcome,
    /// What the caller added (query or body), shortened and made printable.
    pub note: String,
}

/// What an installer said of an installation that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub at: Time,
    /// Printable; may be empty.
    pub note: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Progress,
    Completed,
    Failed,
    /// A person says so in the installer's place.
    Adopted,
}

impl Outcome {
    /// Whether the machine is installed by it.
    pub fn is_success(self) -> bool {
        matches!(self, Outcome::Completed | Outcome::Adopted)
    }
}

impl State {
    /// What a network boot leads to now. A reinstallation may have to wait for its turn.
    pub fn duty(&self, deployment: &Deployment) -> Duty {
        match self.due(deployment) {
            Duty::Install { .. } if let Some(why) = self.kept_of(&deployment.name) => Duty::LocalBoot(why),
            Duty::Install { .. } if let Err(why) = self.hinted_disk(deployment) => Duty::LocalBoot(why),
            Duty::Install { permit: true } => match self.waits(&deployment.name) {
                Some(why) => Duty::LocalBoot(why),
                None => Duty::Install { permit: true },
            },
            duty => duty,
        }
    }

    /// The installation of a deployment on the machine that it has.
    pub fn install_of(&self, deployment: &Name) -> Option<&Install> {
        self.install_on(self.lasting.assignments.get(deployment)?, deployment)
    }

    /// The installation that counts for a deployment on a machine: of several under names that it had, the
    /// one with the highest number; of these one that was used up, else one of its own that a person or a
    /// script opened, else a doubtful one. An installation that another machine of the same name used up
    /// counts where this one used nothing.
    pub fn install_on(&self, machine: &Name, deployment: &Name) -> Option<&Install> {
        let (cards, marks) = self.declared(machine);
        let own = self.lasting.installs.on(machine).iter().filter(|install| install.is_named(deployment));
        let rank = |install: &Install| match install.stage {
            InstallStage::Doubtful => 1,
            _ if install.is_used() => 3,
            _ if install.deployment == *deployment => 2,
            _ => 0,
        };
        own.max_by_key(|install| {
            (install.is_of(cards, marks), install.redeploy, rank(install), install.epoch)
        })
    }

    /// The id by which cloud-init knows an installation of the deployment: another one for each number that is
    /// used up, and the same one whatever the deployment is called later, or what its manifest asks for next.
    pub fn instance_id(&self, deployment: &Deployment) -> String {
        match self.install_of(&deployment.name) {
            Some(install) => format!("{}-{}", install.used_as, install.redeploy),
            None => format!("{}-{}", deployment.name, deployment.redeploy),
        }
    }

    /// What a machine is known by.
    fn declared(&self, machine: &Name) -> (&[Mac], &[Identity]) {
        self.desired.machines.get(machine).map_or((&[], &[]), |machine| (&machine.macs, &machine.ids))
    }

    /// Where else than on `machine` a deployment used the highest number. A person's word to install it on one
    /// machine is none for another.
    fn used_elsewhere(&self, deployment: &Name, machine: &Name) -> Option<&Install> {
        let others = self.lasting.installs.named(deployment).filter(|install| {
            let is_own = install.deployment == *deployment || install.stage == InstallStage::Doubtful;
            let counts = is_own && !install.closed && install.stage != InstallStage::Started;
            install.machine != *machine && counts
        });
        others.max_by_key(|install| (install.redeploy, install.epoch))
    }

    /// The highest `redeploy` number that installs nothing any more.
    pub fn used_number(&self, deployment: &Name) -> Option<u64> {
        let machine = self.lasting.assignments.get(deployment);
        let here = machine.and_then(|machine| self.install_on(machine, deployment));
        let any = self
            .lasting
            .installs
            .named(deployment)
            .filter(|one| one.deployment == *deployment && !one.closed);
        here.into_iter().chain(any).map(|install| install.redeploy).max()
    }

    /// What a network boot leads to as soon as nothing has to be waited for.
    pub fn due(&self, deployment: &Deployment) -> Duty {
        if !deployment.installs() {
            return Duty::NetworkBoot;
        }
        let (name, wanted) = (&deployment.name, deployment.redeploy);
        let Some(machine) = self.lasting.assignments.get(name) else {
            return Duty::LocalBoot(self.why_unassigned(deployment));
        };
        let damaged = [name, machine].into_iter().find(|name| self.lasting.damaged.contains(*name));
        if let Some(damaged) = damaged {
            return Duty::LocalBoot(format!(
                "the state directory's record of {damaged} is damaged, so it is unknown whether {machine} was \
                 installed; settle with `voldemortctl adopt {name}` (its disk is kept), or restore a backup"
            ));
        }
        let here = self.install_on(machine, name);
        if here.is_none() && self.lasting.trust.is_unbegun(name) {
            return Duty::LocalBoot(format!(
                "doubtful: the state was restored from a backup that was made before {machine} was installed for \
                 {name}, so that it may have its system, or be somebody else's by now; look, then release {name}"
            ));
        }
        // What another deployment opened here is no permission for this one.
        let is_spent = |install: &Install| install.is_used() || install.deployment != *name;
        let settled = here.filter(|install| install.redeploy >= wanted && is_spent(install));
        if let Some(install) = settled {
            return Duty::LocalBoot(self.why_not_again(install, deployment));
        }
        let elsewhere = self.used_elsewhere(name, machine).filter(|install| install.redeploy >= wanted);
        if let Some(Install { redeploy, machine: used_on, used_as, .. }) = elsewhere {
            let by = if used_as == name { String::new() } else { format!(" as {used_as}") };
            return Duty::LocalBoot(format!(
                "redeploy = {redeploy} was used on machine {used_on}{by}; raise it to install on {machine}"
            ));
        }
        match here {
            Some(install) if install.redeploy > wanted => Duty::LocalBoot(format!(
                "redeploy was lowered from {} to {wanted}; raise it above to install",
                install.redeploy
            )),
            Some(install) if install.redeploy == wanted => {
                Duty::Install { permit: install.stage != InstallStage::Started }
            }
            Some(install) if self.lasting.protected.contains(machine) && install.is_used() => {
                Duty::LocalBoot(format!(
                    "machine {machine} is protected: redeploy = {wanted} waits for protect = false"
                ))
            }
            _ => Duty::Install { permit: true },
        }
    }

    /// How far an installation said that it is, to follow a sentence about it.
    fn last_said(&self, install: &Install) -> String {
        match self.progress(install.epoch) {
            Some(Progress { at, note }) if note.is_empty() => format!(", last reported progress at {at}"),
            Some(Progress { at, note }) => format!(", last reported at {at}: {note}"),
            None => String::new(),
        }
    }

    /// Why a machine boots its disk whose deployment's number is used up: what became of the
    /// installation, and under which name and number it was, where those are others today.
    fn why_not_again(&self, install: &Install, deployment: &Deployment) -> String {
        let Install { machine, redeploy, .. } = install;
        let ended = match install.stage {
            InstallStage::Doubtful if install.conflict => {
                let name = &deployment.name;
                return format!(
                    "doubtful: {}; settle with `voldemortctl approve installs {name}` (its disk is overwritten) or \
                     `voldemortctl adopt {name}` (it is kept)",
                    conflict::text(machine)
                );
            }
            InstallStage::Doubtful => {
                let name = &deployment.name;
                return format!(
                    "doubtful: this state directory is new or restored, and {machine} may have its system \
                     already; settle with `voldemortctl approve installs {name}` (its disk is overwritten) or \
                     `voldemortctl adopt {name}` (it is kept)"
                );
            }
            InstallStage::Spent => format!(
                "installation {redeploy} is under way: it got its answers at {}{}, and its end is awaited",
                install.since,
                self.last_said(install)
            ),
            InstallStage::Unreported => format!(
                "installation {redeploy} got its answers, and its machine booted again at {} without a report{}: if \
                 its system runs, `voldemortctl adopt {}` records that; if not, raise redeploy to install again (its \
                 disk is overwritten)",
                install.since,
                self.last_said(install),
                deployment.name
            ),
            InstallStage::Failed => format!(
                "installation {redeploy} reported failure; raise redeploy to install again (its disk is overwritten)"
            ),
            _ => "installed".into(),
        };
        let mut notes = Vec::new();
        let by = if install.used_as == deployment.name {
            String::new()
        } else {
            format!(" as {}", install.used_as)
        };
        let (cards, marks) = self.declared(machine);
        if !install.is_of(cards, marks) {
            let then = list(&install.cards, &install.marks);
            notes.push(format!(
                "redeploy = {redeploy} was used on machine {machine}{by} when it had {then}; raise it to \
                 install the box with {}",
                list(cards, marks)
            ));
        } else if !by.is_empty() || redeploy != &deployment.redeploy {
            notes.push(format!(
                "redeploy = {redeploy} was used on machine {machine}{by}; raise it above to install"
            ));
        }
        let later = self.lasting.installs.on_disk(machine).filter(|one| one.epoch > install.epoch);
        if let Some(other) = later {
            notes.push(format!(
                "{} was installed there since, with redeploy = {}; raise redeploy to install {}",
                other.used_as, other.redeploy, deployment.name
            ));
        }
        if notes.is_empty() { ended } else { format!("{ended}: {}", notes.join("; ")) }
    }
}

fn list(cards: &[Mac], marks: &[Identity]) -> String {
    let cards = cards.iter().map(ToString::to_string);
    cards.chain(marks.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
}
