//! `POST /v1/machines/NAME/power`: a machine is switched, or its next boot is one from the network.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::effect::{self, Effect};
use crate::api::Word;
use crate::api::audit::about;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::model::words::words;
use crate::model::{Caller, Name, PowerAction};

words! {
    /// What is wanted of a machine's power.
    pub enum PowerWanted {
        On = "on",
        Off = "off",
        /// Off, and on again when it is seen to be off.
        Cycle = "cycle",
        /// The next boot alone is one from the network; the machine is not switched.
        BootOnce = "boot-once",
    }
}

/// `POST /v1/machines/NAME/power`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    pub action: Word<PowerWanted>,
    /// Why, for people who read the events later.
    #[serde(default)]
    pub reason: String,
}

impl From<PowerWanted> for PowerAction {
    fn from(wanted: PowerWanted) -> PowerAction {
        match wanted {
            PowerWanted::On => PowerAction::On,
            PowerWanted::Off => PowerAction::Off,
            PowerWanted::Cycle => PowerAction::Cycle,
            PowerWanted::BootOnce => PowerAction::BootOnce,
        }
    }
}

/// Longest reason, in characters.
const REASON_MAX: usize = 500;

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::post(
        "/v1/machines/{name}/power",
        "Switches a machine, or has its next boot come from the network",
    )
    .takes::<PowerRequest>()
    .answers::<Effect>(
        StatusCode::OK,
        "The order is stored and goes on: `GET /v1/effects` shows how it stands",
    )
    .says(StatusCode::NOT_FOUND, "There is no such machine in the manifests")
    .says(
        StatusCode::CONFLICT,
        "It is refused: the machine is held or protected, or its driver can't do that",
    );
    Routes::new().add(route, order::<B>)
}

async fn order<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Posted(request): Posted<PowerRequest>,
) -> Response {
    let what = format!("power {} {name}", request.action.as_str());
    let Some(wanted) = request.action.known() else {
        let words = PowerWanted::NAMES.join(", ");
        return problem(StatusCode::BAD_REQUEST, &format!("`action` is one of {words}"));
    };
    if request.reason.chars().count() > REASON_MAX {
        return problem(StatusCode::BAD_REQUEST, &format!("`reason` is longer than {REASON_MAX} characters"));
    }
    let found =
        name.parse::<Name>().ok().filter(|name| backend.state().desired().machines.contains_key(name));
    let Some(machine) = found else {
        return problem(StatusCode::NOT_FOUND, &format!("there is no machine {name} in the manifests"));
    };
    let ordered = backend.power(machine, wanted.into(), request.reason, caller).await;
    let answer = respond(ordered, |ordered| match ordered {
        Ok(pending) => (StatusCode::OK, Json(effect::row(&pending, backend.now()))).into_response(),
        Err(why) => problem(StatusCode::CONFLICT, &why),
    });
    about(answer, what)
}
