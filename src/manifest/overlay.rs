//! Laying an environment's tables over those of the inventory: tables merge by key, anything else
//! replaces. Settings that stand for the same thing replace each other, however they are spelt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checker::lacks;
use super::parse::Place;
use super::shape::{Fields, KNOWN, Shape, fields};
use super::similar::{only_similar, similar};
use super::{Code, Field, Kind, Marked, Problem, Sources, Table, Value};
use crate::model::Name;

/// Checked tables of resources on their way to being documents.
pub(super) type Tables = BTreeMap<(Kind, Name), Place>;

/// The ways to choose a deployment's machine. They exclude each other.
const WAYS: [&str; 3] = ["machine", "select", "mac"];

/// Lays `over` over `base`. Resources that can't be meant to be new are reported and put into
/// `unread`.
pub(super) fn lay(
    sources: &Sources,
    base: &mut Tables,
    over: Tables,
    unread: &mut BTreeSet<(Kind, Name)>,
) -> Vec<Problem> {
    let used = used_profiles(base.values().chain(over.values()));
    let mut problems = Vec::new();
    for (key, place) in over {
        if let Some(below) = base.get_mut(&key) {
            below.whole &= place.whole;
            let mark = place.mark;
            merge(key.0, &mut below.table, place.table);
            if below.whole {
                lacking(fields(key.0), &below.table, &subject(&key), mark, &mut problems);
            }
        } else if !place.whole || is_complete(&key, &place.table, &used) {
            base.insert(key, place);
        } else if unread.insert(key.clone()) {
            problems.push(unknown(sources, &key, &place, base));
        }
    }
    problems
}

fn subject((kind, name): &(Kind, Name)) -> String {
    format!("{} {name}", kind.name())
}

/// Profiles that somebody names.
fn used_profiles<'a>(places: impl Iterator<Item = &'a Place>) -> BTreeSet<Name> {
    let mut used = BTreeSet::new();
    for place in places {
        for key in ["profile", "extends"] {
            match place.table.0.get(key).map(|field| &field.value.value) {
                Some(Value::Name(name)) => drop(used.insert(name.clone())),
                Some(Value::List(names)) => used.extend(names.iter().filter_map(|name| match &name.value {
                    Value::Name(name) => Some(name.clone()),
                    _ => None,
                })),
                _ => {}
            }
        }
    }
    used
}

/// Whether a table could stand for itself, rather than change one that exists.
fn is_complete((kind, name): &(Kind, Name), table: &Table, used: &BTreeSet<Name>) -> bool {
    match kind {
        Kind::Deployment => WAYS.iter().any(|way| table.0.contains_key(*way)),
        Kind::Profile => used.contains(name),
        _ => fields(*kind).keys.iter().all(|key| !key.required || table.0.contains_key(key.name)),
    }
}

fn unknown(sources: &Sources, key: &(Kind, Name), place: &Place, base: &Tables) -> Problem {
    let (kind, name) = (key.0.name(), &key.1);
    let message = format!("there is no {kind} called `{name}` that this environment could change");
    let problem = Problem::new(Code::UnknownName, place.mark, message, format!("unknown {kind}"));
    let names = || base.keys().filter(|(other, _)| *other == key.0).map(|(_, name)| name.as_str());
    let add = match key.0 {
        Kind::Deployment => "to add a deployment, say which machine it is for".to_owned(),
        Kind::Profile => {
            "to add a profile, name it in a deployment's `profile` or another's `extends`".to_owned()
        }
        _ => {
            let needed = fields(key.0).keys.iter().filter(|key| key.required);
            let needed: Vec<_> = needed.map(|key| format!("`{}`", key.name)).collect();
            format!("to add a {kind}, set {}", needed.join(" and "))
        }
    };
    let Some(near) = similar(name.as_str(), names()) else { return problem.help(add) };
    let below = base.iter().find(|((other, name), _)| *other == key.0 && name.as_str() == near);
    let origin = below.map(|(_, below)| sources.origin(below.mark));
    let at = origin.map_or_else(String::new, |origin| format!(" ({}:{})", origin.file, origin.line));
    // Never a machine or a deployment: neighbours are called alike, and the wrong one would change.
    let only = only_similar(name.as_str(), names())
        .filter(|_| !matches!(key.0, Kind::Machine | Kind::Deployment))
        .map(str::to_owned);
    problem.help(format!("a {kind} with a similar name exists: `{near}`{at}")).help(add).fix(place.mark, only)
}

