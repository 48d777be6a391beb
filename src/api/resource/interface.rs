//! `POST /v1/serve-dhcp/INTERFACE`: a person has DHCP served where another server was there first.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Status;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::Role;

pub fn routes<B: Backend>() -> Routes<B> {
    // Agrees to what holds the daemon back on a network where another DHCP server was first.
    let about = "Serves DHCP on an interface where another server was there first";
    let route = Route::post("/v1/serve-dhcp/{interface}", about)
        .needs(Role::Admin)
        .gives::<Status>()
        .says(StatusCode::CONFLICT, "There is no such network, or its mode serves no DHCP");
    Routes::new().add(route, serve_dhcp::<B>)
}

/// Answers with the status as it is then.
async fn serve_dhcp<B: Backend>(State(backend): State<B>, Path(interface): Path<String>) -> Response {
    match backend.serve_dhcp(&interface) {
        Ok(()) => Json(backend.status()).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}
