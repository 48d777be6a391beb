//! What a revision removes, counted for the safety rules.

use std::collections::BTreeMap;

use super::{Action, Change, GivenUp};
use crate::desired::Desired;
use crate::model::FilePath;
use crate::state::{Served, State};

/// How many deployments of a source, all where it is the only one, were served last.
pub(super) fn count_served(state: &State, source: Option<&str>) -> usize {
    if source.is_none() {
        return state.served().len();
    }
    // Earlier versions did not note whose a deployment was.
    let is_own = |file: &FilePath| file.is_unknown() || file.source() == source;
    state.served().values().filter(|served| is_own(&served.origin.file)).count()
}

/// The deployments that are removed, by the source that they were last served of: a source may be taken out
/// of the daemon's file, or have become another.
pub(super) fn given_up<'s>(desired: &'s Desired, state: &'s State, changes: &[&Change]) -> Vec<GivenUp> {
    let own = desired.safety.source();
    // Earlier versions did not note whose a deployment was.
    let source_of = |served: &'s Served| match served.origin.file.is_unknown() {
        true => own,
        false => served.origin.file.source(),
    };
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for change in changes.iter().filter(|one| one.kind == "deployment" && one.action == Action::Remove) {
        let served = state.served().get(change.name.as_str());
        *counts.entry(served.map_or(own, |served| source_of(served))).or_default() += 1;
    }
    let is_replaced = |source: Option<&str>| {
        changes.iter().any(|change| {
            change.kind == "deployment"
                && matches!(change.action, Action::Create | Action::Rename)
                && desired
                    .deployments
                    .get(change.name.as_str())
                    .is_some_and(|new| new.origin.file.source() == source)
        })
    };
    let group = |(source, count): (Option<&str>, usize)| GivenUp {
        source: source.map(str::to_owned),
        is_own: own.is_none() || own == source,
        count,
        before: state.served().values().filter(|served| source_of(served) == source).count(),
        is_replaced: is_replaced(source),
    };
    counts.into_iter().map(group).collect()
}
