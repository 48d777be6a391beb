//! Judges a revision that is to be adopted, over a state: what it would change, and which rules hold it.

use std::sync::Arc;

use super::{Consent, Hold, Plan, diff, hold};
use crate::desired::Desired;
use crate::state::{Adoption, Revision, Secrets, State};

/// A revision to adopt.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub desired: Arc<Desired>,
    /// What it was made of, to be kept for the next start; `None` if that is where it comes from.
    pub kept: Option<Arc<Revision>>,
    pub secrets: Arc<Secrets>,
    pub consent: Consent,
    /// Lineage and serial the plan was made for; `None` adopts over whatever there is.
    pub expected: Option<(String, u64)>,
    /// The saved plan it is of, which is good once.
    pub plan: Option<Arc<str>>,
}

/// What a proposal comes to.
#[derive(Debug)]
pub enum Verdict {
    /// It may be adopted.
    Agreed(Plan, Box<Adoption>),
    /// A safety rule stops it.
    Held(Plan, Vec<Hold>),
    /// The state is not the one that the plan was made for.
    Stale(Plan),
}

/// Judges a proposal. Pure: the same arguments give the same verdict.
pub fn judge(proposal: &Proposal, table: &State) -> Verdict {
    let Proposal { desired, kept, secrets, consent, expected, plan: saved } = proposal;
    let adoption = Adoption::new(table, desired.clone(), secrets.clone());
    let plan = diff::between(table, adoption.next());
    if expected.as_ref().is_some_and(|expected| *expected != (plan.lineage.clone(), plan.serial)) {
        return Verdict::Stale(plan);
    }
    // What is served as before the start was judged when it was adopted.
    let is_as_before = plan.from.is_empty() && kept.is_none();
    let holds = if is_as_before { Vec::new() } else { hold(&plan, desired, table, consent) };
    match holds.is_empty() {
        true => {
            let adoption = adoption.keeping(kept.clone()).of_plan(saved.clone());
            Verdict::Agreed(plan, Box::new(adoption))
        }
        false => Verdict::Held(plan, holds),
    }
}
