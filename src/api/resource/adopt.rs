//! `POST /v1/adopt`: a machine has its system already and is not to be installed.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use super::deployment;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::routes::Backend;

/// `POST /v1/adopt`: a machine has its system already and is not to be installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    pub deployment: String,
    #[serde(default)]
    pub reason: Option<String>,
}

pub fn routes<B: Backend>() -> Router<B> {
    Router::new().route("/v1/adopt", post(adopt::<B>))
}

/// Answers with the deployment as it is then.
async fn adopt<B: Backend>(State(backend): State<B>, Posted(request): Posted<Adopt>) -> Response {
    let name = request.deployment.clone();
    if deployment::one(&backend.table(), &name).is_none() {
        return problem(StatusCode::NOT_FOUND, &format!("there is no deployment {name}"));
    }
    match backend.adopt(request).await {
        Ok(()) => deployment::answer(State(backend), Path(name)).await,
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}
