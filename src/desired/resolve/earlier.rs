//! What an earlier resolution came to, used again where nothing it was made of has changed.
//!
//! Only results without a fault are kept, each with everything that decided it. So a resolution
//! with a memory comes to what one without would, problems included; `tests/it/again.rs` holds it
//! to that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::profile::Effective;
use super::step::Whole;
use super::{Resolver, digest};
use crate::desired::{Boot, Deployment, Machine, Subnet, Template};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Fleet, Mark, Problem, Sources};
use crate::model::Name;

type Written = Resource<document::Deployment>;

/// The memory of one resolution for the next. An empty one is as good as any, only slower.
#[derive(Debug, Default)]
pub struct Earlier {
    /// What can concern any deployment: if it is other than it was, all are resolved again.
    subnets: BTreeMap<Name, Arc<Subnet>>,
    secrets: HashMap<Name, [u8; 32]>,
    boots: HashMap<Name, ([u8; 32], Arc<Boot>)>,
    templates: HashMap<Name, Arc<Template>>,
    profiles: HashMap<Name, Arc<Effective>>,
    pub(super) machines: Machines<document::Machine>,
    /// Machines that deployments imply.
    pub(super) implied: Machines<document::Deployment>,
    deployments: HashMap<Name, Made>,
    /// All of it, unless an error was found.
    pub(super) whole: Option<Whole>,
    /// For the resolution of a few: what the others use.
    pub(super) beside: Beside,
}

/// What deployments and machines use that are not resolved now, for the question whether anything is
/// used at all.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Built-in ones.
    pub templates: BTreeSet<Name>,
    /// With the place where each is named first.
    pub secrets: BTreeMap<Name, Mark>,
    /// What is wrong with selectors, which a few machines can't say.
    pub selectors: Option<Vec<Problem>>,
}

/// Machines with the resource that each was made of.
pub(super) type Machines<T> = HashMap<Name, (Arc<Resource<T>>, Arc<Machine>)>;

/// A deployment with what it was made of; boot, subnet and template are in itself.
#[derive(Debug)]
struct Made {
    written: Arc<Written>,
    profile: Option<Arc<Effective>>,
    machine: Option<Arc<Machine>>,
    deployment: Arc<Deployment>,
}

impl Earlier {
    /// The subnet as it was, if it is the same: what was made of it can then stay too.
    pub(super) fn subnet(&self, subnet: Subnet) -> Arc<Subnet> {
        let known = self.subnets.get(&subnet.name).filter(|known| ***known == subnet);
        known.cloned().unwrap_or_else(|| Arc::new(subnet))
    }

    pub(super) fn boot(&mut self, boot: Boot, digest: [u8; 32]) -> Arc<Boot> {
        let known = self.boots.get(&boot.name).filter(|(was, known)| *was == digest && **known == boot);
        if let Some((_, known)) = known {
            return known.clone();
        }
        let boot = Arc::new(boot);
        self.boots.insert(boot.name.clone(), (digest, boot.clone()));
        boot
    }

    pub(super) fn template(&mut self, template: Template) -> Arc<Template> {
        if let Some(known) = self.templates.get(&template.name).filter(|known| ***known == template) {
            return known.clone();
        }
        let template = Arc::new(template);
        self.templates.insert(template.name.clone(), template.clone());
        template
    }

    pub(super) fn profile(&mut self, name: &Name, effective: Effective) -> Arc<Effective> {
        if let Some(known) = self.profiles.get(name).filter(|known| ***known == effective) {
            return known.clone();
        }
        let effective = Arc::new(effective);
        self.profiles.insert(name.clone(), effective.clone());
        effective
    }

    pub(super) fn forget_profile(&mut self, name: &Name) {
        self.profiles.remove(name);
    }

    /// The machine that was made of this resource, if it carries `macs` network cards and `ids` other
    /// marks now too.
    pub(super) fn machine<T>(
        machines: &Machines<T>,
        written: &Arc<Resource<T>>,
        macs: usize,
        ids: usize,
    ) -> Option<Arc<Machine>> {
        let (was, machine) = machines.get(&written.name)?;
        let same = Arc::ptr_eq(was, written) && machine.macs.len() == macs && machine.ids.len() == ids;
        same.then(|| machine.clone())
    }

