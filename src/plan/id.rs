//! What identifies a plan: all that it does. Machines report and install all the time, so a plan that was reviewed
//! is bound to its outcome and not to a count of changes.

use sha2::{Digest, Sha256};

use super::Change;
use crate::model::Name;
use crate::state::State;

/// Eight hexadecimal digits that stand for what `rows` do, which lead from `state` to `next`, in their order. Another
/// outcome, other content of a deployment, or another state directory gives another id.
pub(super) fn id<'c>(rows: impl IntoIterator<Item = &'c Change>, state: &State, next: &State) -> String {
    let mut sum = Sha256::new();
    sum.update(format!("{}\n{}", state.lineage(), next.desired().revision));
    for row in rows {
        let Change { impact, action, kind, name, former_name, machine, former_machine, .. } = row;
        let Change { installs, protected, reason, details, .. } = row;
        sum.update(format!(
            "\n{impact} {action:?} {kind} {name} {former_name:?} {machine:?} {former_machine:?}"
        ));
        sum.update(format!(" {installs} {protected} {reason} {details:?}"));
        if kind == "deployment" {
            let former = former_name.as_ref().unwrap_or(name);
            sum.update(format!(" {:?} {:?}", content(state, former), content(next, name)));
        }
    }
    sum.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of a deployment with all that it is served from.
fn content<'s>(state: &'s State, name: &str) -> Option<&'s str> {
    let name = name.parse::<Name>().ok()?;
    Some(&*state.desired().deployments.get(&name)?.digest)
}
