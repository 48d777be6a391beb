//! `POST` and `DELETE /v1/machines/NAME/boot-once`: the next network boot of a machine, and that one alone, leads to another
//! boot of the inventory. `POST /v1/machines/NAME/forget-loaders`: its boot programs are tried anew.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hold::changed;
use super::machine::Machine;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::{Caller, Mac, Name, Span};
use crate::state::boot_once::{LONGEST, USUAL};
use crate::state::learned::Learned;
use crate::state::{self, Verb};

/// `POST /v1/machines/NAME/boot-once`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootOnceWanted {
    /// The name of a boot of the inventory.
    pub boot: String,
    /// How long it waits for the machine to boot, as `2h`; an hour where absent, a week at most.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
}

/// What the next network boot of a machine leads to instead of what it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BootOnce {
    pub boot: String,
    pub by: String,
    /// RFC 3339; it ends then unless the machine has booted.
    pub until: String,
    /// RFC 3339; when the machine fetched its script. Absent before.
    pub begun: Option<String>,
    /// Why it does not count now: what comes first.
    pub kept: Option<String>,
}

/// A boot program that a machine is learned to need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Loader {
    /// The network card that it was learned by.
    pub mac: String,
    /// `x86_64 uefi`
    pub arch: String,
    /// `PXE over IPv4`, `PXE over IPv6`, `HTTP over IPv4` or `HTTP over IPv6`.
    pub way: String,
    pub program: String,
    /// RFC 3339
    pub since: String,
}

/// The order about a machine.
pub(super) fn one(state: &state::State, machine: &Name) -> Option<BootOnce> {
    let once = state.boot_once(machine)?;
    let gone = || {
        let is_there = state.desired().boots.contains_key(&once.boot);
        (!is_there).then(|| format!("there is no boot {} in the inventory any more", once.boot))
    };
    Some(BootOnce {
        boot: once.boot.to_string(),
        by: once.by.to_string(),
        until: once.until.to_string(),
        begun: once.begun.map(|begun| begun.to_string()),
        kept: state.kept_from_boot(machine).or_else(gone),
    })
}

/// What is learned of boot programs, for people and programs.
pub(super) fn loader((card, learned): (Mac, &Learned)) -> Loader {
    Loader {
        mac: card.to_string(),
        arch: learned.arch.to_string(),
        way: learned.way.to_string(),
        program: learned.program.to_owned(),
        since: learned.since.to_string(),
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let says = |route: Route| {
        route
            .answers::<Machine>(StatusCode::OK, "The machine as it is then")
            .says(StatusCode::NOT_FOUND, "There is no such machine")
            .says(StatusCode::CONFLICT, "It can't be done as things stand")
    };
    let path = "/v1/machines/{name}/boot-once";
    let about = "Has the next network boot of a machine, and that one alone, lead to another boot: its installation stays";
    let ordered = says(Route::post(path, about).takes::<BootOnceWanted>());
    let cancelled = says(Route::delete(path, "Takes that back"));
    let about = "Forgets what was learned of the boot programs that run on a machine: they are tried anew";
    let forgotten = says(Route::post("/v1/machines/{name}/forget-loaders", about));
    Routes::new().add(ordered, order::<B>).add(cancelled, cancel::<B>).add(forgotten, forget::<B>)
}

async fn order<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Posted(wanted): Posted<BootOnceWanted>,
) -> Response {
    let Ok(boot) = wanted.boot.parse::<Name>() else {
        return problem(StatusCode::BAD_REQUEST, "boot: the name of a boot of the inventory");
    };
    let span = match wanted.span.as_ref().map(|text| (text, text.parse::<Span>())) {
        None => USUAL,
        Some((_, Ok(span))) if span.0 > 0 && span <= LONGEST => span,
        Some((text, _)) => {
            let why = format!("for: `{text}` is no time of at most {LONGEST}, as in 2h");
            return problem(StatusCode::BAD_REQUEST, &why);
        }
    };
    let until = backend.now() + span;
    let what = format!("boot machine {name} once from boot {boot}");
    changed(backend, caller, name, what, |name| Verb::BootOnce(name, boot, until)).await
}

async fn cancel<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let what = format!("cancel the one boot of machine {name}");
    changed(backend, caller, name, what, Verb::CancelBootOnce).await
}

async fn forget<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let what = format!("forget the boot programs of machine {name}");
    changed(backend, caller, name, what, Verb::ForgetLoaders).await
}