    /// A memory of what all deployments share, and of `machines`, for the resolution of a few.
    pub(super) fn for_few<'a>(&self, machines: impl Iterator<Item = &'a Name>, beside: Beside) -> Earlier {
        let Earlier { subnets, secrets, boots, templates, profiles, .. } = self;
        let known = |name: &Name| Some((name.clone(), self.machines.get(name)?.clone()));
        Earlier {
            subnets: subnets.clone(),
            secrets: secrets.clone(),
            boots: boots.clone(),
            templates: templates.clone(),
            profiles: profiles.clone(),
            machines: machines.filter_map(known).collect(),
            beside,
            ..Earlier::default()
        }
    }

    /// Whether what all deployments share was the same in the resolution of a few.
    pub(super) fn shares(&self, few: &Earlier) -> bool {
        let Earlier { subnets, secrets, boots, templates, profiles, .. } = self;
        let boot = |(name, (_, boot)): (&Name, &([u8; 32], Arc<Boot>))| {
            boots.get(name).is_some_and(|(_, known)| Arc::ptr_eq(known, boot))
        };
        let template = |(name, one): (&Name, &Arc<Template>)| same(Some(one), templates.get(name));
        let profile = |(name, one): (&Name, &Arc<Effective>)| same(Some(one), profiles.get(name));
        *secrets == few.secrets
            && subnets.len() == few.subnets.len()
            && few.subnets.iter().all(|(name, one)| same(Some(one), subnets.get(name)))
            && boots.len() == few.boots.len()
            && few.boots.iter().all(boot)
            && few.templates.iter().all(template)
            && few.profiles.iter().all(profile)
    }

    /// Takes the resolution of a few over, in the place of those that are gone.
    pub(super) fn take_over(&mut self, few: Earlier, gone: &Fleet) {
        for machine in &gone.machines {
            self.machines.remove(&machine.name);
        }
        for deployment in &gone.deployments {
            self.implied.remove(&deployment.name);
            self.deployments.remove(&deployment.name);
        }
        self.machines.extend(few.machines);
        self.implied.extend(few.implied);
        self.deployments.extend(few.deployments);
    }

    /// Forgets the deployments if something changed that any of them may depend on.
    fn compare(&mut self, subnets: &BTreeMap<Name, Arc<Subnet>>, sources: &Sources, whole: bool) {
        let same_subnets = subnets.len() == self.subnets.len()
            && subnets.iter().zip(&self.subnets).all(|((_, one), (_, other))| Arc::ptr_eq(one, other));
        let same_secrets =
            || self.secrets.iter().all(|(name, digest)| digest::secret(name, sources) == *digest);
        if !whole || !same_subnets || !same_secrets() {
            self.deployments.clear();
            self.secrets.clear();
            self.subnets = subnets.clone();
        }
    }
}

impl Resolver<'_> {
    /// Before the first deployment is resolved: looks at what all of them depend on.
    pub(super) fn recall(&mut self) {
        let (whole, sources) = (!self.incomplete(), &self.documents.sources);
        self.earlier.compare(&self.desired.subnets, sources, whole);
        self.digests.secrets = std::mem::take(&mut self.earlier.secrets);
    }

    /// After the last one: keeps what the next resolution may use, and no more than that.
    pub(super) fn remember(&mut self) {
        let (documents, whole) = (self.documents, !self.incomplete());
        self.earlier.secrets = std::mem::take(&mut self.digests.secrets);
        self.earlier.whole = self.whole();
        let Earlier { boots, templates, profiles, machines, implied, deployments, .. } = self.earlier;
        if !whole {
            deployments.clear();
        }
        boots.retain(|name, _| documents.boots.contains_key(name));
        templates.retain(|name, _| self.templates.contains_key(name));
        profiles.retain(|name, _| documents.profiles.contains_key(name));
        let known = documents.deployments.len();
        if machines.len() > documents.machines.len() {
            machines.retain(|name, _| documents.machines.contains_key(name));
        }
        if implied.len() > known || deployments.len() > known {
            implied.retain(|name, _| documents.deployments.contains_key(name));
            deployments.retain(|name, _| documents.deployments.contains_key(name));
        }
    }

    /// The deployment as it was resolved before, if all that it was made of is still the same.
    pub(super) fn again(&mut self, written: &Arc<Written>) -> Option<Arc<Deployment>> {
        let made = self.earlier.deployments.get(&written.name)?;
        let Made { written: was, profile, machine, deployment } = made;
        let unchanged = Arc::ptr_eq(was, written)
            && same(profile.as_ref(), self.profile_of(written))
            && same(machine.as_ref(), self.pinned_machine(deployment))
            && same(Some(&deployment.boot), self.desired.boots.get(&deployment.boot.name))
            && same(Some(&deployment.subnet), self.desired.subnets.get(&deployment.subnet.name));
        let deployment = unchanged.then(|| deployment.clone())?;
        for was in [&deployment.template, &deployment.user_data].into_iter().flatten() {
            let template = self.template(&was.name).filter(|template| Arc::ptr_eq(template, was))?;
            self.uses(&template, &written.name);
        }
        Some(deployment)
    }

    /// `faultless`: no problem was found in it.
    pub(super) fn keep_made(
        &mut self,
        written: &Arc<Written>,
        deployment: &Arc<Deployment>,
        faultless: bool,
    ) {
        let found = self.profile_of(written).is_some() || written.body.profile.is_none();
        if !faultless || !found {
            self.earlier.deployments.remove(&written.name);
            return;
        }
        let made = Made {
            written: written.clone(),
            profile: self.profile_of(written).cloned(),
            machine: self.pinned_machine(deployment).cloned(),
            deployment: deployment.clone(),
        };
        self.earlier.deployments.insert(written.name.clone(), made);
    }

    fn profile_of(&self, written: &Written) -> Option<&Arc<Effective>> {
        self.profiles.get(&written.body.profile.as_ref()?.value)
    }

    fn pinned_machine(&self, deployment: &Deployment) -> Option<&Arc<Machine>> {
        match &deployment.place {
            crate::desired::Place::Machine(name) => self.desired.machines.get(name),
            crate::desired::Place::Select(_) => None,
        }
    }
}

fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
