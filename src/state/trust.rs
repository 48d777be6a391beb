//! What a new or restored state directory does not know: whether machines have their systems already.
//! The installations that the first revision of each source asks for are *doubtful* then: their machines
//! boot their disks until a person settles them. What is added or raised later is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claim::Granted;
use super::outbox::EffectId;
use super::{Claim, Duty, Install, InstallStage, State};
use crate::desired::{Deployment, Desired};
use crate::model::{Name, Time};

/// The name of the stored note that holds a [`Trust`].
pub const NOTE: &str = "trust";

/// Which sources may ask for installations without a person's word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trust {
    /// Whether this state began new, or from a backup, and was not declared a new site.
    doubtful: bool,
    /// The sources whose first revision was adopted since; an only source is called "".
    settled: BTreeSet<String>,
    /// Claims that had a machine and had not begun to install when the backup was made that this state began from.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    unbegun: BTreeSet<String>,
    /// Effects that were cancelled because the state is a restored one; the log has them until that is settled.
    #[serde(skip)]
    pub(super) cancelled: Vec<EffectId>,
    /// Claims that do not end by themselves any more, likewise.
    #[serde(skip)]
    pub(super) endless: Vec<Name>,
}

impl Trust {
    /// Of a state that knows nothing, or of a restored one.
    pub fn doubtful() -> Trust {
        Trust { doubtful: true, ..Trust::default() }
    }

    /// Of a state whose note was not written: by an earlier version, or because it is new.
    pub fn of_note(note: Option<&[u8]>, is_new: bool) -> Trust {
        match note {
            // A damaged note settles nothing.
            Some(note) => serde_json::from_slice(note).unwrap_or_else(|_| Trust::doubtful()),
            None if is_new => Trust::doubtful(),
            None => Trust::default(),
        }
    }

    pub fn note(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("JSON holds a flag and a list of names")
    }

    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The first revision of the source was adopted; true if that is news.
    pub fn settle(&mut self, source: Option<&Name>) -> bool {
        self.doubtful && self.settled.insert(source.map(ToString::to_string).unwrap_or_default())
    }

    /// Whether no revision of the source was adopted since.
    pub fn awaits(&self, source: Option<&Name>) -> bool {
        self.doubtful && !self.settled.contains(source.map_or("", Name::as_str))
    }

    /// Whether a claim may have been installed after the backup was made that this state began from.
    pub(super) fn is_unbegun(&self, claim: &Name) -> bool {
        self.unbegun.contains(claim.as_str())
    }

    fn trusts(&self, deployment: &Deployment) -> bool {
        self.settled.contains(deployment.origin.file.source().unwrap_or_default())
    }
}

/// Which doubtful installations are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Doubts {
    pub deployments: Vec<String>,
    /// Those whose machine has all these labels.
    pub labels: BTreeMap<String, String>,
    pub all: bool,
}

/// What a person says of a doubtful installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be installed: the machine's disk is overwritten.
    Install,
    /// The machine has its system already.
    Keep,
}

impl State {
    /// The deployments whose installation is doubtful.
    pub fn doubtful(&self) -> impl Iterator<Item = &Name> {
        self.desired.deployments.keys().filter(|name| self.is_doubtful(name))
    }

    fn is_doubtful(&self, deployment: &Name) -> bool {
        self.install_of(deployment).is_some_and(|install| install.stage == InstallStage::Doubtful)
    }

    /// Whether `desired` has deployments of a source that was never adopted, where that makes doubtful.
    pub(super) fn has_doubts(&self, desired: &Desired) -> bool {
        self.lasting.trust.is_doubtful()
            && desired.deployments.values().any(|one| !self.lasting.trust.trusts(one))
    }

    /// Makes doubtful what `desired`, which was just adopted, asks to install on behalf of sources that
    /// were never adopted before.
    pub(super) fn doubt(&mut self, desired: &Desired) {
        if !self.lasting.trust.is_doubtful() {
            return;
        }
        for deployment in desired.deployments.values().filter(|one| !self.lasting.trust.trusts(one)) {
            let machine = self.lasting.assignments.get(&deployment.name);
            let Some(machine) = machine.and_then(|machine| desired.machines.get(machine)) else { continue };
            // Also where the number was used on another machine, or by another deployment on this one: what is on
            // the disks is not known, and the number is no new permission wherever the deployment goes.
            let is_known = self.lasting.installs.on(&machine.name).iter().any(|install| {
                install.deployment == deployment.name
                    && install.redeploy >= deployment.redeploy
                    && install.stage != InstallStage::Started
                    && !install.closed
            });
            if is_known || self.due(deployment) == Duty::NetworkBoot {
                continue;
            }
            let install = Install::new(machine, deployment, InstallStage::Doubtful, Time::default());
            let (epoch, again) = (self.lasting.installs.next_epoch(), self.starts_again(&machine.name));
            self.lasting.installs.supersede(Install { epoch, again, digest: "".into(), ..install });
        }
    }

    /// Whether it is known that what had a machine has it still: in a restored state not before the first revision of
    /// its source was adopted, for the machine may be somebody else's by now.
    pub(super) fn knows_tenant(&self, machine: &Name) -> bool {
        let trust = &self.lasting.trust;
        !trust.is_doubtful() || self.tenant(machine).is_none_or(|tenant| trust.trusts(tenant))
    }

