//! `POST /v1/serve-dhcp/INTERFACE`: a person has DHCP served where another server was there first.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::api::problem::problem;
use crate::api::routes::Backend;

pub fn routes<B: Backend>() -> Router<B> {
    Router::new().route("/v1/serve-dhcp/{interface}", post(serve_dhcp::<B>))
}

/// Answers with the status as it is then.
async fn serve_dhcp<B: Backend>(State(backend): State<B>, Path(interface): Path<String>) -> Response {
    match backend.serve_dhcp(&interface) {
        Ok(()) => Json(backend.status()).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}
