//! What was last served, in short: enough to judge the next revision against it when its own files
//! can't be loaded any more.

use std::sync::Arc;

use super::State;
use crate::desired::{Deployment, differences};
use crate::model::{Name, Origin};

/// A deployment of the last revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// `None` where no free machine matched its selector.
    pub machine: Option<Name>,
    pub redeploy: u64,
    /// `None`: an earlier version did not note it.
    pub boot: Option<Name>,
    pub template: Option<Name>,
    /// Where it was written.
    pub origin: Origin,
}

/// By deployment. Cheap to clone.
pub type Record = imbl::OrdMap<Name, Arc<Served>>;

impl Served {
    fn of(deployment: &Deployment, machine: Option<&Name>) -> Served {
        Served {
            machine: machine.cloned(),
            redeploy: deployment.redeploy,
            boot: Some(deployment.boot.name.clone()),
            template: deployment.template.as_ref().map(|template| template.name.clone()),
            origin: deployment.origin.clone(),
        }
    }

    /// Of which only its machine and number are known.
    pub fn unknown(machine: Name, redeploy: u64) -> Served {
        let origin = Origin { file: "".into(), line: 0, column: 0 };
        Served { machine: Some(machine), redeploy, boot: None, template: None, origin }
    }

    /// Whether a deployment may be this one under another name: it has the same boot or the same
    /// template.
    pub fn is_like(&self, deployment: &Deployment) -> bool {
        let template = deployment.template.as_ref().map(|template| &template.name);
        let same_boot = self.boot.as_ref().is_none_or(|boot| *boot == deployment.boot.name);
        same_boot || (template.is_some() && self.template.as_ref() == template)
    }
}

impl State {
    /// What is served under this state's revision; `before` is the state before it. Only what differs
    /// is written anew.
    pub(super) fn served_after(&self, before: &State) -> Record {
        let mut next = before.lasting.served.clone();
        if before.desired.revision.is_empty() {
            // What was served before the start is not loaded: every entry may be another.
            for name in
                before.lasting.served.keys().filter(|name| !self.desired.deployments.contains_key(*name))
            {
                next.remove(name);
            }
        }
        for one in differences(&before.desired.deployments, &self.desired.deployments) {
            match one.after {
                Some(deployment) => self.note_served(&mut next, deployment),
                None => drop(next.remove(one.name)),
            }
        }
        for name in moved_names(before, self) {
            if let Some(deployment) = self.desired.deployments.get(&name) {
                self.note_served(&mut next, deployment);
            }
        }
        next
    }

    fn note_served(&self, record: &mut Record, deployment: &Deployment) {
        let now = Served::of(deployment, self.lasting.assignments.get(&deployment.name));
        if record.get(&deployment.name).is_none_or(|then| **then != now) {
            record.insert(deployment.name.clone(), Arc::new(now));
        }
    }
}

/// The deployments that have another machine.
fn moved_names(before: &State, after: &State) -> Vec<Name> {
    use imbl::ordmap::DiffItem;
    let changed = before.lasting.assignments.diff(&after.lasting.assignments).map(|item| match item {
        DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } | DiffItem::Remove(name, _) => {
            name.clone()
        }
    });
    changed.collect()
}
