//! When a plan is held back until a person agrees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Change, GivenUp, Impact, Plan};
use crate::desired::Safety;

/// What a person agreed to, by exact numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consent {
    pub removals: Option<usize>,
    pub reinstalls: Option<usize>,
}

/// One reason to hold a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    pub reason: String,
    /// The deployments or machines it is about.
    pub names: Vec<String>,
    /// The exact flag that agrees, or what to write instead.
    pub cure: String,
}

/// Every reason to hold `plan`; none means that it may be adopted.
pub fn hold(plan: &Plan, safety: &Safety, consent: &Consent) -> Vec<Hold> {
    [removals(plan, safety, consent), reinstalls(plan, safety, consent), protected(plan)]
        .into_iter()
        .flatten()
        .collect()
}

fn removals(plan: &Plan, safety: &Safety, consent: &Consent) -> Option<Hold> {
    let gone: Vec<&Change> =
        select(plan, |change| change.kind == "deployment" && change.action == Action::Remove);
    let usual = Safety::default();
    let reasons = plan.given_up.iter().filter_map(|group| match group.is_own {
        true => too_many(group, safety),
        false => too_many(group, &usual),
    });
    let reasons: Vec<String> = reasons.collect();
    let count = gone.len();
    let cure = format!("agree with --allow-removals {count}");
    (!reasons.is_empty() && consent.removals != Some(count)).then(|| Hold {
        reason: reasons.join("; "),
        names: names(&gone),
        cure,
    })
}

/// Why what is given up of one source is too much.
fn too_many(group: &GivenUp, safety: &Safety) -> Option<String> {
    let GivenUp { source, is_own, count, before, is_replaced } = group;
    let of = if *is_own || source.is_empty() { String::new() } else { format!(" of source {source}") };
    let share = count * 100 > before * usize::from(safety.max_remove);
    if count == before && !safety.allow_empty && !is_replaced {
        Some(format!("the revision removes every deployment{of} ({count})"))
    } else if share && *before >= safety.min_existing as usize {
        Some(format!(
            "the revision removes {count} of {before} deployments{of}; max-remove is {}%",
            safety.max_remove
        ))
    } else {
        None
    }
}

fn reinstalls(plan: &Plan, safety: &Safety, consent: &Consent) -> Option<Hold> {
    let wiped = select(plan, |change| change.impact == Impact::Wipe);
    let limit = safety.max_reinstall? as usize;
    let count = wiped.len();
    if count <= limit || consent.reinstalls == Some(count) {
        return None;
    }
    let reason = format!("the revision reinstalls {count} machines; max-reinstall is {limit}");
    Some(Hold { reason, names: names(&wiped), cure: format!("agree with --allow-reinstalls {count}") })
}

fn protected(plan: &Plan) -> Option<Hold> {
    let harmed = select(plan, |change| change.protected && change.impact >= Impact::Release);
    // What takes a card over from a protected machine is not the one to be set free.
    let name = |change: &&Change| match (change.kind.as_str(), &change.former_machine) {
        ("machine", Some(former)) => former.clone(),
        _ => change.name.clone(),
    };
    (!harmed.is_empty()).then(|| Hold {
        reason: "the revision releases or wipes protected machines".into(),
        names: harmed.iter().map(name).collect(),
        cure: "set protect = false on them in a commit of its own first".into(),
    })
}

fn select(plan: &Plan, test: impl Fn(&Change) -> bool) -> Vec<&Change> {
    plan.changes.iter().filter(|change| test(change)).collect()
}

fn names(changes: &[&Change]) -> Vec<String> {
    changes.iter().map(|change| change.name.clone()).collect()
}