fn merge(kind: Kind, base: &mut Table, over: Table) {
    if kind == Kind::Deployment && WAYS.iter().any(|way| over.0.contains_key(*way)) {
        base.0.retain(|key, _| !WAYS.contains(&&**key) || over.0.contains_key(key));
    }
    if let Kind::Profile | Kind::Deployment = kind {
        for known in KNOWN {
            forget(known, base, &over);
        }
    }
    let spelt = matches!(kind, Kind::Profile | Kind::Deployment | Kind::Template);
    for (key, field) in over.0 {
        let variables = spelt && &*key == "vars";
        put(&mut base.0, key, field, variables);
    }
}

/// Takes a generally known variable out of `base` if `over` sets it: it may be a setting in one
/// and in `vars` in the other.
fn forget(known: &str, base: &mut Table, over: &Table) {
    let inside = |table: &Table| match table.0.get("vars").map(|vars| &vars.value.value) {
        Some(Value::Table(vars)) => spelling(&vars.0, known).is_some(),
        _ => false,
    };
    if !over.0.contains_key(known) && !inside(over) {
        return;
    }
    base.0.remove(known);
    if let Some(Field { value: Marked { value: Value::Table(vars), .. }, .. }) = base.0.get_mut("vars")
        && let Some(key) = spelling(&vars.0, known)
    {
        vars.0.remove(&key);
    }
}

/// How a table spells a variable: hyphens and underscores are the same.
fn spelling(table: &BTreeMap<Arc<str>, Field>, name: &str) -> Option<Arc<str>> {
    if let Some((key, _)) = table.get_key_value(name) {
        return Some(key.clone());
    }
    let wanted = name.replace('-', "_");
    table.keys().find(|key| key.replace('-', "_") == wanted).cloned()
}

/// Puts one setting over what is there. `variables`: it is, or is among, the variables of a
/// template.
fn put(base: &mut BTreeMap<Arc<str>, Field>, key: Arc<str>, field: Field, variables: bool) {
    let below = match variables {
        true => spelling(base, &key).and_then(|key| base.remove(&key)),
        false => base.remove(&key),
    };
    let merged = match (below, field) {
        (
            Some(Field { key, value: Marked { value: Value::Table(mut below), mark } }),
            Field { value: Marked { value: Value::Table(above), .. }, .. },
        ) => {
            for (inner, field) in above.0 {
                put(&mut below.0, inner, field, variables);
            }
            Field { key, value: Marked::new(Value::Table(below), mark) }
        }
        (_, field) => field,
    };
    base.insert(key, merged);
}

/// Reports settings that neither the inventory nor the environment has. `mark`: the overlay.
fn lacking(
    fields: &'static Fields,
    table: &Table,
    name: &str,
    mark: super::Mark,
    problems: &mut Vec<Problem>,
) {
    problems.extend(lacks(fields, name, mark, |key| table.0.contains_key(key)));
    for key in fields.keys {
        let Some(Field { value: Marked { value: Value::Table(inner), mark }, .. }) = table.0.get(key.name)
        else {
            continue;
        };
        match &key.shape {
            Shape::Table(fields) => lacking(fields, inner, &format!("`{}`", key.name), *mark, problems),
            Shape::Map(Shape::Table(fields)) => {
                for (name, field) in &inner.0 {
                    if let Value::Table(inner) = &field.value.value {
                        lacking(fields, inner, &format!("`{name}`"), field.key, problems);
                    }
                }
            }
            _ => {}
        }
    }
}
