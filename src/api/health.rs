//! Whether the daemon runs and serves, for monitoring; no token is needed.

use crate::model::ServiceState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::route::{Route, Routes};
use super::routes::Backend;

/// `GET /healthz` and `GET /readyz`, as text.
pub fn routes<B: Backend>() -> Routes<B> {
    let alive = Route::get("/healthz", "Whether the process and the keeper of the state answer")
        .open()
        .says(StatusCode::OK, "They do");
    let readiness =
        Route::get("/readyz", "Whether every service serves").open().says(StatusCode::OK, "All serve");
    Routes::new().add(alive, health::<B>).add(readiness, ready::<B>)
}

/// 200 while the process and the keeper of the state answer.
async fn health<B: Backend>(State(backend): State<B>) -> Response {
    match backend.is_alive().await {
        true => (StatusCode::OK, "ok\n").into_response(),
        false => {
            (StatusCode::SERVICE_UNAVAILABLE, "the keeper of the state does not answer\n").into_response()
        }
    }
}

/// 200 while every service serves, those that others can do without left out; else which does not, and
/// why.
async fn ready<B: Backend>(State(backend): State<B>) -> Response {
    let services = backend.services();
    let lacking =
        services.iter().filter(|service| service.state != ServiceState::Serving && !service.auxiliary);
    let lines = lacking.map(|service| match service.reason.as_str() {
        "" => format!("{} is {}\n", service.name, service.state),
        reason => format!("{} is {}: {reason}\n", service.name, service.state),
    });
    let lines: String = lines.collect();
    match lines.as_str() {
        "" => (StatusCode::OK, "ready\n").into_response(),
        lines => (StatusCode::SERVICE_UNAVAILABLE, lines.to_owned()).into_response(),
    }
}
