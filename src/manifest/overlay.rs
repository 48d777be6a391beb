//! Laying an environment's tables over those of the inventory: tables merge by key, anything else
//! replaces. Settings that stand for the same thing replace each other, however they are spelt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checker::lacks;
use super::document::Place;
use super::kind::{AnyResource, Mention};
use super::parse::Parser;
use super::shape::{Addition, Fields, Shape};
use super::similar::{only_similar, similar};
use super::without;
use super::{Code, Documents, Field, Kind, Marked, Problem, Table, Value};
use crate::model::Name;

/// Checked tables of resources on their way to being documents.
pub(super) type Tables = BTreeMap<(Kind, Name), Place>;

impl Documents {
    /// Reads the files of an environment and lays them over what the others say. Of those only the
    /// files are read again that have a resource the environment changes.
    pub(super) fn lay_over(&mut self, overlays: &[u32]) -> Vec<Problem> {
        let sources = self.sources.clone();
        let over = Parser::tables(overlays, &sources, true);
        let Parser { documents: own, mut problems, tables: over, .. } = over;
        let changed: BTreeSet<u32> =
            over.keys().filter_map(|(kind, name)| Some(self.of(*kind).mark(name)?.file)).collect();
        let changed: Vec<u32> = changed.into_iter().collect();
        let mut base = Parser::tables(&changed, &sources, false).tables;
        base.retain(|key, _| over.contains_key(key));
        self.unread.extend(own.unread);
        self.unparsed.extend(own.unparsed);
        let (found, unread) = lay(self, &mut base, over);
        problems.extend(found);
        self.unread.extend(unread);
        // An overlay that could not be read may have said anything about its resource.
        for (key, place) in &mut base {
            place.whole &= !self.unread.contains(key);
        }
        for (kind, name) in self.unread.clone() {
            self.of_mut(kind).mark_uncertain(&name);
        }
        for ((kind, _), place) in base {
            self.put(AnyResource::read(kind, place));
        }
        problems
    }

    /// The resources that must be named by others, and are.
    fn named(&self) -> BTreeSet<(Kind, Name)> {
        let mut named = BTreeSet::new();
        for kind in Kind::ALL {
            self.of(kind).mentions(&mut |_, mention| match mention {
                Mention::Name(kind, name) if must_be_named(kind) => {
                    let key = (kind, name.value.clone());
                    if !named.contains(&key) {
                        named.insert(key);
                    }
                }
                _ => {}
            });
        }
        named
    }
}

fn must_be_named(kind: Kind) -> bool {
    matches!(kind.fields().addition, Addition::Named(_))
}

