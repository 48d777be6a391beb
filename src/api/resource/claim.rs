//! `/v1/claims`: machines that somebody asks for, has for a time, and gives back.

mod change;
mod make;
mod row;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Edited, Row, or_dash};
use crate::api::Word;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, in_turn};
use crate::model::words::words;
use crate::model::{Caller, Name, OnReturn, Role, Span, WipeLevel};
use crate::state::ApiToken;
use crate::state::claim::WhyNot;
pub use row::{all, one};

words! {
    /// How far a claim is.
    pub enum ClaimState {
        /// No machine is free for it.
        Queued = "queued",
        /// It has a machine, which has not begun to install, or to boot from the network what the claim runs.
        Waiting = "waiting",
        Installing = "installing",
        Installed = "installed",
        /// Its machine waits for a person.
        Failed = "failed",
        /// A person holds its machine, or no single disk of it fits what its profile says.
        Held = "held",
        /// Its time is over: its machine is taken back after a while, unless it is extended.
        Ending = "ending",
    }
}

/// A row of `GET /v1/claims`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// No other claim ever has the same.
    pub name: String,
    pub pool: String,
    /// Who asked for it.
    pub by: String,
    pub state: Word<ClaimState>,
    pub machine: Option<String>,
    /// The address that its machine has, where that is known.
    pub address: Option<IpAddr>,
    /// RFC 3339; when it was asked for.
    pub asked: String,
    /// RFC 3339; since when it has its machine.
    pub since: Option<String>,
    /// How long it lasts from then on; absent where it does not end by itself.
    pub ttl: Option<String>,
    /// RFC 3339; when it ends by itself, or where that is over, when its machine is taken back. Later if the daemon
    /// does not run meanwhile.
    pub ends: Option<String>,
    /// What happens to its machine afterwards.
    pub on_return: Word<OnReturn>,
    pub level: Word<WipeLevel>,
    /// Whether it lasts until a manifest takes its machine over.
    pub kept: bool,
    /// Whether user data are stored for its machine.
    #[serde(default)]
    pub user_data: bool,
    /// Its place among those of its pool that wait, from 1 on.
    pub place: Option<usize>,
    /// Why it waits, or what follows, for people.
    pub reason: String,
    /// Why it waits: what keeps machines from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// What keeps machines from a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    pub why: Word<WhyNot>,
    /// How many machines it keeps.
    pub machines: usize,
    /// One of them.
    pub example: String,
}

/// `GET /v1/claims/NAME`: a claim, and where it waits, why not each machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimShown {
    #[serde(flatten)]
    pub claim: Claim,
    /// What keeps each machine from it; empty where it has one. At most 10,000.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, Word<WhyNot>>,
}

/// `POST /v1/claims`: a machine that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimWanted {
    pub pool: String,
    /// What its name begins with; a number follows. The pool's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it lasts from when it has its machine, as `8h`: as long as the pool allows where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// What its machine is to be given: the variable `user_data` of templates, and the user data that cloud-init reads. At
    /// most 1 MiB. They are stored sealed, and erased when the machine is installed (where cloud-init reads them from here,
    /// when the claim is over).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

/// `POST /v1/claims/NAME/extend`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// How long it lasts from now on, as `4h`.
    pub ttl: String,
}

impl Row for Claim {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "POOL", "STATE", "MACHINE", "ADDRESS", "ENDS", "BY", "REASON"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.pool.clone(),
            self.state.to_string(),
            or_dash(self.machine.as_ref()),
            or_dash(self.address.as_ref()),
            or_dash(self.ends.as_ref()),
            self.by.clone(),
            self.reason.clone(),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let key = "A text of the caller's choice: the same request with it is done once, also over a restart";
    let gone = "There is no such claim";
    let own = "The claim is another caller's, or the token is not for its pool";
    let made = Route::post("/v1/claims", "Claims a machine of a pool, or a place in its queue")
        .needs(Role::Claimer)
        .judges_pools()
        .takes::<ClaimWanted>()
        .header("Idempotency-Key", key)
        .answers::<Claim>(StatusCode::OK, "The claim, with its machine if one is free")
        .says(StatusCode::FORBIDDEN, "The token is not for this pool")
        .says(StatusCode::NOT_FOUND, "There is no such pool")
        .says(StatusCode::CONFLICT, "The pool does not allow it");
    let read = Route::get("/v1/claims/{name}", "A claim, and where it waits, why not each machine")
        .gives::<ClaimShown>()
        .says(StatusCode::NOT_FOUND, gone);
    let change = |path: &'static str, text: &'static str| {
        Route::post(path, text)
            .needs(Role::Claimer)
            .judges_pools()
            .header("Idempotency-Key", key)
            .says(StatusCode::FORBIDDEN, own)
            .says(StatusCode::NOT_FOUND, gone)
            .says(StatusCode::CONFLICT, "It can't be done as things stand")
    };
    let extended = change("/v1/claims/{name}/extend", "Has a claim last so long from now")
        .takes::<Extension>()
        .answers::<Claim>(StatusCode::OK, "The claim");
    let released =
        change("/v1/claims/{name}/release", "Gives a claim's machine back, or its place in the queue")
            .answers::<Claim>(StatusCode::OK, "The claim as it was");
    let kept = change(
        "/v1/claims/{name}/keep",
        "Writes a deployment of the claim's name: the claim ends when it is live",
    )
    .needs(Role::Editor)
    .answers::<Edited>(StatusCode::OK, "What became of the change of the inventory");
    Routes::new()
        .add(made, make::claim::<B>)
        .add(read, get::<B>)
        .add(extended, change::extend::<B>)
        .add(released, change::release::<B>)
        .add(kept, change::keep::<B>)
}

/// The caller, and the pools that its token is bound to.
type By = (axum::Extension<Caller>, Option<axum::Extension<Arc<ApiToken>>>);

fn pools_of((_, token): &By) -> &[Name] {
    token.as_ref().map_or(&[], |token| &token.pools)
}

fn span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(Span(0)) => Err("ttl: a claim of no time has no machine".into()),
        Ok(span) => Ok(span),
        Err(error) => Err(format!("ttl: `{text}`: {error}")),
    }
}

async fn get<B: Backend>(State(backend): State<B>, Path(name): Path<String>) -> Response {
    let state = backend.state();
    let Some(claim) = name.parse::<Name>().ok().and_then(|name| state.claims().get(&name).cloned()) else {
        let name: String = name.chars().take(100).collect();
        return problem(StatusCode::NOT_FOUND, &format!("there is no claim {name}"));
    };
    let waits = claim.place.is_none();
    let answer = move || Json(row::shown(&state, &claim, backend.now())).into_response();
    // Every machine is looked at for one that waits.
    if waits { in_turn(answer).await } else { answer() }
}