    /// This state is a restored backup: what machines did since is unknown. Installations that had begun,
    /// or were approved, may have ended.
    pub fn begin_restored(&mut self) {
        let (cancelled, endless) = (self.distrust_effects(), self.distrust_claims());
        let unbegun = self.unbegun_claims();
        self.lasting.trust = Trust { cancelled, endless, unbegun, ..Trust::doubtful() };
        self.distrust_lives();
        let open =
            |install: &&Install| matches!(install.stage, InstallStage::Started | InstallStage::Approved);
        let open: Vec<Install> = self.lasting.installs.iter().filter(open).cloned().collect();
        for install in open {
            self.lasting.installs.put(Install {
                stage: InstallStage::Doubtful,
                since: Time::default(),
                ..install
            });
        }
    }

    /// The claims that have a machine and no installation on record.
    fn unbegun_claims(&self) -> BTreeSet<String> {
        let installs = &self.lasting.installs;
        let has_begun = |claim: &Claim, machine: &Name| {
            installs.on(machine).iter().any(|install| install.is_named(&claim.name))
        };
        let claims = self.lasting.claims.values();
        let unbegun = claims.filter(|claim| claim.machine().is_some_and(|own| !has_begun(claim, own)));
        unbegun.map(|claim| claim.name.to_string()).collect()
    }

    /// What a claim had may be somebody else's by now: none ends by itself, and wipes it, before a person releases or
    /// extends it.
    fn distrust_claims(&mut self) -> Vec<Name> {
        let mut endless = Vec::new();
        for claim in self.lasting.claims.clone().values() {
            let Some(place) = claim.place.clone().filter(|place| place.ends.or(place.taken_back).is_some())
            else {
                continue;
            };
            let place = Some(Granted { ends: None, taken_back: None, ..place });
            let next = Claim { place, ..Claim::clone(claim) };
            self.index_claim(&next.name, Some(&next));
            endless.push(next.name.clone());
            self.lasting.claims.insert(next.name.clone(), next.into());
        }
        endless
    }

    /// Notes since when the doubtful installations of a revision that was just adopted are so.
    pub fn date_doubts(&mut self, now: Time) {
        if !self.lasting.trust.is_doubtful() {
            return;
        }
        let undated =
            |install: &&Install| install.stage == InstallStage::Doubtful && install.since == Time::default();
        let dated: Vec<Install> = self
            .lasting
            .installs
            .iter()
            .filter(undated)
            .map(|one| Install { since: now, ..one.clone() })
            .collect();
        dated.into_iter().for_each(|install| self.lasting.installs.put(install));
    }

    /// The doubtful installations that are meant; the error names what is not doubtful, and labels that no
    /// doubtful one has.
    pub fn doubts(&self, wanted: &Doubts) -> Result<Vec<Name>, String> {
        let is_chosen = !wanted.deployments.is_empty() || !wanted.labels.is_empty();
        if wanted.all == is_chosen {
            return Err("which installations: deployments and labels, or all of them?".into());
        }
        let mut found = BTreeSet::new();
        for name in &wanted.deployments {
            let Some(deployment) = self.desired.deployments.get(name.as_str()) else {
                return Err(format!("there is no deployment {name}"));
            };
            if !self.is_doubtful(&deployment.name) {
                return Err(format!("the installation of {name} is not doubtful; nothing was changed"));
            }
            found.insert(deployment.name.clone());
        }
        let is_meant = |name: &&Name| {
            let machine =
                self.lasting.assignments.get(*name).and_then(|name| self.desired.machines.get(name));
            let fits = |(key, value): (&String, &String)| {
                machine.is_some_and(|machine| machine.labels.get(key) == Some(value))
            };
            wanted.all || (!wanted.labels.is_empty() && wanted.labels.iter().all(fits))
        };
        let chosen: Vec<Name> = self.doubtful().filter(is_meant).cloned().collect();
        if chosen.is_empty() && !wanted.labels.is_empty() {
            let labels: Vec<String> =
                wanted.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            return Err(format!(
                "no machine with the labels {} has a doubtful installation; nothing was changed",
                labels.join(",")
            ));
        }
        found.extend(chosen);
        Ok(found.into_iter().collect())
    }

    /// Settles doubtful installations. Others of these names stay as they are.
    pub fn settle_doubts(&mut self, deployments: &[Name], verdict: Verdict, now: Time) {
        for name in deployments {
            let doubt = self.install_of(name).filter(|install| install.stage == InstallStage::Doubtful);
            let Some(install) = doubt.cloned() else { continue };
            match verdict {
                // The word is for this deployment. The doubt stays for others that the machine may be given.
                Verdict::Install => {
                    let (epoch, deployment) = (self.raise_epoch(&install.machine, now), name.clone());
                    let (stage, former) = (InstallStage::Approved, Arc::default());
                    let conflict = false;
                    self.put_install(Install {
                        epoch,
                        deployment,
                        stage,
                        former,
                        conflict,
                        since: now,
                        ..install
                    });
                }
                Verdict::Keep => {
                    let (stage, conflict) = (InstallStage::Installed, false);
                    let kept = Install { stage, conflict, since: now, ..install };
                    self.end_install(name, kept);
                }
            }
        }
    }
}