/// Lays `over` over `base`, which are the tables of those of `documents` that it changes. Resources
/// that can't be meant to be new are reported, and those that could be read but not used returned.
fn lay(documents: &Documents, base: &mut Tables, over: Tables) -> (Vec<Problem>, BTreeSet<(Kind, Name)>) {
    let mut named = documents.named();
    named.append(&mut named_in(&over));
    let mut unread = BTreeSet::new();
    let mut problems = Vec::new();
    for (key, place) in over {
        if let Some(below) = base.get_mut(&key) {
            below.whole &= place.whole;
            let (mark, mut table) = (place.mark, place.table);
            problems.extend(without::left_out(key.0.fields(), &mut below.table, &mut table));
            merge(key.0.fields(), &mut below.table, table);
            if below.whole {
                lacking(key.0.fields(), &below.table, &subject(&key), mark, &mut problems);
            }
        } else if !place.whole || is_complete(&key, &place.table, &named) {
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

/// The resources that must be named by others, and are in these tables.
fn named_in(tables: &Tables) -> BTreeSet<(Kind, Name)> {
    let mut named = BTreeSet::new();
    for ((kind, _), place) in tables {
        let keys = kind.fields().keys.iter();
        for (key, kind) in
            keys.filter_map(|key| Some((key, key.shape.names().filter(|kind| must_be_named(*kind))?)))
        {
            let values = match place.table.0.get(key.name).map(|field| &field.value) {
                Some(Marked { value: Value::List(list), .. }) => list.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            named.extend(values.iter().filter_map(|value| match &value.value {
                Value::Name(name) => Some((kind, name.clone())),
                _ => None,
            }));
        }
    }
    named
}

/// Whether a table is complete by itself, rather than a change of an existing one.
fn is_complete(key: &(Kind, Name), table: &Table, named: &BTreeSet<(Kind, Name)>) -> bool {
    let fields = key.0.fields();
    let has = |key: &str| table.0.contains_key(key);
    match fields.addition {
        Addition::Complete => fields.is_complete(has),
        Addition::OneOf(keys, _) => keys.iter().any(|key| has(key)),
        Addition::Named(_) => named.contains(key),
    }
}

fn unknown(documents: &Documents, key: &(Kind, Name), place: &Place, base: &Tables) -> Problem {
    let (kind, name) = (key.0.name(), &key.1);
    let message = format!("there is no {kind} called `{name}` that this environment could change");
    let problem = Problem::new(Code::UnknownName, place.mark, message, format!("unknown {kind}"));
    let below = documents.of(key.0);
    let added = base.keys().filter(|(other, name)| *other == key.0 && below.mark(name).is_none());
    let all: Vec<&Name> = below.headers().map(|(name, _)| name).chain(added.map(|(_, name)| name)).collect();
    let names = || all.iter().map(|name| name.as_str());
    let add = format!("to add a {kind}, {}", what_adds(key.0.fields()));
    let Some(near) = similar(name.as_str(), names()) else { return problem.help(add) };
    let mark = near.parse().ok().and_then(|near: Name| {
        below.mark(&near).or_else(|| base.get(&(key.0, near)).map(|added| added.mark))
    });
    let origin = mark.map(|mark| documents.sources.origin(mark));
    let at = origin.map_or_else(String::new, |origin| format!(" ({}:{})", origin.file, origin.line));
    let only =
        only_similar(name.as_str(), names()).filter(|_| !key.0.is_tied_to_hardware()).map(str::to_owned);
    problem.help(format!("a {kind} with a similar name exists: `{near}`{at}")).help(add).fix(place.mark, only)
}

/// What makes a table one of its own, in words.
fn what_adds(fields: &Fields) -> String {
    match fields.addition {
        Addition::OneOf(_, words) | Addition::Named(words) => words.to_owned(),
        Addition::Complete => {
            let needed = fields.keys.iter().filter(|key| key.required);
            let mut needed: Vec<_> = needed.map(|key| format!("`{}`", key.name)).collect();
            let either: Vec<_> = fields.either.iter().map(|key| format!("`{key}`")).collect();
            needed.extend((!either.is_empty()).then(|| either.join(" or ")));
            format!("set {}", needed.join(" and "))
        }
    }
}

fn merge(fields: &Fields, base: &mut Table, over: Table) {
    if let Addition::OneOf(keys, _) = fields.addition
        && keys.iter().any(|key| over.0.contains_key(*key))
    {
        base.0.retain(|key, _| !keys.contains(&&**key) || over.0.contains_key(key));
    }
    for known in fields.variables() {
        forget(fields, known, base, &over);
    }
    let variables = fields.variables_key().map(|key| key.name);
    for (key, field) in over.0 {
        let variables = variables == Some(&*key);
        put(&mut base.0, key, field, variables);
    }
}

/// Takes a variable that has a setting of its own out of `base` if `over` sets it: it may be a setting
/// in one and below `vars` in the other.
fn forget(fields: &Fields, known: &str, base: &mut Table, over: &Table) {
    let inside = || fields.variables_in(over).is_some_and(|vars| spelling(&vars.0, known).is_some());
    if !over.0.contains_key(known) && !inside() {
        return;
    }
    base.0.remove(known);
    let below = fields.variables_key().and_then(|key| base.0.get_mut(key.name));
    if let Some(Field { value: Marked { value: Value::Table(vars), .. }, .. }) = below
        && let Some(key) = spelling(&vars.0, known)
    {
        vars.0.remove(&key);
    }
}

/// How a table spells a variable: hyphens and underscores are the same.
pub(super) fn spelling(table: &BTreeMap<Arc<str>, Field>, name: &str) -> Option<Arc<str>> {
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
            Shape::Map(Shape::Table(fields)) | Shape::Variables(Shape::Table(fields)) => {
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
