//! Values that no installer can use, whatever template they go into: it would ask, or lock everybody out.

use super::Resolver;
use crate::manifest::{Code, Field, Marked, Problem, Value};
use crate::model::similar::similar;
use crate::model::ssh_key::is_authorized_key;
use crate::model::window::{is_time_zone, time_zones};

impl Resolver<'_> {
    /// Looks at each value where it is written.
    pub(super) fn odd_values(&mut self) {
        let documents = self.documents;
        let profiles = documents.profiles.values().map(|own| &own.body.settings);
        let deployments = documents.deployments.values().map(|own| &own.body.settings);
        let fields = |name: &'static str| {
            let all = profiles.clone().chain(deployments.clone());
            all.filter_map(move |settings| settings.vars.0.get(name))
        };
        let zones = fields("timezone").filter_map(|field| odd_zone(&field.value));
        let keys = fields("ssh_keys").flat_map(|field| odd_keys(&field.value));
        let of_users =
            fields("users").flat_map(|field| elements(&field.value)).filter_map(|user| match &user.value {
                Value::Table(account) => account.0.get("ssh-keys").or_else(|| account.0.get("ssh_keys")),
                _ => None,
            });
        let of_users = of_users.flat_map(|field: &Field| odd_keys(&field.value));
        let problems: Vec<Problem> = zones.chain(keys).chain(of_users).collect();
        self.problems.extend(problems);
    }
}

fn odd_zone(value: &Marked<Value>) -> Option<Problem> {
    let Value::Text(name) = &value.value else { return None };
    if is_time_zone(name) || name.contains("{{") {
        return None;
    }
    let message = format!("there is no time zone called `{name}`");
    let problem = Problem::new(Code::OddValue, value.mark, message, "not in the time zone database");
    let known = time_zones();
    Some(match similar(name, known.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("zones are named as in \"Europe/Berlin\" or \"Etc/UTC\""),
    })
}

fn odd_keys(keys: &Marked<Value>) -> Vec<Problem> {
    let is_odd = |text: &str| !is_authorized_key(text) && !text.contains("{{");
    let odd =
        elements(keys).into_iter().filter(|key| matches!(&key.value, Value::Text(text) if is_odd(text)));
    odd.map(|key| {
        let label = "nobody can log in with it";
        Problem::new(Code::OddValue, key.mark, "this is no public ssh key", label)
            .help("write the line of the file that ends in `.pub`, as in \"ssh-ed25519 AAAA… you@desk\"")
    })
    .collect()
}

/// The values of a list; one alone is a list of itself.
fn elements(value: &Marked<Value>) -> Vec<&Marked<Value>> {
    match &value.value {
        Value::List(list) => list.iter().collect(),
        _ => vec![value],
    }
}
