//! `GET /v1/effects` and `DELETE /v1/effects/ID`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::model::{Caller, Time};
use crate::state;
use crate::state::outbox::{EffectId, Pending, TaskKind};

/// A row of `GET /v1/effects`: what follows from a change and is not done yet. `DELETE` answers with the one that
/// was cancelled, as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// No two of one state directory that outlive a restart have the same.
    pub id: u64,
    pub task: Word<TaskKind>,
    /// The source or the machine.
    pub subject: String,
    /// What it is to do, in words.
    #[serde(default)]
    pub text: String,
    /// Who sent what caused it; absent where an earlier version recorded it.
    pub by: Option<String>,
    /// RFC 3339; when it was caused.
    pub since: String,
    /// How long ago that was.
    pub seconds: u64,
    /// RFC 3339; when its executor began with it last.
    pub begun: Option<String>,
    /// The last request that was sent to the machine's controller, or was about to be.
    #[serde(default)]
    pub sent: Option<String>,
    /// Attempts that failed since the daemon started.
    pub failures: u32,
    /// Why the last of them did.
    pub reason: Option<String>,
    /// Whether it takes longer than it should, which the status says too.
    pub stuck: bool,
}

/// All of them, the oldest first.
pub fn all(state: &state::State, now: Time) -> Vec<Effect> {
    state.outbox().iter().map(|pending| row(pending, now)).collect()
}

pub(super) fn row(pending: &Pending, now: Time) -> Effect {
    let Pending { id, task, by, since, begun, sent, trouble } = pending;
    Effect {
        id: id.0,
        task: task.kind().into(),
        subject: task.subject().to_string(),
        text: task.to_string(),
        by: by.as_ref().map(ToString::to_string),
        since: since.to_string(),
        seconds: now.since(*since).as_seconds(),
        begun: begun.map(|at| at.to_string()),
        sent: sent.map(|sent| format!("{} at {}", sent.step, sent.at)),
        failures: trouble.as_ref().map_or(0, |trouble| trouble.attempts),
        reason: trouble.as_ref().map(|trouble| trouble.why.to_string()),
        stuck: pending.stuck(now).is_some(),
    }
}

impl Row for Effect {
    const COLUMNS: &'static [&'static str] =
        &["ID", "TASK", "OF", "CAUSED BY", "SINCE", "BEGUN", "SENT", "FAILURES", "REASON"];

    fn name(&self) -> &str {
        &self.subject
    }

    fn key(&self) -> String {
        format!("{:020}", self.id)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.task.to_string(),
            self.subject.clone(),
            or_dash(self.by.as_ref()),
            self.since.clone(),
            or_dash(self.begun.as_ref()),
            or_dash(self.sent.as_ref()),
            self.failures.to_string(),
            or_dash(self.reason.as_ref()),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::delete("/v1/effects/{id}", "Cancels what is not done yet")
        .answers::<Effect>(StatusCode::OK, "The effect as it was")
        .says(StatusCode::NOT_FOUND, "It is not pending");
    Routes::new().add(route, cancel::<B>)
}

async fn cancel<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<EffectId>() else {
        return problem(StatusCode::BAD_REQUEST, &format!("{id} is no number of an effect"));
    };
    respond(backend.cancel(id, caller).await, |cancelled| match cancelled {
        Some(pending) => Json(row(&pending, backend.now())).into_response(),
        None => problem(
            StatusCode::NOT_FOUND,
            &format!("effect {id} is not pending: `voldemortctl get effects` shows those that are"),
        ),
    })
}
