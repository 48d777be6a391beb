//! Pools: each with the prototype that its claims are made of, which is a deployment without a machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::Effective;
use super::variable::Want;
use super::{Resolver, machine, option};
use crate::desired::{Deployment, Place, Pool, Template};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Code, Level, Problem};
use crate::model::{Name, OnReturn, WipeLevel};

impl Resolver<'_> {
    /// After all deployments, whose mistakes are reported first. What is wrong with a prototype alone concerns nobody
    /// but who claims a machine: the inventory can be served without it, and the pool gives out none.
    pub(super) fn pools(&mut self) {
        let documents = self.documents;
        let mut resources: Vec<_> = documents.pools.values().collect();
        resources.sort_by_key(|resource| resource.mark);
        for resource in resources {
            let before = std::mem::take(&mut self.problems);
            let lacking = std::mem::take(&mut self.lacking);
            let silent = self.silent;
            let pool = self.pool(resource);
            let lacks = std::mem::replace(&mut self.lacking, lacking);
            self.silent = silent;
            let found = std::mem::replace(&mut self.problems, before);
            let found: Vec<Problem> = found.into_iter().chain(lacked(resource, &lacks)).collect();
            let is_faultless = found.iter().all(|problem| problem.level != Level::Error);
            self.problems.extend(found.into_iter().map(|problem| without_effect(problem, &resource.name)));
            if let Some(pool) = pool.filter(|_| is_faultless) {
                self.desired.pools.insert(resource.name.clone(), Arc::new(pool));
            }
        }
    }

    fn pool(&mut self, resource: &Resource<document::Pool>) -> Option<Pool> {
        let document::Pool { profile, select, max, per_caller, ttl, clean, on_return, level } =
            &resource.body;
        let mut effective = (**self.profiles.get(&profile.as_ref()?.value)?).clone();
        effective.whole &= resource.whole;
        let labels = machine::owned(&select.as_ref()?.value);
        let prototype = self.prototype(resource, &effective, Place::Select(labels))?;
        Some(Pool {
            name: resource.name.clone(),
            profile: profile.as_ref()?.value.clone(),
            prototype: Arc::new(prototype),
            max: max.as_ref().map(|max| max.value),
            per_caller: per_caller.as_ref().map(|most| most.value),
            ttl: ttl.as_ref().map(|ttl| ttl.value),
            clean: clean.as_ref().is_none_or(|clean| clean.value),
            on_return: on_return.as_ref().map_or(OnReturn::Wipe, |what| what.value),
            level: level.as_ref().map_or(WipeLevel::Clear, |level| level.value),
        })
    }

    /// What a machine of the pool runs, whichever it is.
    fn prototype(
        &mut self,
        resource: &Resource<document::Pool>,
        effective: &Effective,
        place: Place,
    ) -> Option<Deployment> {
        let written = Resource {
            name: resource.name.clone(),
            mark: resource.mark,
            whole: resource.whole,
            body: document::Deployment::of_profile(resource.body.profile.clone()),
        };
        let template = self.part(effective.template.as_ref().map(|choice| &choice.name.value))?;
        let user_data = match &effective.user_data {
            Some(choice) => Some(self.user_data_of(choice, effective)?),
            None => None,
        };
        let boot = self.chosen_boot(&written, effective)?;
        let subnet = self.chosen_subnet(&written, effective)?;
        let address = self.address(&written, effective, &subnet);
        let address6 = self.address6(&written, &subnet);
        let values = self.values(&written, effective, &boot, [template.as_ref(), user_data.as_ref()]);
        let mut prototype = Deployment {
            name: resource.name.clone(),
            profile: resource.body.profile.as_ref().map(|profile| profile.value.clone()),
            place,
            address,
            address6,
            subnet,
            boot,
            template,
            user_data,
            values: Arc::new(values),
            options: option::wired(&effective.options, effective.routes.as_deref()),
            redeploy: 0,
            digest: "".into(),
            origin: self.documents.sources.origin(resource.mark),
        };
        prototype.digest = self.digest(&prototype);
        Some(prototype)
    }

    /// A template that is named, if any is; `None` where it has mistakes, which are reported where they are.
    fn part(&mut self, name: Option<&Name>) -> Option<Option<Arc<Template>>> {
        match name {
            Some(name) => self.template(name).map(Some),
            None => Some(None),
        }
    }
}

/// A mistake of what machines of these pools install, which keeps nothing from being served.
pub(super) fn of_pools(mut problem: Problem, pools: &[&Name]) -> Problem {
    if problem.level == Level::Error {
        problem.level = Level::Warning;
    }
    let plural = if pools.len() == 1 { "" } else { "s" };
    problem.note(format!("concerns pool{plural} {}", super::listed(pools)))
}

/// A mistake that keeps a pool from giving out machines, and keeps nothing from being served.
fn without_effect(mut problem: Problem, pool: &Name) -> Problem {
    if problem.level == Level::Error {
        problem.level = Level::Warning;
        problem.message = problem.message.replace(&format!("deployment {pool} "), &format!("pool {pool} "));
        problem.notes.push(format!("until then pool {pool} gives out no machine"));
    }
    problem
}

/// A variable that the pool's machines would need, and that nothing sets.
fn lacked(resource: &Resource<document::Pool>, lacks: &BTreeMap<Want, Vec<Name>>) -> Option<Problem> {
    let (what, name, variable) = match lacks.keys().next()? {
        Want::Template { template, variable } => ("template", template, variable),
        Want::Boot { boot, variable } => ("the command line of boot", boot, variable),
    };
    let message = format!("{what} `{name}` uses `{variable}`, which nothing sets for pool {}", resource.name);
    let profile = resource.body.profile.as_ref();
    let mark = profile.map_or(resource.mark, |profile| profile.mark);
    let problem = Problem::new(Code::Unset, mark, message, "this profile does not set it");
    Some(problem.help(format!("set `{}` in `vars` of the profile", variable.replace('_', "-"))))
}
