//! `GET /v1/operations` and `/v1/operations/ID`: what became of requests that were answered with 202.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Row, or_dash};
use crate::api::operation::{Found, Operations};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;

/// A request that went on after it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    pub id: String,
    /// What was wanted, for people.
    pub what: String,
    /// Who sent the request.
    pub by: String,
    /// `running` or `done`.
    pub state: String,
    /// RFC 3339; when it began.
    pub since: String,
    /// RFC 3339
    pub ended: Option<String>,
    /// The status that the request would have been answered with.
    pub status: Option<u16>,
    /// The answer that it would have had; null while it is running, and in the list.
    #[serde(default)]
    pub result: Value,
}

impl Row for Operation {
    const COLUMNS: &'static [&'static str] = &["ID", "STATE", "STATUS", "WHAT", "BY", "SINCE", "ENDED"];

    fn name(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.state.clone(),
            or_dash(self.status.as_ref()),
            self.what.clone(),
            self.by.clone(),
            self.since.clone(),
            or_dash(self.ended.as_ref()),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::get("/v1/operations/{id}", "What became of a request that was answered with 202")
        .gives::<Operation>()
        .says(StatusCode::NOT_FOUND, "There is no such operation")
        .says(StatusCode::GONE, "It is of an earlier start of the daemon, or is not kept any more");
    Routes::new().add(route, one)
}

async fn one(Extension(operations): Extension<Operations>, Path(id): Path<String>) -> Response {
    match operations.find(&id) {
        Found::It(operation) => Json(operation).into_response(),
        Found::Gone(why) => problem(StatusCode::GONE, &why),
        Found::Unknown => problem(StatusCode::NOT_FOUND, &format!("there is no operation {id}")),
    }
}
