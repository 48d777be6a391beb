//! A revision that waits for a person's consent.

use std::sync::Arc;

use super::{Ready, Reconciler, lock};
use crate::api::resource::WaitingPlan;
use crate::daemon::now;
use crate::inventory::preview;
use crate::model::folded::folded;
use crate::model::{Name, SourceCondition, Time};
use crate::plan::{self, Consent, Hold};
use crate::state::{Revision, SourceRevision};

/// A revision that was loaded and is not adopted yet.
pub(super) struct Waiting {
    pub name: Name,
    pub source: SourceRevision,
    /// That beside what is served of the other sources.
    pub revision: Arc<Revision>,
    pub ready: Ready,
    /// `Waiting` (reconcile is manual) or `Held` (a safety rule).
    pub condition: SourceCondition,
    pub since: Time,
}

impl Reconciler {
    /// `GET /v1/plans`: as they are against the present state.
    pub fn plans(&self) -> Vec<WaitingPlan> {
        let waiting: Vec<Arc<Waiting>> = lock(&self.waiting).values().cloned().collect();
        let state = self.keeper.state();
        let shown = |waiting: Arc<Waiting>| {
            let Ready { desired, secrets } = &waiting.ready;
            let changed = preview::changed_secrets(state.secrets(), secrets, desired);
            let plan = preview::preview(desired, &state, &changed, now());
            let holds = plan::hold(&plan, desired, &state, &Consent::default());
            WaitingPlan {
                id: plan.id.clone(),
                source: (self.sources.len() > 1).then(|| waiting.name.to_string()),
                revision: waiting.source.name().to_string(),
                condition: waiting.condition.into(),
                since: waiting.since.to_string(),
                plan,
                holds,
            }
        };
        waiting.into_iter().map(shown).collect()
    }

    /// Keeps a loaded revision until a person approves or rejects it.
    pub(super) fn wait(&self, waiting: Waiting, holds: Vec<Hold>) {
        let plan = plan::diff(&waiting.ready.desired, &self.keeper.state());
        let id = &plan.id;
        let mut reason = reasons(&holds);
        if reason.is_empty() {
            reason = plan::report::summary(&plan);
        }
        reason += &way(id, &holds);
        self.set_condition(&waiting.name, waiting.condition, Some(&waiting.source.name()), reason);
        lock(&self.waiting).insert(waiting.name.clone(), Arc::new(waiting));
    }
}

/// The whole commands that settle a plan.
fn way(id: &str, holds: &[Hold]) -> String {
    let flags: String = holds.iter().filter_map(|hold| Some(format!(" {}", hold.flag()?))).collect();
    format!(
        "\nplan {id} waits: `voldemortctl get plans {id}` shows it, `voldemortctl approve {id}{flags}` adopts it, \
         `voldemortctl reject {id} --reason WHY` turns it down"
    )
}

fn reasons(holds: &[Hold]) -> String {
    let line = |hold: &Hold| {
        format!("{} ({}); {}", hold.reason, folded(hold.names.iter().map(String::as_str)), hold.cure)
    };
    holds.iter().map(line).collect::<Vec<_>>().join("\n")
}
