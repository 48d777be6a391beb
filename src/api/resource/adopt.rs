//! `POST /v1/adopt`: a machine has its system already and is not to be installed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Deployment, deployment};
use crate::api::audit::about;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;

/// `POST /v1/adopt`: a machine has its system already and is not to be installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    pub deployment: String,
    #[serde(default)]
    pub reason: Option<String>,
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::post("/v1/adopt", "Records that a deployment's machine has its system already")
        .takes::<Adopt>()
        .answers::<Deployment>(StatusCode::OK, "The deployment as it is then")
        .says(StatusCode::NOT_FOUND, "There is no such deployment")
        .says(StatusCode::CONFLICT, "It has no machine, or its installation is over");
    Routes::new().add(route, adopt::<B>)
}

/// Answers with the deployment as it is then.
async fn adopt<B: Backend>(State(backend): State<B>, Posted(request): Posted<Adopt>) -> Response {
    let name = request.deployment.clone();
    if deployment::one(&backend.state(), &name).is_none() {
        return problem(StatusCode::NOT_FOUND, &format!("there is no deployment {name}"));
    }
    let answer = match backend.adopt(request).await {
        Ok(()) => Json(deployment::one(&backend.state(), &name)).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    };
    about(answer, format!("deployment {name}"))
}
