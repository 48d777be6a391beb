//! A plan with what machines are served before and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::desired::{Deployment, Desired};
use crate::model::{Name, Time};
use crate::plan::{self, Action, Change, Patch, Plan, unified};
use crate::state::{Secrets, State};
use crate::walk::served::{self, Served};

/// For how many changed deployments what is served is compared, the worst first.
const COMPARED_MAX: usize = 200;

/// What adopting `desired` would do, with diffs of what machines are served. `changed` names the
/// secrets whose texts differ: they are masked, and shown as changed.
pub fn preview(desired: &Arc<Desired>, state: &State, changed: &BTreeSet<String>, now: Time) -> Plan {
    let mut plan = plan::diff(desired, state);
    let before = masked(state.clone(), &BTreeSet::new());
    let mut after = None;
    let mut known: BTreeMap<Vec<(String, Vec<String>)>, String> = BTreeMap::new();
    let mut compared = 0;
    for change in plan.changes.iter_mut().rev().filter(|change| is_comparable(change)) {
        compared += 1;
        if compared > COMPARED_MAX {
            plan.uncompared += 1;
            continue;
        }
        // Most plans are empty: the next state is made when the first change wants it.
        let after = after.get_or_insert_with(|| masked(state.adopt(desired.clone()), changed));
        let patches = patches(&before, after, change, now);
        if patches.is_empty() {
            let same = |detail: &mut String| *detail = "what it is served stays the same".into();
            change.details.iter_mut().filter(|detail| *detail == plan::diff::CONTENT).for_each(same);
            continue;
        }
        change.details.retain(|detail| detail != plan::diff::CONTENT);
        let key = patches.iter().map(|patch| (patch.name.clone(), edits(patch))).collect();
        match known.get(&key) {
            Some(other) => change.served_like = Some(other.clone()),
            None => {
                known.insert(key, change.name.clone());
                change.served = patches;
            }
        }
    }
    plan
}

/// The secrets whose texts differ between what is served and what would be.
pub fn changed_secrets(before: &Secrets, after: &Secrets, desired: &Desired) -> BTreeSet<String> {
    let names = desired.secrets.keys().map(ToString::to_string);
    names.filter(|name| before.get(name).is_some() && before.get(name) != after.get(name)).collect()
}

fn is_comparable(change: &Change) -> bool {
    change.kind == "deployment" && change.action != Action::Create
}

/// The lines that differ, wherever they stand.
fn edits(patch: &Patch) -> Vec<String> {
    patch.lines.iter().filter(|line| !line.starts_with([' ', '@'])).cloned().collect()
}

fn masked(state: State, changed: &BTreeSet<String>) -> State {
    let mask = |name: &Name| {
        let note = if changed.contains(name.as_str()) { ", changed" } else { "" };
        (name.to_string(), format!("(secret {name}{note})"))
    };
    let masks = state.desired().secrets.keys().map(mask).collect();
    state.with_secrets(Secrets::Known(masks))
}

fn patches(before: &State, after: &State, change: &Change, now: Time) -> Vec<Patch> {
    let find = |state: &State, name: &str| -> Option<Arc<Deployment>> {
        state.desired().deployments.get(&name.parse::<Name>().ok()?).cloned()
    };
    let Some(former) = find(before, change.former_name.as_ref().unwrap_or(&change.name)) else {
        return Vec::new();
    };
    if change.action == Action::Remove {
        let Some(mac) = served::mac(before, &former) else { return Vec::new() };
        let answer = |state: &State| served::dhcp(state, &former, mac, now);
        return unified::patch("DHCP answer", &answer(before), &answer(after)).into_iter().collect();
    }
    let old = served::served(before, &former, now);
    let new = find(after, &change.name).map_or_else(Vec::new, |now_is| served::served(after, &now_is, now));
    let mut names: Vec<&String> = old.iter().map(|(name, _)| name).collect();
    names.extend(new.iter().map(|(name, _)| name).filter(|name| !old.iter().any(|(old, _)| old == *name)));
    let text = |list: &[Served], wanted: &str| {
        list.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.clone()).unwrap_or_default()
    };
    names.iter().filter_map(|name| unified::patch(name, &text(&old, name), &text(&new, name))).collect()
}
