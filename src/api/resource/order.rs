//! `POST /v1/orders`: what to do about revisions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::api::body::Posted;
use crate::api::consent::{reserved, unentitled};
use crate::api::problem::problem;
use crate::api::routes::Backend;
use crate::model::{Caller, Role};
use crate::plan::Consent;
use crate::state::Doubts;

/// `POST /v1/orders`: what to do about revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Adopts a waiting plan.
    Approve {
        plan: String,
        consent: Consent,
    },
    /// Turns a waiting plan's revision down.
    Reject {
        plan: String,
        reason: String,
    },
    /// Adopts nothing of the source until resumed.
    Suspend {
        reason: String,
        seconds: Option<u64>,
    },
    Resume,
    /// Goes back to a kept revision and stays there.
    Pin {
        revision: String,
        reason: String,
        consent: Consent,
    },
    Unpin,
    /// Settles doubtful installations: they are to be made.
    ApproveInstalls(Doubts),
    /// Settles doubtful installations: their machines have their systems.
    KeepSystems(Doubts),
}

pub fn routes<B: Backend>() -> Router<B> {
    Router::new().route("/v1/orders", post(order::<B>))
}

/// An order that can't be followed is a mistake of whoever gave it: the daemon is there.
async fn order<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Posted(order): Posted<Order>,
) -> Response {
    let refused = match &order {
        Order::Approve { .. } if caller.role < Role::Admin => Some(reserved(caller, "approving a plan")),
        Order::ApproveInstalls(_) if caller.role < Role::Admin => {
            Some(reserved(caller, "approving doubtful installations"))
        }
        Order::Pin { consent, .. } => unentitled(caller, "pin", consent),
        _ => None,
    };
    match refused {
        Some(answer) => answer,
        None => match backend.order(order).await {
            Ok(done) => Outcome::answer(done),
            Err(error) => problem(StatusCode::CONFLICT, &error),
        },
    }
}
