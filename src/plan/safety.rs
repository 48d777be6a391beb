//! When a plan is held back until a person agrees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Change, GivenUp, Impact, Plan};
use crate::desired::{Desired, Safety};
use crate::state::{State, Thresholds};

/// What a person agreed to, by exact numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Hold {
    /// The flag that agrees, with its number; `None` where no flag does.
    pub fn flag(&self) -> Option<&str> {
        let begin = self.cure.find("--allow-")?;
        self.cure[begin..].split(',').next()
    }
}

/// Every reason to hold `plan`, which makes `state` what is desired; none means that it may be adopted.
pub fn hold(plan: &Plan, desired: &Desired, state: &State, consent: &Consent) -> Vec<Hold> {
    let rows: Vec<&Change> = plan.changes.iter().collect();
    hold_rows(&rows, &plan.given_up, desired, state, consent)
}

/// The same of a plan's rows and of what it gives up.
pub(super) fn hold_rows(
    rows: &[&Change],
    given_up: &[GivenUp],
    desired: &Desired,
    state: &State,
    consent: &Consent,
) -> Vec<Hold> {
    let limits = Limits { own: (&desired.safety).into(), state, source: desired.safety.source() };
    let all = [
        removals(rows, given_up, &limits, consent),
        reinstalls(rows, &limits, consent),
        wipes(rows, desired, consent),
        protected(rows),
    ];
    all.into_iter().flatten().collect()
}

/// What a revision is judged by: its own thresholds, and those that its source had until now. What it loosens
/// counts from the next revision on.
struct Limits<'a> {
    own: Thresholds,
    state: &'a State,
    source: Option<&'a str>,
}

/// Said of a limit that the revision itself would not have.
const LOOSENED: &str = " in what is served, which counts until the new [safety] is served";

impl Limits<'_> {
    /// Why what is given up of one source is too much.
    fn too_many(&self, group: &GivenUp) -> Option<String> {
        if !group.is_own {
            // It is followed no more, or gave them to this one.
            let usual = Thresholds::from(&Safety::default());
            let served = self.state.guards().of(group.source.as_deref());
            return too_many(group, served.map_or(usual, |served| served.stricter(usual)), "");
        }
        too_many(group, self.own, "").or_else(|| too_many(group, self.both()?, LOOSENED))
    }

    /// The stricter of both, where the source was served before.
    fn both(&self) -> Option<Thresholds> {
        self.state.guards().of(self.source).map(|served| self.own.stricter(served))
    }
}

fn removals(rows: &[&Change], given_up: &[GivenUp], limits: &Limits, consent: &Consent) -> Option<Hold> {
    let gone: Vec<&Change> =
        select(rows, |change| change.kind == "deployment" && change.action == Action::Remove);
    let reasons: Vec<String> = given_up.iter().filter_map(|group| limits.too_many(group)).collect();
    let count = gone.len();
    let cure = agree("--allow-removals", count, reasons.iter().any(|reason| reason.ends_with(LOOSENED)));
    (!reasons.is_empty() && consent.removals != Some(count)).then(|| Hold {
        reason: reasons.join("; "),
        names: names(&gone),
        cure,
    })
}

/// What agrees to a number of changes; `is_loosened` where the revision itself allows them.
fn agree(flag: &str, count: usize, is_loosened: bool) -> String {
    let first = if is_loosened { ", or commit the change of [safety] alone first" } else { "" };
    format!("agree with {flag} {count}{first}")
}

/// Why what is given up of one source is too much; `whose` says whose limit it is.
fn too_many(group: &GivenUp, limits: Thresholds, whose: &str) -> Option<String> {
    let GivenUp { source, is_own, count, before, is_replaced } = group;
    let of = source.as_ref().filter(|_| !is_own).map(|source| format!(" of source {source}"));
    let of = of.unwrap_or_default();
    let share = count * 100 > before * usize::from(limits.max_remove);
    if count == before && !limits.allow_empty && !is_replaced {
        let why = if whose.is_empty() { String::new() } else { format!("; allow-empty is false{whose}") };
        Some(format!("the revision removes every deployment{of} ({count}){why}"))
    } else if share && *before >= limits.min_existing as usize {
        Some(format!(
            "the revision removes {count} of {before} deployments{of}; max-remove is {}%{whose}",
            limits.max_remove
        ))
    } else {
        None
    }
}

fn reinstalls(rows: &[&Change], limits: &Limits, consent: &Consent) -> Option<Hold> {
    let wiped = select(rows, |change| change.impact == Impact::Wipe);
    let count = wiped.len();
    let over = |limits: Thresholds| limits.max_reinstall.filter(|limit| count > *limit as usize);
    let own = over(limits.own).map(|limit| (limit, ""));
    let (limit, whose) = own.or_else(|| Some((over(limits.both()?)?, LOOSENED)))?;
    if consent.reinstalls == Some(count) {
        return None;
    }
    let reason = format!("the revision reinstalls {count} machines; max-reinstall is {limit}{whose}");
    Some(Hold { reason, names: names(&wiped), cure: agree("--allow-reinstalls", count, !whose.is_empty()) })
}

/// Machines that are taken from their deployments and wiped: no more at once than may be within an hour.
fn wipes(rows: &[&Change], desired: &Desired, consent: &Consent) -> Option<Hold> {
    let wiped = select(rows, |change| change.impact == Impact::Wipe);
    let lost = select(&wiped, |change| change.action == Action::Remove);
    let most = desired.safety.max_wipes?;
    if lost.len() <= most as usize || consent.reinstalls == Some(wiped.len()) {
        return None;
    }
    let count = lost.len();
    Some(Hold {
        reason: format!(
            "the revision has {count} machines wiped that lose their deployments; max-wipes is {most}/h"
        ),
        names: names(&lost),
        cure: agree("--allow-reinstalls", wiped.len(), false),
    })
}

fn protected(rows: &[&Change]) -> Option<Hold> {
    let harmed = select(rows, |change| change.protected && change.impact >= Impact::Release);
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

fn select<'a>(rows: &[&'a Change], test: impl Fn(&Change) -> bool) -> Vec<&'a Change> {
    rows.iter().filter(|change| test(change)).copied().collect()
}

fn names(changes: &[&Change]) -> Vec<String> {
    changes.iter().map(|change| change.name.clone()).collect()
}
