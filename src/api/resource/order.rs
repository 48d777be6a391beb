//! `POST /v1/orders`: what to do about revisions.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::outcome;
use super::{Operation, Outcome};
use crate::api::audit::about;
use crate::api::body::Posted;
use crate::api::consent::{reserved, unentitled};
use crate::api::operation::Operations;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::{Caller, Role};
use crate::plan::Consent;
use crate::state::Doubts;

/// `POST /v1/orders`: what to do about revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::post(
        "/v1/orders",
        "Decides about revisions: approve, reject, suspend, resume, pin, unpin",
    )
    .takes::<Order>()
    .header(
        "Prefer",
        "`wait=N` (RFC 7240), up to 600: what is not done within N seconds is answered with 202 and goes on",
    )
    .answers::<Outcome>(StatusCode::OK, "It is done")
    .answers::<Operation>(StatusCode::ACCEPTED, "It goes on: `Location` is where its end is found")
    .answers::<Outcome>(StatusCode::CONFLICT, "It can't be followed, or a safety rule holds it")
    .answers::<Outcome>(StatusCode::PRECONDITION_FAILED, "The state has changed meanwhile")
    .answers::<Outcome>(StatusCode::UNPROCESSABLE_ENTITY, "The manifests are wrong");
    Routes::new().add(route, order::<B>)
}

/// An order that can't be followed is a mistake of whoever gave it: the daemon is there.
async fn order<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Extension(operations): Extension<Operations>,
    headers: HeaderMap,
    Posted(order): Posted<Order>,
) -> Response {
    let wanted = order.summary();
    let refused = match &order {
        Order::Approve { .. } if caller.role < Role::Admin => Some(reserved(&caller, "approving a plan")),
        Order::ApproveInstalls(_) if caller.role < Role::Admin => {
            Some(reserved(&caller, "approving doubtful installations"))
        }
        Order::Pin { consent, .. } => unentitled(&caller, "pin", consent),
        _ => None,
    };
    match refused {
        Some(answer) => about(answer, wanted),
        None => {
            let what = wanted.clone();
            let work = async move { outcome(wanted, backend.order(order).await, StatusCode::CONFLICT) };
            operations.within(&caller, &headers, what, work).await
        }
    }
}

impl Order {
    /// What it decides, for the audit log.
    fn summary(&self) -> String {
        let doubts = |doubts: &Doubts| match doubts.all {
            true => "all".to_owned(),
            false => {
                let labels = doubts.labels.iter().map(|(name, value)| format!("{name}={value}"));
                doubts.deployments.iter().cloned().chain(labels).collect::<Vec<_>>().join(" ")
            }
        };
        match self {
            Order::Approve { plan, .. } => format!("approve plan {plan}"),
            Order::Reject { plan, .. } => format!("reject plan {plan}"),
            Order::Suspend { .. } => "suspend".into(),
            Order::Resume => "resume".into(),
            Order::Pin { revision, .. } => format!("pin {revision}"),
            Order::Unpin => "unpin".into(),
            Order::ApproveInstalls(those) => format!("approve installs {}", doubts(those)),
            Order::KeepSystems(those) => format!("adopt {}", doubts(those)),
        }
    }
}
