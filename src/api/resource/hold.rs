//! `POST /v1/machines/NAME/hold`, `unhold` and `retry`: a person keeps a machine from being used, or has a release
//! tried again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine::{self, Machine};
use crate::api::audit::about;
use crate::api::body::Posted;
use crate::api::consent::reserved;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::model::{Caller, Name, Role, Span};
use crate::state::Verb;

/// Longest reason, in characters.
const REASON_MAX: usize = 300;

/// `POST /v1/machines/NAME/hold`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldWanted {
    /// Why, for whoever wonders.
    pub reason: String,
    /// For how long, as `8h`; until somebody ends it where absent.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
}

/// Who keeps a machine from being used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    pub by: String,
    pub reason: String,
    /// RFC 3339; absent where it does not end by itself.
    pub until: Option<String>,
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = |path: &'static str, text: &'static str| {
        Route::post(path, text)
            .answers::<Machine>(StatusCode::OK, "The machine as it is then")
            .says(StatusCode::NOT_FOUND, "There is no such machine")
            .says(StatusCode::CONFLICT, "It can't be done as things stand")
    };
    let held = route("/v1/machines/{name}/hold", "Keeps a machine from being installed, given out or wiped")
        .takes::<HoldWanted>();
    let unheld = route("/v1/machines/{name}/unhold", "Ends a hold");
    let retried =
        route("/v1/machines/{name}/retry", "Has a release or a wipe tried again that failed or takes long")
            .says(
                StatusCode::FORBIDDEN,
                "The budget of wipes is used up: it takes an admin to agree to one more",
            );
    Routes::new().add(held, hold::<B>).add(unheld, unhold::<B>).add(retried, retry::<B>)
}

async fn hold<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Posted(wanted): Posted<HoldWanted>,
) -> Response {
    let reason = wanted.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX {
        let why =
            format!("reason: a text of 1 to {REASON_MAX} characters, so that others know why it is held");
        return problem(StatusCode::BAD_REQUEST, &why);
    }
    let until = match wanted.span.as_ref().map(|text| (text, text.parse::<Span>())) {
        None => None,
        Some((_, Ok(span))) if span.0 > 0 => Some(backend.now() + span),
        Some((text, _)) => {
            return problem(StatusCode::BAD_REQUEST, &format!("for: `{text}` is no time, as in 8h"));
        }
    };
    let reason: Arc<str> = reason.into();
    let what = format!("hold machine {name}: {reason}");
    changed(backend, caller, name, what, |name| Verb::Hold(name, reason, until)).await
}

async fn unhold<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let what = format!("unhold machine {name}");
    changed(backend, caller, name, what, Verb::Unhold).await
}

async fn retry<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let what = format!("retry the release of machine {name}");
    let state = backend.state();
    let life = name.parse::<Name>().ok().and_then(|name| state.life(&name).cloned());
    let order = life.and_then(|life| life.order.clone());
    // One more wipe than the budget allows.
    if order.is_some_and(|order| order.over_budget) && caller.role < Role::Admin {
        return about(reserved(&caller, "one more wipe within the hour"), what);
    }
    changed(backend, caller, name, what, Verb::Retry).await
}

/// Has a command about a machine carried out, and answers with the machine.
pub(super) async fn changed<B: Backend>(
    backend: B,
    caller: Caller,
    name: String,
    what: String,
    verb: impl FnOnce(Name) -> Verb,
) -> Response {
    let state = backend.state();
    let known = name.parse::<Name>().ok();
    let known =
        known.filter(|name| state.desired().machines.contains_key(name) || state.life(name).is_some());
    drop(state);
    let Some(known) = known else {
        let name: String = name.chars().take(100).collect();
        return problem(StatusCode::NOT_FOUND, &format!("there is no machine {name}"));
    };
    let answer = respond(backend.command(verb(known.clone()), caller).await, |outcome| match outcome {
        Ok(_) => match machine::one(&backend.state(), &known) {
            Some(row) => Json(row).into_response(),
            None => Json(machine::found(&backend.state(), &known)).into_response(),
        },
        Err(why) => problem(StatusCode::CONFLICT, &why),
    });
    about(answer, what)
}
