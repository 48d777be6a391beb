//! Laying an environment's tables over those of the inventory: tables merge by key, anything else
//! replaces. Settings that stand for the same thing replace each other, however they are spelt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checker::lacks;
use super::parse::{Parser, Place};
use super::shape::{Fields, KNOWN, Shape, fields};
use super::similar::{only_similar, similar};
use super::{Code, Documents, Field, Kind, Mark, Marked, Problem, Resource, Table, Value};
use crate::model::Name;

/// Checked tables of resources on their way to being documents.
pub(super) type Tables = BTreeMap<(Kind, Name), Place>;

/// The ways to choose a deployment's machine. They exclude each other.
const WAYS: [&str; 3] = ["machine", "select", "mac"];

impl Documents {
    /// Reads the files of an environment and lays them over what the others say. Of those only the
    /// files are read again that have a resource the environment changes.
    pub(super) fn lay_over(&mut self, overlays: &[u32]) -> Vec<Problem> {
        let sources = self.sources.clone();
        let over = Parser::tables(overlays, &sources, true);
        let Parser { documents: own, mut problems, tables: over, .. } = over;
        let changed: BTreeSet<u32> = over.keys().filter_map(|key| Some(self.mark(key)?.file)).collect();
        let changed: Vec<u32> = changed.into_iter().collect();
        let mut base = Parser::tables(&changed, &sources, false).tables;
        base.retain(|key, _| over.contains_key(key));
        self.unread.extend(own.unread);
        self.unparsed.extend(own.unparsed);
        let (told, unread) = lay(self, &mut base, over);
        problems.extend(told);
        self.unread.extend(unread);
        // An overlay that could not be read may have said anything about its resource.
        for (key, place) in &mut base {
            place.whole &= !self.unread.contains(key);
        }
        for key in self.unread.clone() {
            self.doubt(&key);
        }
        *self = Parser::put(std::mem::take(self), base);
        problems
    }

    fn mark(&self, (kind, name): &(Kind, Name)) -> Option<Mark> {
        match kind {
            Kind::Subnet => self.subnets.get(name).map(|own| own.mark),
            Kind::Boot => self.boots.get(name).map(|own| own.mark),
            Kind::Template => self.templates.get(name).map(|own| own.mark),
            Kind::Profile => self.profiles.get(name).map(|own| own.mark),
            Kind::Machine => self.machines.get(name).map(|own| own.mark),
            Kind::Deployment => self.deployments.get(name).map(|own| own.mark),
            Kind::Pool => self.pools.get(name).map(|own| own.mark),
        }
    }

    fn names(&self, kind: Kind) -> Vec<&Name> {
        match kind {
            Kind::Subnet => self.subnets.keys().collect(),
            Kind::Boot => self.boots.keys().collect(),
            Kind::Template => self.templates.keys().collect(),
            Kind::Profile => self.profiles.keys().collect(),
            Kind::Machine => self.machines.keys().collect(),
            Kind::Deployment => self.deployments.keys().collect(),
            Kind::Pool => self.pools.keys().collect(),
        }
    }

    /// Takes note that settings of a resource may be missing.
    fn doubt(&mut self, (kind, name): &(Kind, Name)) {
        match kind {
            Kind::Subnet => doubt(&mut self.subnets, name),
            Kind::Boot => doubt(&mut self.boots, name),
            Kind::Template => doubt(&mut self.templates, name),
            Kind::Profile => doubt(&mut self.profiles, name),
            Kind::Machine => doubt(&mut self.machines, name),
            Kind::Deployment => doubt(&mut self.deployments, name),
            Kind::Pool => doubt(&mut self.pools, name),
        }
    }

    /// Profiles that somebody names.
    fn used_profiles(&self) -> BTreeSet<Name> {
        let deployments = self.deployments.values().filter_map(|own| own.body.profile.as_ref());
        let profiles = self.profiles.values().flat_map(|own| &own.body.extends);
        let pools = self.pools.values().filter_map(|own| own.body.profile.as_ref());
        deployments.chain(profiles).chain(pools).map(|profile| profile.value.clone()).collect()
    }
}

fn doubt<T: Clone>(resources: &mut BTreeMap<Name, Arc<Resource<T>>>, name: &Name) {
    if let Some(resource) = resources.get_mut(name).filter(|resource| resource.whole) {
        Arc::make_mut(resource).whole = false;
    }
}

/// Lays `over` over `base`, which are the tables of those of `documents` that it changes. Resources
/// that can't be meant to be new are reported, and those that could be read but not used returned.
fn lay(documents: &Documents, base: &mut Tables, over: Tables) -> (Vec<Problem>, BTreeSet<(Kind, Name)>) {
    let mut used = documents.used_profiles();
    used.append(&mut used_profiles(over.values()));
    let mut unread = BTreeSet::new();
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
        } else if !documents.unread.contains(&key) && unread.insert(key.clone()) {
            problems.push(unknown(documents, &key, &place, base));
        }
    }
    (problems, unread)
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
        _ => fields(*kind).is_complete(|key| table.0.contains_key(key)),
    }
}

fn unknown(documents: &Documents, key: &(Kind, Name), place: &Place, base: &Tables) -> Problem {
    let (kind, name) = (key.0.name(), &key.1);
    let message = format!("there is no {kind} called `{name}` that this environment could change");
    let problem = Problem::new(Code::UnknownName, place.mark, message, format!("unknown {kind}"));
    let added = || {
        base.keys()
            .filter(|(other, name)| *other == key.0 && documents.mark(&(*other, name.clone())).is_none())
    };
    let all: Vec<&Name> = documents.names(key.0).into_iter().chain(added().map(|(_, name)| name)).collect();
    let names = || all.iter().map(|name| name.as_str());
    let add = match key.0 {
        Kind::Deployment => "to add a deployment, say which machine it is for".to_owned(),
        Kind::Profile => {
            "to add a profile, name it in a deployment's `profile` or another's `extends`".to_owned()
        }
        _ => {
            let needed = fields(key.0).keys.iter().filter(|key| key.required);
            let mut needed: Vec<_> = needed.map(|key| format!("`{}`", key.name)).collect();
            let either: Vec<_> = fields(key.0).either.iter().map(|key| format!("`{key}`")).collect();
            needed.extend((!either.is_empty()).then(|| either.join(" or ")));
            format!("to add a {kind}, set {}", needed.join(" and "))
        }
    };
    let Some(near) = similar(name.as_str(), names()) else { return problem.help(add) };
    let below = near.parse().ok().map(|near| (key.0, near));
    let mark = below.and_then(|below| documents.mark(&below).or(base.get(&below).map(|below| below.mark)));
    let origin = mark.map(|mark| documents.sources.origin(mark));
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
