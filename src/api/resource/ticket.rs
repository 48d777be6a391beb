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
    pub serial: u64,
    pub version: String,
}

impl Ticket {
    /// What differs between this ticket of now and `then`.
    pub fn differences(&self, then: &Ticket) -> Vec<String> {
        let Ticket { id: _, source, attempted, tree, to, lineage, serial, version } = then;
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
        if *lineage == self.lineage && *serial != self.serial {
            let why = "revisions and installations count; so does this plan, if it was applied already";
            reasons
                .push(format!("the state has changed: then at serial {serial}, now {} ({why})", self.serial));
        }
        reasons
    }

    /// What `id` is made of.
    pub fn text(&self) -> String {
        let Ticket { id: _, source, attempted, tree, to, lineage, serial, version } = self;
        [source, attempted, tree, to, lineage, &serial.to_string(), version].map(String::as_str).join("\n")
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let ticket = async |State(backend): State<B>, PostedTree(tree, _room): PostedTree<Tree>| {
        Json(backend.ticket(tree))
    };
    let route = Route::post("/v1/tickets", "What a saved plan of this tree is bound to")
        .needs(Role::Viewer)
        .takes::<Tree>()
        .gives::<Ticket>();
    Routes::new().add(route, ticket)
}
