//! Whether anybody can log in to what a template of the program installs: without a key and a password it locks every
//! account, and the machine can only be installed again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::pool::of_pools;
use super::{Resolver, deployments};
use crate::desired::{Deployment, Template};
use crate::manifest::{Code, Level, Mark, Problem};
use crate::model::Name;
use crate::render::{Value, Values};

/// Variables that are shell lines or settings of the installer's own: what they do is not known.
const FREE: [&str; 4] = ["extra", "post", "late_command", "first_boot"];

impl Resolver<'_> {
    /// Systems that nobody can log in to, once for each template and profile.
    pub(super) fn logins(&mut self) {
        // What is wrong elsewhere may be the key that is missed.
        let is_error = |one: &Problem| one.level == Level::Error;
        let is_lacking = !self.lacking.is_empty() || !self.dangling.is_empty();
        if self.incomplete() || is_lacking || self.problems.iter().any(is_error) {
            return;
        }
        let mut locked: BTreeMap<(&Name, Mark), Vec<&Name>> = BTreeMap::new();
        // Most deployments share their values with others of their profile.
        let mut open: HashMap<(*const Values, *const Template), bool> = HashMap::new();
        for deployment in self.desired.deployments.values() {
            let Some(template) = &deployment.template else { continue };
            let is_open = || is_open(deployment, template);
            let key = (Arc::as_ptr(&deployment.values), Arc::as_ptr(template));
            if template.origin.is_none() && !*open.entry(key).or_insert_with(is_open) {
                let Some(mark) = self.settings_of(deployment) else { continue };
                locked.entry((&template.name, mark)).or_default().push(&deployment.name);
            }
        }
        let mut pools: BTreeMap<(&Name, Mark), Vec<&Name>> = BTreeMap::new();
        for pool in self.desired.pools.values() {
            let Some(template) = pool.prototype.template.as_deref() else { continue };
            let profile = self.documents.profiles.get(&pool.profile);
            if let Some(profile) =
                profile.filter(|_| template.origin.is_none() && !is_open(&pool.prototype, template))
            {
                let place = (&template.name, profile.mark);
                if !locked.contains_key(&place) {
                    pools.entry(place).or_default().push(&pool.name);
                }
            }
        }
        let problem = |(template, mark): (&Name, Mark)| {
            let message = format!("nobody can log in to what template `{template}` installs here");
            let label = "it sets neither a key nor a password: all accounts are locked";
            Problem::new(Code::NoLogin, mark, message, label)
                .help("set `ssh-keys = [\"ssh-ed25519 …\"]`, or `root-hash` in `vars`")
        };
        let of_deployments = locked
            .into_iter()
            .map(|(place, names)| problem(place).note(format!("concerns {}", deployments(&names))));
        let of_pools = pools.into_iter().map(|(place, names)| of_pools(problem(place), &names));
        let problems: Vec<Problem> = of_deployments.chain(of_pools).collect();
        self.problems.extend(problems);
    }

    /// The profile that most of a deployment's settings come from, else the deployment.
    fn settings_of(&self, deployment: &Deployment) -> Option<Mark> {
        let own = self.documents.deployments.get(&deployment.name)?;
        let profile =
            own.body.profile.as_ref().and_then(|profile| self.documents.profiles.get(&profile.value));
        Some(profile.map_or(own.mark, |profile| profile.mark))
    }
}

fn is_open(deployment: &Deployment, template: &Template) -> bool {
    let builtin = template.kind.installer().template.as_ref();
    if builtin.is_some_and(|builtin| !builtin.limits.can("ssh_keys")) {
        return true;
    }
    let value = |name: &str| deployment.values.get(name);
    let is_set = |name: &&str| value(name).is_some_and(|value| !is_empty(value));
    let is_free = FREE.iter().filter(|name| template.text.uses(name)).any(is_set);
    let has_key = is_set(&"ssh_keys");
    let root = value("root_hash").is_some_and(unlocks);
    let user = is_set(&"user") && value("user_hash").is_some_and(unlocks);
    is_free || has_key || root || user || value("users").is_some_and(has_account)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim().is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether it is the hash of a password: `!` and `*` stand for none (shadow(5)).
fn unlocks(hash: &Value) -> bool {
    match hash {
        Value::String(text) => !text.is_empty() && !text.starts_with(['!', '*']),
        _ => true,
    }
}

/// Whether `users` has an account with a key or a password.
fn has_account(users: &Value) -> bool {
    let Value::List(users) = users else { return true };
    users.iter().any(|user| match user {
        Value::Table(account) => {
            account.get("ssh_keys").is_some_and(|keys| !is_empty(keys))
                || account.get("password_hash").is_some_and(unlocks)
        }
        _ => true,
    })
}
