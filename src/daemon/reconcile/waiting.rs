//! A revision that waits for somebody's word.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Ready, Reconciler, lock, preview};
use crate::api::types::WaitingPlan;
use crate::daemon::now;
use crate::model::Time;
use crate::plan::{self, Consent, Plan};
use crate::store::Kept;

/// A revision that was loaded and is not adopted yet.
pub struct Waiting {
    pub kept: Arc<Kept>,
    pub ready: Ready,
    /// `Waiting` (reconcile is manual) or `Held` (a safety rule).
    pub condition: &'static str,
    pub since: Time,
}

/// Eight digits that stand for what a plan does: another outcome is another plan.
pub fn plan_id(plan: &Plan) -> String {
    let mut sum = Sha256::new();
    sum.update(&plan.to);
    for change in &plan.changes {
        let plan::Change { impact, action, kind, name, machine, reason, details, .. } = change;
        sum.update(format!("\n{impact} {action:?} {kind} {name} {machine:?} {reason} {details:?}"));
    }
    sum.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Reconciler {
    /// `GET /v1/plans`: as they are against the table of now.
    pub fn plans(&self) -> Vec<WaitingPlan> {
        let Some(waiting) = lock(&self.waiting).clone() else { return Vec::new() };
        let table = self.keeper.table();
        let Ready { desired, secrets } = &waiting.ready;
        let changed = preview::changed_secrets(&table.secrets, secrets, desired);
        let plan = preview::preview(desired, &table, &changed, now());
        let holds = plan::hold(&plan, &desired.safety, &Consent::default());
        vec![WaitingPlan {
            id: plan_id(&plan),
            revision: plan.to.clone(),
            condition: waiting.condition.into(),
            since: waiting.since.to_string(),
            plan,
            holds,
        }]
    }
}
