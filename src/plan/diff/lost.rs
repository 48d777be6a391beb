//! What was served before the start and is no longer served.

use super::plain;
use crate::model::{Name, Origin};
use crate::plan::{Action, Change, Impact};
use crate::state::lineage::is_rename;
use crate::state::{Served, State};

/// What is no longer served, where the last revision is not loaded: as it was noted when it was served.
pub(super) fn lost(state: &State, next: &State, changes: &mut Vec<Change>) {
    for (name, served) in state.served() {
        let now = next.desired().deployments.get(name);
        let machine = state.assignments().get(name).or(served.machine.as_ref());
        let renamed = machine.and_then(|machine| next.tenant(machine)).is_some_and(|tenant| {
            tenant.redeploy <= served.redeploy && is_rename(name, served, tenant, state, next.desired())
        });
        if now.is_none() && !renamed {
            changes.push(removed(state, next, name, served));
        }
    }
    for name in state.protected().iter().filter(|name| next.protected().contains(*name)) {
        let deployed =
            state.tenants().get(name).is_some_and(|tenant| !next.desired().deployments.contains_key(tenant));
        if !next.desired().machines.contains_key(name) && !deployed {
            let origin = Origin { file: "".into(), line: 0, column: 0 };
            let reason = "is no longer known and gets no boot answers";
            changes.push(Change {
                impact: Impact::Release,
                machine: Some(name.to_string()),
                protected: true,
                ..plain("machine", name, Action::Remove, &origin, reason, vec![])
            });
        }
    }
}

fn removed(state: &State, next: &State, name: &Name, served: &Served) -> Change {
    let machine = state.assignments().get(name).or(served.machine.as_ref());
    let guarded = machine
        .is_some_and(|machine| state.protected().contains(machine) && next.protected().contains(machine));
    let reason = "it was served before the start; its machine is released and boots its own disk";
    Change {
        impact: Impact::Release,
        machine: machine.map(Name::to_string),
        protected: guarded,
        ..plain("deployment", name, Action::Remove, &served.origin, reason, vec![])
    }
}
