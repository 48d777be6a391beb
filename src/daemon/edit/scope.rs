//! What a token that is bound to pools may change: deployments whose machines are certainly of these pools, as they are
//! and as they become. What is not certain is refused.
//!
//! Such a deployment may use every boot, template and profile of the inventory, and thereby the secrets that those name.
//! That it names another secret is refused: its machine would be sent the password of any controller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::place;
use crate::api::resource::{EditRequest, Edited};
use crate::desired::{Deployment, Desired, Place};
use crate::edit::{Changes, NewText, Setting};
use crate::manifest::{self, Documents, Kind, Mention, Value};
use crate::model::Name;
use crate::model::credential::MASK;

type Labels = BTreeMap<String, String>;
/// Deployments, each with a secret that it names itself.
pub(super) type Naming = BTreeSet<(Name, Name)>;

/// The labels that machines of some pools have. A pool that asks for none holds no machine for this.
pub(super) fn selectors(documents: &Documents, pools: &[Name]) -> Vec<Labels> {
    let known = pools.iter().filter_map(|pool| documents.pools.get(pool)?.body.select.as_ref());
    let owned = |labels: &crate::manifest::kind::table::Labels| -> Labels {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    known.map(|select| owned(&select.value)).filter(|labels| !labels.is_empty()).collect()
}

/// The deployments in these files that name a secret which they did not name before. It takes as long as reading the
/// files does.
pub(super) fn newly_named(files: &[NewText]) -> Naming {
    let texts = |text: fn(&NewText) -> Option<&String>| {
        let file = |file: &NewText| Some((file.path.clone(), Bytes::from(text(file)?.clone())));
        named(&files.iter().filter_map(file).collect())
    };
    let (before, after) = (texts(|file| file.before.as_ref()), texts(|file| Some(&file.after)));
    after.difference(&before).cloned().collect()
}

fn named(files: &BTreeMap<Arc<str>, Bytes>) -> Naming {
    fn secrets(value: &Value, found: &mut dyn FnMut(&Name)) {
        match value {
            Value::Secret(name) => found(name),
            Value::List(list) => list.iter().for_each(|item| secrets(&item.value, found)),
            Value::Table(table) => table.0.values().for_each(|field| secrets(&field.value.value, found)),
            _ => {}
        }
    }
    let mut all = Naming::new();
    manifest::parse(files).0.of(Kind::Deployment).mentions(&mut |deployment, mention| {
        let mut found = |secret: &Name| {
            all.insert((deployment.clone(), secret.clone()));
        };
        match mention {
            Mention::Value(value) => secrets(&value.value, &mut found),
            Mention::Variables(values) => {
                values.values().for_each(|field| secrets(&field.value.value, &mut found));
            }
            Mention::Name(..) | Mention::Selector(_) | Mention::Options(_) => {}
        }
    });
    all
}

/// Refuses edits that a token bound to `pools` may not make; `selectors` are those of these pools, and `naming` is what
/// names a secret anew.
pub(super) fn allowed(
    request: &EditRequest,
    pools: &[Name],
    selectors: &[Labels],
    (changes, naming): (&Changes, &Naming),
    (before, after): (&Desired, &Desired),
) -> Result<(), Box<Edited>> {
    for (index, resource) in changes.resources.iter().enumerate() {
        let (edit, begin) = place(request, index);
        let of_pools = pools.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let refuse = |why: String| {
            let why = format!(
                "{begin}this token may change deployments of the pools {of_pools} and nothing else, and {why}"
            );
            Err(Box::new(Edited::OutOfScope { why, edit: edit.clone() }))
        };
        let (kind, name) = (resource.kind.name(), &resource.name);
        if resource.kind != Kind::Deployment {
            return refuse(format!("{kind} {name} is no deployment"));
        }
        let states = [(before, "is"), (after, "would be")];
        let found = states.map(|(desired, verb)| (desired, desired.deployments.get(name), verb));
        if found.iter().all(|(_, deployment, _)| deployment.is_none()) {
            return refuse(format!("{kind} {name} is not known"));
        }
        for (desired, deployment, verb) in found {
            if deployment.is_some_and(|deployment| !is_within(deployment, desired, selectors)) {
                return refuse(format!("{kind} {name} {verb} on a machine that is not certainly of them"));
            }
        }
        if let Some((_, secret)) = naming.iter().find(|(deployment, _)| deployment == name) {
            return refuse(format!("{kind} {name} would name the secret {secret}, which it did not"));
        }
        let is_masked = |setting: &Setting| setting.value.to_string().contains(MASK);
        if request.edits().get(index).is_some_and(|edit| edit.settings.iter().any(is_masked)) {
            return refuse(format!("`{MASK}` in {kind} {name} stands for a credential that it is not shown"));
        }
    }
    Ok(())
}

/// Whether every machine that it is or may be put on is of one of the pools.
fn is_within(deployment: &Deployment, desired: &Desired, selectors: &[Labels]) -> bool {
    let labels = match &deployment.place {
        Place::Machine(machine) => desired.machines.get(machine).map(|machine| &machine.labels),
        Place::Select(wanted) => Some(wanted),
    };
    let Some(labels) = labels else { return false };
    let has = |wanted: &Labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
    selectors.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newly(before: Option<&str>, after: &str) -> Vec<String> {
        let file =
            NewText { path: "lab.toml".into(), before: before.map(str::to_owned), after: after.to_owned() };
        let named = newly_named(&[file]);
        named.iter().map(|(deployment, secret)| format!("{deployment}: {secret}")).collect()
    }

    #[test]
    fn a_secret_is_new_where_its_deployment_did_not_name_it() {
        let one = "[deployment.a]\nvars = { hash = { secret = 'root' }, x = 1 }\n";
        let deep = "[deployment.a]\nvars = { all = [{ in = { secret = 'bmc' } }] }\n";
        let users = "[deployment.a]\nusers = [{ name = 'x', password-hash = { secret = 'bmc' } }]\n";
        assert_eq!(newly(None, one), ["a: root"], "a new file");
        assert_eq!(newly(Some(one), &one.replace("x = 1", "x = 2")), [""; 0], "it named that before");
        assert_eq!(newly(Some(one), &one.replace("hash =", "other =")), [""; 0], "under another name");
        assert_eq!(newly(Some(one), &one.replace("root", "bmc")), ["a: bmc"]);
        assert_eq!(newly(Some(one), deep), ["a: bmc"]);
        assert_eq!(newly(Some(one), users), ["a: bmc"]);
        let other = one.to_owned() + "[deployment.b]\nvars = { hash = { secret = 'root' } }\n";
        assert_eq!(newly(Some(one), &other), ["b: root"], "another deployment did");
        let base =
            "[profile.base]\nvars = { hash = { secret = 'root' } }\n[deployment.a]\nprofile = 'base'\n";
        assert_eq!(newly(None, base), [""; 0], "that of a profile is for all who may use it");
        let table = "[deployment.a]\nvars = { secret = { secret = 'x', more = 1 } }\n";
        assert_eq!(newly(None, table), [""; 0], "a table of two keys is no secret");
    }
}
