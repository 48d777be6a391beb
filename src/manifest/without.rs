//! `without` in a file of an environment: what the inventory says of the resource, and does not count there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checker::plain;
use super::kind::WITHOUT;
use super::overlay::spelling;
use super::{Code, Field, Fields, Mark, Marked, Problem, Table, Value};

/// Takes what `over` leaves out off `base`. What profiles bring is left out by the setting itself, which stays.
pub(super) fn left_out(fields: &Fields, base: &mut Table, over: &mut Table) -> Vec<Problem> {
    let Some(Field { value: Marked { value: Value::List(wanted), .. }, .. }) = over.0.get_mut(WITHOUT) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let inherits = fields.key(WITHOUT).is_some();
    for one in wanted.iter() {
        let Value::Text(key) = &one.value else { continue };
        if !take_off(fields, base, key) && !inherits {
            problems.push(not_inherited(key, one.mark));
        }
    }
    if let Some(Field { value: Marked { value: Value::List(former), .. }, .. }) = base.0.get(WITHOUT) {
        wanted.splice(0..0, former.iter().cloned());
    }
    if !inherits {
        over.0.remove(WITHOUT);
    }
    problems
}

/// Takes one setting off a table, by its key with dots; false if it is not there.
fn take_off(fields: &Fields, table: &mut Table, key: &str) -> bool {
    let known = |variable: &str| fields.variables().find(|known| known.replace('-', "_") == variable);
    let inside = fields.variables_key().and_then(|vars| key.strip_prefix(vars.name)?.strip_prefix('.'));
    let own = inside.unwrap_or(key).replace('-', "_");
    let Some(variable) = inside.or_else(|| known(&own)) else { return take_in(&mut table.0, key, false) };
    let set = known(&own).is_some_and(|known| table.0.remove(known).is_some());
    let below = fields.variables_key().and_then(|vars| table.0.get_mut(vars.name));
    match below {
        Some(Field { value: Marked { value: Value::Table(vars), .. }, .. }) => {
            take_in(&mut vars.0, variable, true) || set
        }
        _ => set,
    }
}

fn take_in(table: &mut BTreeMap<Arc<str>, Field>, key: &str, variables: bool) -> bool {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let first = if variables { spelling(table, first) } else { Some(first.into()) };
    let Some(first) = first else { return false };
    match rest {
        None => table.remove(&first).is_some(),
        Some(rest) => match table.get_mut(&first) {
            Some(Field { value: Marked { value: Value::Table(inner), .. }, .. }) => {
                take_in(&mut inner.0, rest, variables)
            }
            _ => false,
        },
    }
}

/// The problem with what is left out and nothing sets.
pub fn not_inherited(key: &str, mark: Mark) -> Problem {
    let message = format!("`{}` is left out, and nothing sets it", plain(key));
    let problem = Problem::new(Code::NotInherited, mark, message, "nothing to leave out");
    problem.help("`voldemort resolved NAME` lists what a deployment inherits, as it is called here")
}
