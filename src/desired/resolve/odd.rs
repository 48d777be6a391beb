//! Values that no installer can use, whatever template they go into: it would ask, find no disk, or lock everybody out.

use super::Resolver;
use crate::manifest::{Code, Field, Marked, Problem, Value};
use crate::model::disk::{disk_of_partition, is_kernel_name};
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
        let defaults = documents.templates.values().flat_map(|own| {
            let declared = ["disk", "second_disk"].into_iter().filter_map(|name| own.body.vars.get(name));
            declared.filter_map(|variable| variable.value.default.as_ref())
        });
        let disks = fields("disk").chain(fields("second_disk")).map(|field| &field.value);
        let disks = disks.chain(defaults).filter_map(odd_disk);
        let problems: Vec<Problem> = zones.chain(keys).chain(of_users).chain(disks).collect();
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

/// Installers take the path of a whole disk.
fn odd_disk(value: &Marked<Value>) -> Option<Problem> {
    let Value::Text(text) = &value.value else { return None };
    let below = text.strip_prefix("/dev/").filter(|name| !name.is_empty());
    if text.is_empty() || text.contains("{{") {
        return None;
    }
    let (label, meant) = match below {
        Some(name) => match disk_of_partition(name) {
            Some(disk) => ("this is a partition, and the whole disk is needed", Some(format!("/dev/{disk}"))),
            None => return None,
        },
        None => ("not a path below /dev", path_of(text)),
    };
    let problem = Problem::new(Code::OddValue, value.mark, format!("no disk is called `{text}`"), label);
    if text.trim_start().starts_with('{') {
        return Some(problem.help("what a disk is like is a table, without quotes around it"));
    }
    let help = match &meant {
        Some(path) => format!("write \"{path}\""),
        None => "write its path, as in \"/dev/sda\", or what it is like, as in { serial = \"…\" }".to_owned(),
    };
    Some(problem.help(help).fix(value.mark, meant.map(|path| format!("\"{path}\""))))
}

/// The path that can only have been meant.
fn path_of(text: &str) -> Option<String> {
    let name = text.trim_start_matches('/');
    let name = name.strip_prefix("dev/").unwrap_or(name);
    let is_link = |folder: &str| name.strip_prefix(folder).is_some_and(|rest| !rest.is_empty());
    let is_plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._:+-/".contains(&c));
    match () {
        () if is_kernel_name(name) => Some(format!("/dev/{name}")),
        () if is_plain && (is_link("disk/by-id/") || is_link("disk/by-path/")) => {
            Some(format!("/dev/{name}"))
        }
        () if is_plain && (is_link("by-id/") || is_link("by-path/")) => Some(format!("/dev/disk/{name}")),
        () => None,
    }
}

/// The values of a list; one alone is a list of itself.
fn elements(value: &Marked<Value>) -> Vec<&Marked<Value>> {
    match &value.value {
        Value::List(list) => list.iter().collect(),
        _ => vec![value],
    }
}
