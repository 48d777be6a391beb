//! Inheritance: later wins, tables merge by key, anything else replaces.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{Resolver, definition, option};
use crate::manifest::document::{Settings, WrittenRoute};
use crate::manifest::{Code, Field, Mark, Marked, Problem, Value};
use crate::model::Name;

/// Longest chain of profiles that extend each other.
const CHAIN_MAX: usize = 64;

/// Settings with everything inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Effective {
    pub subnet: Option<Choice>,
    pub boot: Option<Choice>,
    pub template: Option<Choice>,
    pub user_data: Option<Choice>,
    /// Whether a template that no test has proven may be used.
    pub unproven: Option<bool>,
    pub vars: BTreeMap<Arc<str>, Field>,
    /// DHCP options by code.
    pub options: BTreeMap<u8, Field>,
    pub routes: Option<Vec<WrittenRoute>>,
    /// Whether any source of these settings had mistakes of its own.
    pub whole: bool,
}

/// A name, and the profile that chose it (`None` for the deployment itself).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub name: Marked<Name>,
    pub by: Option<Name>,
}

impl Effective {
    /// Lays settings over these, which belong to the resource at `own`; with what is wrong about those that are
    /// left out.
    pub(super) fn lay(
        &mut self,
        settings: &Settings,
        own: Mark,
        by: Option<&Name>,
        whole: bool,
    ) -> Vec<Problem> {
        let choice = |name: &Marked<Name>| Choice { name: name.clone(), by: by.cloned() };
        let Settings { subnet, boot, template, user_data, unproven, vars, extra, labels: _, without: _ } =
            settings;
        self.whole &= whole;
        let problems = self.leave_out(settings, own);
        self.subnet = subnet.as_ref().map(choice).or(self.subnet.take());
        self.boot = boot.as_ref().map(choice).or(self.boot.take());
        self.template = template.as_ref().map(choice).or(self.template.take());
        self.user_data = user_data.as_ref().map(choice).or(self.user_data.take());
        self.unproven = unproven.as_ref().map(|unproven| unproven.value).or(self.unproven);
        merge(&mut self.vars, &vars.0);
        self.options.extend(option::by_code(&extra.options.0));
        self.routes = extra.routes.clone().or(self.routes.take());
        problems
    }

    fn lay_all(&mut self, over: &Effective) {
        let Effective { subnet, boot, template, user_data, unproven, vars, options, routes, whole } = over;
        self.whole &= whole;
        self.subnet = subnet.clone().or(self.subnet.take());
        self.boot = boot.clone().or(self.boot.take());
        self.template = template.clone().or(self.template.take());
        self.user_data = user_data.clone().or(self.user_data.take());
        self.unproven = unproven.or(self.unproven);
        merge(&mut self.vars, vars);
        self.options.extend(options.iter().map(|(code, field)| (*code, field.clone())));
        self.routes = routes.clone().or(self.routes.take());
    }
}

fn merge(base: &mut BTreeMap<Arc<str>, Field>, over: &BTreeMap<Arc<str>, Field>) {
    for (key, field) in over {
        if let (Some(Field { value: Marked { value: Value::Table(below), .. }, .. }), Value::Table(above)) =
            (base.get_mut(key), &field.value.value)
        {
            merge(&mut below.0, &above.0);
            continue;
        }
        base.insert(key.clone(), field.clone());
    }
}

impl Resolver<'_> {
    pub(super) fn profiles(&mut self) {
        let documents = self.documents;
        let deployments = documents.deployments.values().filter_map(|own| own.body.profile.as_ref());
        let pools = documents.pools.values().filter_map(|own| own.body.profile.as_ref());
        let parents = documents.profiles.values().flat_map(|own| &own.body.extends);
        let used: HashSet<&Name> = deployments.chain(pools).chain(parents).map(|name| &name.value).collect();
        for name in documents.profiles.keys() {
            let effective = self.effective(name, &mut Vec::new());
            Arc::make_mut(&mut self.desired.definitions)
                .extend(definition::profile(documents, name, &effective));
            // A profile that no deployment and no pool names only has to be correct.
            if !used.contains(name) {
                drop(effective);
                self.profiles.remove(name);
                self.earlier.forget_profile(name);
            }
        }
    }

    /// A profile with all it extends, depth first. `chain` is how it was come by.
    fn effective(&mut self, name: &Name, chain: &mut Vec<Name>) -> Arc<Effective> {
        if let Some(effective) = self.profiles.get(name) {
            return effective.clone();
        }
        let documents = self.documents;
        let Some(resource) = documents.profiles.get(name) else {
            return Arc::new(Effective { whole: false, ..Effective::default() });
        };
        chain.push(name.clone());
        let mut effective = Effective { whole: true, ..Effective::default() };
        for parent in &resource.body.extends {
            if chain.contains(&parent.value) {
                self.circle(parent, chain);
                effective.whole = false;
            } else if chain.len() >= CHAIN_MAX {
                let message = format!("profiles extend each other more than {CHAIN_MAX} deep");
                // What lies beyond goes too deep as well, from wherever one comes.
                if !self
                    .problems
                    .iter()
                    .any(|problem| problem.code == Code::Bounds && problem.message == message)
                {
                    self.problems.push(Problem::new(Code::Bounds, parent.mark, message, "one too many"));
                }
                effective.whole = false;
            } else {
                effective.lay_all(&self.effective(&parent.value, chain));
            }
        }
        chain.pop();
        let found = effective.lay(&resource.body.settings, resource.mark, Some(name), resource.whole);
        self.problems.extend(found);
        let effective = self.earlier.profile(name, effective);
        self.profiles.insert(name.clone(), effective.clone());
        effective
    }

    fn circle(&mut self, parent: &Marked<Name>, chain: &[Name]) {
        let from = chain.iter().position(|name| *name == parent.value).unwrap_or(0);
        let mut round: Vec<&str> = chain[from..].iter().map(Name::as_str).collect();
        round.push(parent.value.as_str());
        let message = match round.len() {
            2 => format!("profile `{}` extends itself", parent.value),
            _ => format!("profiles extend each other in a circle: {}", round.join(" -> ")),
        };
        let problem = Problem::new(Code::Cycle, parent.mark, message, "this closes the circle");
        self.problems.push(problem.help("take one of them out of `extends`"));
    }

    /// How a deployment came by a choice: `web-1 -> profile web -> profile base`.
    pub(super) fn path(&self, deployment: &Name, profile: Option<&Name>, choice: &Choice) -> Option<String> {
        let (profile, by) = (profile?, choice.by.as_ref()?);
        let mut path = vec![profile.clone()];
        self.search(by, &mut path, &mut std::collections::HashSet::new()).then(|| {
            let steps = path.iter().map(|name| format!(" -> profile {name}"));
            format!("{deployment}{}", steps.collect::<String>())
        })
    }

    fn search(
        &self,
        wanted: &Name,
        path: &mut Vec<Name>,
        seen: &mut std::collections::HashSet<Name>,
    ) -> bool {
        let Some(last) = path.last().cloned() else { return false };
        if last == *wanted {
            return true;
        }
        if path.len() > CHAIN_MAX || !seen.insert(last.clone()) {
            return false;
        }
        let Some(resource) = self.documents.profiles.get(&last) else { return false };
        resource.body.extends.iter().rev().any(|parent| {
            path.push(parent.value.clone());
            let found = self.search(wanted, path, seen);
            if !found {
                path.pop();
            }
            found
        })
    }
}
