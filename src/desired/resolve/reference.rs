//! Names that must be somebody's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Resolver, listed};
use crate::manifest::document::{Resource, Settings};
use crate::manifest::shape::fields;
use crate::manifest::similar::{only_similar, similar};
use crate::manifest::{Code, Kind, Mark, Marked, Problem};
use crate::model::Name;
use crate::render::builtin;

/// So many unknown names get a suggestion.
const HINTED_MAX: usize = 100;

impl Resolver<'_> {
    /// Looks at every reference once, where it is written.
    pub(super) fn references(&mut self) {
        let documents = self.documents;
        for profile in documents.profiles.values() {
            for name in &profile.body.extends {
                self.reference(Kind::Profile, name);
            }
            self.settings(&profile.body.settings);
        }
        for deployment in documents.deployments.values() {
            let body = &deployment.body;
            body.profile.iter().for_each(|name| self.reference(Kind::Profile, name));
            body.machine.iter().for_each(|name| self.reference(Kind::Machine, name));
            self.settings(&body.settings);
        }
        for subnet in documents.subnets.values() {
            subnet.body.shares.iter().for_each(|name| self.reference(Kind::Subnet, name));
        }
        for pool in documents.pools.values() {
            pool.body.profile.iter().for_each(|name| self.reference(Kind::Profile, name));
        }
        for machine in documents.machines.values() {
            let credentials = machine.body.power.iter().filter_map(|power| power.credentials.as_ref());
            credentials.for_each(|credentials| self.secrets(credentials));
        }
        for template in documents.templates.values() {
            let defaults = template.body.vars.values().filter_map(|variable| variable.default.as_ref());
            defaults.for_each(|default| self.secrets(default));
        }
    }

    fn settings(&mut self, settings: &Settings) {
        let Settings { subnet, boot, template, vars, extra: _, labels: _ } = settings;
        subnet.iter().for_each(|name| self.reference(Kind::Subnet, name));
        boot.iter().for_each(|name| self.reference(Kind::Boot, name));
        template.iter().for_each(|name| self.reference(Kind::Template, name));
        self.secrets_in(vars);
    }

    fn reference(&mut self, kind: Kind, wanted: &Marked<Name>) {
        if self.exists(kind, &wanted.value) || self.may_exist(kind, &wanted.value) {
            return;
        }
        let kind_name = kind.name();
        let message = format!("there is no {kind_name} called `{}`", wanted.value);
        let mut problem =
            Problem::new(Code::UnknownName, wanted.mark, message, format!("unknown {kind_name}"));
        // Comparing thousands of unknown names with thousands of known ones helps nobody.
        if self.dangling.len() < HINTED_MAX {
            problem =
                problem.help(self.hint(kind, wanted)).fix(wanted.mark, self.only_name(kind, &wanted.value));
        }
        self.dangling.insert(wanted.mark, (problem, Vec::new()));
    }

    fn hint(&self, kind: Kind, wanted: &Marked<Name>) -> String {
        let (names, kind_name) = (self.names(kind), kind.name());
        if names.is_empty() {
            return format!(
                "the inventory has no {kind_name} at all; one begins with [{kind_name}.{}]",
                wanted.value
            );
        }
        let all = format!("all {}: {}", fields(kind).plural, listed(names.iter().map(|(name, _)| name)));
        let Some(near) = similar(wanted.value.as_str(), names.iter().map(|(name, _)| *name)) else {
            return all;
        };
        let place = match names.iter().find(|(name, _)| *name == near).and_then(|(_, mark)| *mark) {
            Some(mark) => {
                let origin = self.documents.sources.origin(mark);
                format!(" ({}:{})", origin.file, origin.line)
            }
            None => " (built in)".to_owned(),
        };
        format!("a {kind_name} with a similar name exists: `{near}`{place}; {all}")
    }

    /// What can only have been meant. Never a machine: neighbours in a rack are called alike, and
    /// the wrong one would be wiped.
    fn only_name(&self, kind: Kind, wanted: &Name) -> Option<String> {
        let names = self.names(kind);
        let near = only_similar(wanted.as_str(), names.iter().map(|(name, _)| *name));
        near.filter(|_| kind != Kind::Machine).map(|near| format!("\"{near}\""))
    }

    fn exists(&self, kind: Kind, name: &Name) -> bool {
        let documents = self.documents;
        match kind {
            Kind::Subnet => documents.subnets.contains_key(name),
            Kind::Boot => documents.boots.contains_key(name),
            Kind::Template => {
                documents.templates.contains_key(name) || builtin::lookup(name.as_str()).is_some()
            }
            Kind::Profile => documents.profiles.contains_key(name),
            Kind::Machine => documents.machines.contains_key(name),
            Kind::Deployment => documents.deployments.contains_key(name),
            Kind::Pool => documents.pools.contains_key(name),
        }
    }

    /// Whether the name may be defined where mistakes hide it.
    fn may_exist(&self, kind: Kind, name: &Name) -> bool {
        let mentions = |file: &u32| {
            let bytes = &self.documents.sources.get(*file).bytes;
            bytes.windows(name.as_str().len()).any(|window| window == name.as_str().as_bytes())
        };
        self.documents.unread.contains(&(kind, name.clone())) || self.documents.unparsed.iter().any(mentions)
    }

    fn names(&self, kind: Kind) -> Vec<(&str, Option<Mark>)> {
        fn all<T>(resources: &BTreeMap<Name, Arc<Resource<T>>>) -> Vec<(&str, Option<Mark>)> {
            resources.values().map(|resource| (resource.name.as_str(), Some(resource.mark))).collect()
        }
        let documents = self.documents;
        match kind {
            Kind::Subnet => all(&documents.subnets),
            Kind::Boot => all(&documents.boots),
            Kind::Template => {
                let builtins = builtin::all().iter().map(|builtin| (builtin.name, None));
                all(&documents.templates).into_iter().chain(builtins).collect()
            }
            Kind::Profile => all(&documents.profiles),
            Kind::Machine => all(&documents.machines),
            Kind::Deployment => all(&documents.deployments),
            Kind::Pool => all(&documents.pools),
        }
    }

    /// Says which deployments a dangling reference of a profile concerns.
    pub(super) fn concerns(&mut self, mark: Mark, deployment: &Name) {
        if let Some((_, names)) = self.dangling.get_mut(&mark) {
            self.silent += 1;
            names.push(deployment.clone());
        }
    }

    /// Reports the references that lead nowhere.
    pub(super) fn unknown_names(&mut self) {
        for (mark, (mut problem, names)) in std::mem::take(&mut self.dangling) {
            let own = |name: &Name| {
                let deployment = self.documents.deployments.get(name);
                deployment.is_some_and(|own| own.mark.file == mark.file && self.is_own(own, mark))
            };
            match names.as_slice() {
                [] => {}
                [name] if own(name) => {}
                [name] => problem.notes.push(format!("used by deployment {name}")),
                names => {
                    problem.notes.push(format!("used by {} deployments: {}", names.len(), listed(names)))
                }
            }
            self.problems.push(problem);
        }
    }

    fn is_own(&self, deployment: &Resource<crate::manifest::document::Deployment>, mark: Mark) -> bool {
        let body = &deployment.body;
        let settings = &body.settings;
        [&body.profile, &settings.subnet, &settings.boot, &settings.template]
            .into_iter()
            .flatten()
            .any(|name| name.mark == mark)
    }
}
