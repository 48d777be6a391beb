//! Saved plans: good once, for one plan of one tree of one source.

use super::Reconciler;
use crate::api::resource::{Ticket, Tree};

impl Reconciler {
    /// `POST /v1/tickets`: what a saved plan of this tree is bound to.
    pub fn ticket(&self, tree: &Tree, plan: &str) -> Ticket {
        let state = self.keeper.state();
        // Where the tree names no source, planning it says so.
        let name = self.named(tree.source.as_deref()).ok();
        let status = name.and_then(|name| self.statuses.borrow().get(&name).cloned());
        let (source, attempted) =
            status.map(|status| (status.location, status.attempted)).unwrap_or_default();
        let ticket = Ticket {
            id: String::new(),
            source,
            attempted,
            tree: tree.digest(),
            to: tree.revision.clone(),
            lineage: state.lineage().to_string(),
            plan: plan.into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Ticket { id: state.seal(&ticket.text()), ..ticket }
    }

    /// Everything that is not as it was when the plan was made; empty if it is still good.
    pub fn moved(&self, then: &Ticket, tree: &Tree) -> Vec<String> {
        if self.keeper.state().used_plans().contains_key(then.id.as_str()) {
            return vec!["it was applied already; a saved plan can be applied once".into()];
        }
        let mut reasons = self.ticket(tree, &then.plan).differences(then);
        if reasons.is_empty() && self.keeper.state().seal(&then.text()) != then.id {
            reasons.push("it is not a plan of this daemon, or was changed".into());
        }
        reasons
    }
}
