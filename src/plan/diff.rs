//! State and revision to plan.

mod boot;
mod deployment;
mod lost;
mod machine;
mod pool;
mod renewal;
mod settings;
mod subnet;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use super::{Action, Blast, Change, FORMAT_VERSION, Impact, Plan, blast, given_up, id};
use crate::desired::{Desired, DhcpOptions, differences};
use crate::model::{Name, Origin, Power};
use crate::state::State;
use crate::state::apply::adopt::Part;
use crate::state::rename::{self, MovedCards};

/// The detail of a deployment whose manifest is the same and whose content is not; diffs of what
/// is served say it better where there are any.
pub const CONTENT: &str = "its content changes (template, boot, subnet or secret)";

/// What adopting `desired` would do. Pure: the same arguments give the same plan.
pub fn diff(desired: &Arc<Desired>, state: &State) -> Plan {
    between(state, &state.adopt(desired.clone()))
}

/// What the adopted state changes.
pub(super) fn between(state: &State, next: &State) -> Plan {
    let desired = next.desired();
    // Machines by their new names: what only got another name has not moved.
    let base = state.under_new_names(desired);
    let moved = rename::moved_cards(state.desired(), desired);
    let mut changes = fleet(&base, next, &moved);
    subnet::subnets(state.desired(), desired, &mut changes);
    boot::boots(state.desired(), desired, &mut changes);
    pool::pools(state, next, &mut changes);
    settings::settings(state, next, &mut changes);
    let plan = Plan {
        format_version: FORMAT_VERSION.into(),
        id: String::new(),
        from: state.desired().revision.to_string(),
        to: desired.revision.to_string(),
        lineage: state.lineage().to_string(),
        serial: state.serial(),
        deployments_before: given_up::count_served(state, desired.safety.source()),
        given_up: Vec::new(),
        changes: Vec::new(),
        blast: Blast::default(),
        uncompared: 0,
    };
    counted(plan, changes, state, &base, next, &moved)
}

/// A plan with these rows in the place of its own.
pub(super) fn complete(plan: Plan, changes: Vec<Change>, state: &State, next: &State) -> Plan {
    let base = state.under_new_names(next.desired());
    let moved = rename::moved_cards(state.desired(), next.desired());
    counted(plan, changes, state, &base, next, &moved)
}

fn counted(
    plan: Plan,
    mut changes: Vec<Change>,
    state: &State,
    base: &State,
    next: &State,
    moved: &MovedCards,
) -> Plan {
    sort(&mut changes);
    let blast = blast::blast(base, next, moved, &changes);
    let rows: Vec<&Change> = changes.iter().collect();
    let given_up = given_up::given_up(next.desired(), state, &rows);
    let id = id::id(&changes, base, next);
    Plan { id, given_up, changes, blast, ..plan }
}

/// The rows of a part of two states, in their order.
pub(super) fn part(part: &Part) -> Vec<Change> {
    let moved = rename::moved_cards(part.base.desired(), part.next.desired());
    let mut changes = fleet(&part.base, &part.next, &moved);
    sort(&mut changes);
    changes
}

/// The rows of machines and deployments, in no order. `base` has the machines by their new names.
fn fleet(base: &State, next: &State, moved: &MovedCards) -> Vec<Change> {
    let mut changes = Vec::new();
    machine::machines(base, next, moved, &mut changes);
    deployment::deployments(base, next, moved, &mut changes);
    if base.desired().revision.is_empty() {
        lost::lost(base, next, &mut changes);
    }
    changes
}

/// Least harmful first.
pub(super) fn order(one: &Change, other: &Change) -> Ordering {
    (one.impact, &one.kind, &one.name).cmp(&(other.impact, &other.kind, &other.name))
}

/// Puts the least harmful first.
pub(super) fn sort(changes: &mut [Change]) {
    changes.sort_by(order);
}

/// A change that concerns no machine.
fn plain(
    kind: &str,
    name: impl Display,
    action: Action,
    origin: &Origin,
    reason: &str,
    details: Vec<String>,
) -> Change {
    Change {
        impact: Impact::Live,
        action,
        kind: kind.into(),
        name: name.to_string(),
        former_name: None,
        machine: None,
        former_machine: None,
        installs: false,
        protected: false,
        reason: reason.into(),
        origin: origin.to_string(),
        details,
        served: Vec::new(),
        served_like: None,
    }
}

/// What is in `before` and not in `after`.
fn gone<'a, T: PartialEq>(
    before: &'a imbl::OrdMap<Name, Arc<T>>,
    after: &'a imbl::OrdMap<Name, Arc<T>>,
) -> impl Iterator<Item = (&'a Name, &'a Arc<T>)> {
    differences(before, after)
        .filter(|one| one.after.is_none())
        .filter_map(|one| Some((one.name, one.before?)))
}

/// The secrets that have another ciphertext than before.
pub(super) fn resealed<'a>(before: &Desired, after: &'a Desired) -> BTreeSet<&'a Name> {
    let is_other = |name: &Name, digest: &[u8; 32]| before.secrets.get(name).is_some_and(|was| was != digest);
    after.secrets.iter().filter(|(name, digest)| is_other(name, digest)).map(|(name, _)| name).collect()
}

/// Notes how power is switched, and whether its credentials are among the `resealed` ones.
fn power(
    details: &mut Vec<String>,
    before: Option<&Power>,
    after: Option<&Power>,
    resealed: &BTreeSet<&Name>,
) {
    let text = |power: Option<&Power>| power.map_or("none".into(), Power::to_string);
    note(details, "power", &text(before), &text(after));
    let credentials = after.and_then(|power| power.credentials.as_ref());
    let other = credentials.filter(|name| resealed.contains(name));
    details.extend(other.map(|name| format!("power: secret {name} has another ciphertext")));
}

fn lines(options: &DhcpOptions) -> String {
    options.lines().collect::<Vec<_>>().join(", ")
}

fn note(details: &mut Vec<String>, field: &str, before: &str, after: &str) {
    if before != after {
        details.push(format!("{field}: {before} -> {after}"));
    }
}

fn list<T: Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
