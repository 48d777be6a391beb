//! What becomes of pools, and of who claimed their machines.

use std::sync::Arc;

use super::{note, plain};
use crate::desired::{Place, Pool};
use crate::model::{Name, Span};
use crate::plan::{Action, Change};
use crate::state::State;

pub(super) fn pools(state: &State, next: &State, changes: &mut Vec<Change>) {
    let (before, after) = (&state.desired().pools, &next.desired().pools);
    for (name, pool) in after {
        let origin = &pool.prototype.origin;
        match before.get(name) {
            None => {
                let reason = "gives out machines from now on";
                changes.push(plain("pool", name, Action::Create, origin, reason, description(pool)));
            }
            Some(former) if Arc::ptr_eq(former, pool) => {}
            Some(former) => {
                let mut details = details(former, pool);
                if !details.is_empty() {
                    details.extend(claims(state, name));
                    let reason = "concerns claims that are made from now on";
                    changes.push(plain("pool", name, Action::Update, origin, reason, details));
                }
            }
        }
    }
    for (name, pool) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        let reason = "gives out no machine any more";
        let details = claims(state, name).into_iter().collect();
        changes.push(plain("pool", name, Action::Remove, &pool.prototype.origin, reason, details));
    }
}

/// What a new pool is, in a few lines.
fn description(pool: &Pool) -> Vec<String> {
    let on_return = format!("on-return: {}", pool.on_return);
    vec![format!("profile: {}", pool.profile), format!("select: {}", labels(pool)), on_return]
}

fn details(before: &Pool, after: &Pool) -> Vec<String> {
    let Pool { name: _, profile, prototype, max, per_caller, ttl, clean, on_return, level } = after;
    let count = |count: Option<u32>| count.map_or("unlimited".to_owned(), |count| count.to_string());
    let time = |ttl: Option<Span>| ttl.map_or("until released".to_owned(), |ttl| ttl.to_string());
    let mut details = Vec::new();
    note(&mut details, "profile", before.profile.as_str(), profile.as_str());
    note(&mut details, "select", &labels(before), &labels(after));
    note(&mut details, "max", &count(before.max), &count(*max));
    note(&mut details, "per-caller", &count(before.per_caller), &count(*per_caller));
    note(&mut details, "ttl", &time(before.ttl), &time(*ttl));
    note(&mut details, "clean", &before.clean.to_string(), &clean.to_string());
    note(&mut details, "on-return", before.on_return.name(), on_return.name());
    note(&mut details, "level", before.level.name(), level.name());
    if before.prototype.digest != prototype.digest {
        details.push("what its machines run changes (profile, template, boot, subnet or secret)".into());
    }
    details
}

fn labels(pool: &Pool) -> String {
    match &pool.prototype.place {
        Place::Select(labels) => {
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        }
        Place::Machine(machine) => machine.to_string(),
    }
}

/// Claims that were made before go on as they were made.
fn claims(state: &State, pool: &Name) -> Option<String> {
    let of_pool = state.claims().values().filter(|claim| claim.pool == *pool);
    let (have, wait): (Vec<_>, Vec<_>) = of_pool.partition(|claim| claim.place.is_some());
    (!have.is_empty() || !wait.is_empty())
        .then(|| format!("{} claims keep their machines as they are, and {} wait", have.len(), wait.len()))
}
