//! Judges a revision that is to be adopted, over a state: what it would change, and which rules hold it. Where
//! machines change before it is adopted, only they are judged again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Change, Consent, Hold, Impact, Plan, diff, given_up, id, safety};
use crate::desired::Desired;
use crate::state::apply::adopt::Part;
use crate::state::{Adoption, Revision, Secrets, State};

/// A revision to adopt.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub desired: Arc<Desired>,
    /// What it was made of, to be kept for the next start; `None` if that is where it comes from.
    pub kept: Option<Arc<Revision>>,
    pub secrets: Arc<Secrets>,
    pub consent: Consent,
    /// The id of the plan that was agreed to; `None` adopts whatever it does.
    pub expected: Option<Arc<str>>,
    /// The saved plan it is of, which is good once.
    pub plan: Option<Arc<str>>,
}

/// What a proposal comes to.
#[derive(Debug)]
pub enum Verdict {
    /// It may be adopted.
    Agreed(Plan),
    /// A safety rule stops it.
    Held(Plan, Vec<Hold>),
    /// It does something else than the plan that was agreed to.
    Stale(Plan),
}

/// A proposal, judged over one state.
#[derive(Clone, Debug)]
pub struct Judgement {
    proposal: Arc<Proposal>,
    adoption: Adoption,
    /// As it was judged whole.
    plan: Plan,
    /// The rows of that plan in whose place `fresh` ones are.
    outdated: BTreeSet<usize>,
    /// Rows that were judged again.
    fresh: Vec<Change>,
    holds: Vec<Hold>,
    /// How many machines and deployments were looked at last; `None`: all.
    looked_at: Option<usize>,
}

/// Judges a proposal. Pure: the same arguments give the same judgement.
pub fn judge(proposal: Arc<Proposal>, state: &State) -> Judgement {
    let Proposal { desired, kept, secrets, plan: saved, .. } = &*proposal;
    let adoption = Adoption::new(state, desired.clone(), secrets.clone());
    let adoption = adoption.keeping(kept.clone()).of_plan(saved.clone());
    let plan = diff::between(state, adoption.next());
    let (outdated, fresh) = (BTreeSet::new(), Vec::new());
    let holds = Vec::new();
    let judged = Judgement { proposal, adoption, plan, outdated, fresh, holds, looked_at: None };
    Judgement { holds: judged.weigh(), ..judged }
}

impl Judgement {
    /// The same over a later state. Of what machines did since, no more is looked at than hangs together with it.
    pub fn again(mut self, state: &State) -> Judgement {
        let Some((adoption, part)) = self.adoption.again(state) else { return judge(self.proposal, state) };
        self.adoption = adoption;
        self.looked_at = Some(part.machines.len() + part.deployments.len());
        let fresh = diff::part(&part);
        let before = self.take_out(&part);
        let weight = |change: &Change| {
            let Change { impact, action, kind, name, former_machine, protected, .. } = change;
            (*impact, *action, kind.clone(), name.clone(), former_machine.clone(), *protected)
        };
        let is_same = before.len() == fresh.len()
            && before.iter().zip(&fresh).all(|(one, other)| weight(one) == weight(other));
        self.fresh.extend(fresh);
        if !is_same {
            self.holds = self.weigh();
        }
        self
    }

    /// Takes out the rows of machines and deployments; they come in their order.
    fn take_out(&mut self, part: &Part) -> Vec<Change> {
        let deployments = part.deployments.iter().map(|name| ("deployment", name.as_str()));
        let machines = part.machines.iter().map(|name| ("machine", name.as_str()));
        let own: BTreeSet<(&str, &str)> = deployments.chain(machines).collect();
        let key = |change: &Change| own.contains(&(change.kind.as_str(), change.name.as_str()));
        let mut out: Vec<Change> = self.fresh.extract_if(.., |change| key(change)).collect();
        for (kind, name) in &own {
            for impact in Impact::ALL {
                let changes = &self.plan.changes;
                let place = |change: &Change| {
                    (change.impact, change.kind.as_str(), change.name.as_str()).cmp(&(impact, *kind, *name))
                };
                let Ok(at) = changes.binary_search_by(place) else { continue };
                if self.outdated.insert(at) {
                    out.push(changes[at].clone());
                }
            }
        }
        diff::sort(&mut out);
        out
    }

    /// What speaks against it now.
    fn weigh(&self) -> Vec<Hold> {
        let Proposal { kept, desired, consent, .. } = &*self.proposal;
        // What is served as before the start was judged when it was adopted.
        if self.plan.from.is_empty() && kept.is_none() {
            return Vec::new();
        }
        let rows = self.sorted_rows();
        if self.outdated.is_empty() && self.fresh.is_empty() {
            return safety::hold_rows(&rows, &self.plan.given_up, desired, self.adoption.base(), consent);
        }
        let given_up = given_up::given_up(desired, self.adoption.base(), &rows);
        safety::hold_rows(&rows, &given_up, desired, self.adoption.base(), consent)
    }

    /// The rows in the order of the plan.
    fn sorted_rows(&self) -> Vec<&Change> {
        let stay = self.plan.changes.iter().enumerate().filter(|(at, _)| !self.outdated.contains(at));
        let mut rows: Vec<&Change> = stay.map(|(_, change)| change).chain(&self.fresh).collect();
        rows.sort_by(|one, other| diff::order(one, other));
        rows
    }

    fn is_stale(&self) -> bool {
        self.proposal.expected.as_deref().is_some_and(|expected| expected != self.id())
    }

    fn id(&self) -> String {
        if self.outdated.is_empty() && self.fresh.is_empty() {
            return self.plan.id.clone();
        }
        let base = self.adoption.base().under_new_names(&self.proposal.desired);
        id::id(self.sorted_rows(), &base, self.adoption.next())
    }

    /// How many machines and deployments were looked at for this; `None`: all.
    pub fn looked_at(&self) -> Option<usize> {
        self.looked_at
    }

    /// The adoption, where nothing speaks against it.
    pub fn adoption(&self) -> Option<Box<Adoption>> {
        (self.holds.is_empty() && !self.is_stale()).then(|| Box::new(self.adoption.clone()))
    }

    /// What it comes to, with the whole plan.
    pub fn verdict(mut self) -> Verdict {
        let is_stale = self.is_stale();
        let holds = std::mem::take(&mut self.holds);
        let plan = self.into_plan();
        match holds.is_empty() {
            _ if is_stale => Verdict::Stale(plan),
            true => Verdict::Agreed(plan),
            false => Verdict::Held(plan, holds),
        }
    }

    fn into_plan(self) -> Plan {
        let Judgement { adoption, mut plan, outdated, fresh, .. } = self;
        plan.serial = adoption.base().serial();
        if outdated.is_empty() && fresh.is_empty() {
            return plan;
        }
        let former = std::mem::take(&mut plan.changes).into_iter().enumerate();
        let stay = former.filter(|(at, _)| !outdated.contains(at)).map(|(_, change)| change);
        let changes = stay.chain(fresh).collect();
        diff::complete(plan, changes, adoption.base(), adoption.next())
    }
}
