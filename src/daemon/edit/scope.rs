//! What a token that is bound to pools may change: deployments whose machines are certainly of these pools, as they are
//! and as they become. What is not certain is refused.

use std::collections::BTreeMap;

use super::place;
use crate::api::resource::{EditRequest, Edited};
use crate::desired::{Deployment, Desired, Place};
use crate::edit::Changes;
use crate::manifest::{Documents, Kind};
use crate::model::Name;

type Labels = BTreeMap<String, String>;

/// The labels that machines of some pools have. A pool that asks for none holds no machine for this.
pub(super) fn selectors(documents: &Documents, pools: &[Name]) -> Vec<Labels> {
    let known = pools.iter().filter_map(|pool| documents.pools.get(pool)?.body.select.as_ref());
    let owned = |labels: &crate::manifest::kind::table::Labels| -> Labels {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    known.map(|select| owned(&select.value)).filter(|labels| !labels.is_empty()).collect()
}

/// Refuses edits that a token bound to `pools` may not make; `selectors` are those of these pools.
pub(super) fn allowed(
    request: &EditRequest,
    pools: &[Name],
    selectors: &[Labels],
    changes: &Changes,
    (before, after): (&Desired, &Desired),
) -> Result<(), Box<Edited>> {
    for (index, resource) in changes.resources.iter().enumerate() {
        let (edit, begin) = place(request, index);
        let of_pools = pools.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let refuse = |why: String| {
            let why = format!(
                "{begin}this token may change deployments of the pools {of_pools} and nothing else, and {why}"
            );
            Err(Box::new(Edited::OutOfScope { why, edit: edit.clone() }))
        };
        let (kind, name) = (resource.kind.name(), &resource.name);
        if resource.kind != Kind::Deployment {
            return refuse(format!("{kind} {name} is no deployment"));
        }
        let states = [(before, "is"), (after, "would be")];
        let found = states.map(|(desired, verb)| (desired, desired.deployments.get(name), verb));
        if found.iter().all(|(_, deployment, _)| deployment.is_none()) {
            return refuse(format!("{kind} {name} is not known"));
        }
        for (desired, deployment, verb) in found {
            if deployment.is_some_and(|deployment| !is_within(deployment, desired, selectors)) {
                return refuse(format!("{kind} {name} {verb} on a machine that is not certainly of them"));
            }
        }
    }
    Ok(())
}

/// Whether every machine that it is or may be put on is of one of the pools.
fn is_within(deployment: &Deployment, desired: &Desired, selectors: &[Labels]) -> bool {
    let labels = match &deployment.place {
        Place::Machine(machine) => desired.machines.get(machine).map(|machine| &machine.labels),
        Place::Select(wanted) => Some(wanted),
    };
    let Some(labels) = labels else { return false };
    let has = |wanted: &Labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
    selectors.iter().any(has)
}
