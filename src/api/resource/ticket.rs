//! `POST /v1/tickets`: what a saved plan is bound to.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tree;
use crate::api::body::PostedTree;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::Role;

/// What a saved plan is bound to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// Made of all else by the daemon's own key.
    pub id: String,
    /// The daemon's inventory.
    pub source: String,
    /// The revision of it that was seen last.
    pub attempted: String,
    /// Digest of the tree.
    pub tree: String,
    /// What the tree calls itself.
    pub to: String,
    pub lineage: String,
    /// Id of the plan that was shown.
    pub plan: String,
    pub version: String,
}

/// `POST /v1/tickets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    pub tree: Tree,
    /// Id of the plan of it that was shown.
    pub plan: String,
}

impl Ticket {
    /// What differs between this ticket of now and `then`, except what the plan does.
    pub fn differences(&self, then: &Ticket) -> Vec<String> {
        let Ticket { id: _, source, attempted, tree, to, lineage, plan: _, version } = then;
        let mut reasons = Vec::new();
        let mut differ = |what: &str, then: &str, now: &str| {
            if then != now {
                reasons.push(format!("{what}: then {then}, now {now}"));
            }
        };
        differ("the daemon follows another source", source, &self.source);
        // A directory that is followed comes to hold what was planned: that is no other plan.
        if self.attempted != *to {
            differ("the source has changed", attempted, &self.attempted);
        }
        differ("the plan's own files were changed", tree, &self.tree);
        differ("it is of another voldemort", version, &self.version);
        differ("the daemon's state directory is another one (emptied?)", lineage, &self.lineage);
        reasons
    }

    /// What `id` is made of.
    pub fn text(&self) -> String {
        let Ticket { id: _, source, attempted, tree, to, lineage, plan, version } = self;
        [source, attempted, tree, to, lineage, plan, version].map(String::as_str).join("\n")
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let ticket = async |State(backend): State<B>, PostedTree(wanted, _room): PostedTree<TicketRequest>| {
        Json(backend.ticket(wanted))
    };
    let route = Route::post("/v1/tickets", "What a saved plan of a tree is bound to")
        .needs(Role::Viewer)
        .takes::<TicketRequest>()
        .gives::<Ticket>();
    Routes::new().add(route, ticket)
}
