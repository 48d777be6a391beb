//! What a safety rule holds is agreed to by admins alone.

use axum::http::StatusCode;
use axum::response::Response;

use super::problem::problem;
use crate::model::{Caller, Role};
use crate::plan::{Consent, Hold};

/// The refusal of a consent that the caller may not give; `what` is what it came with.
pub fn unentitled(caller: &Caller, what: &str, consent: &Consent) -> Option<Response> {
    let agrees = consent.removals.is_some() || consent.reinstalls.is_some();
    (agrees && caller.role < Role::Admin).then(|| reserved(caller, &format!("{what} with --allow-…")))
}

/// The refusal of something that takes the role admin.
pub fn reserved(caller: &Caller, what: &str) -> Response {
    let why =
        format!("{what} consents to what a safety rule holds: it needs the role admin, and this is {caller}");
    problem(StatusCode::FORBIDDEN, &why)
}

/// Why something was held, and the ways out.
pub fn held(holds: &[Hold]) -> String {
    holds.iter().map(|hold| format!("{}; {}", hold.reason, hold.cure)).collect::<Vec<_>>().join("; ")
}
