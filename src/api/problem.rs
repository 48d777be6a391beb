//! The one form that every error of the API has: `application/problem+json` (RFC 9457).

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The media type of errors.
pub const TYPE: &str = "application/problem+json";
/// Longest text of an error that the framework makes, in bytes.
const TEXT_MAX: usize = 64 << 10;

/// What every error of the API looks like: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// What went wrong, and the way out.
    pub detail: String,
}

/// An error with its reason as a text.
pub fn problem(status: StatusCode, detail: &str) -> Response {
    with(status, detail, Map::new())
}

/// An error that is an outcome of its own: its members stand beside those of RFC 9457.
pub fn outcome(status: StatusCode, detail: &str, outcome: &impl Serialize) -> Response {
    let members = match serde_json::to_value(outcome) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    with(status, detail, members)
}

/// The body of such an error.
pub fn text(status: StatusCode, detail: &str) -> String {
    body(status, detail, Map::new())
}

fn with(status: StatusCode, detail: &str, members: Map<String, Value>) -> Response {
    let body = body(status, detail, members);
    (status, [(CONTENT_TYPE, HeaderValue::from_static(TYPE))], body).into_response()
}

fn body(status: StatusCode, detail: &str, mut members: Map<String, Value>) -> String {
    members.insert("type".into(), json!("about:blank"));
    members.insert("title".into(), json!(status.canonical_reason().unwrap_or("Error")));
    members.insert("status".into(), json!(status.as_u16()));
    members.insert("detail".into(), json!(detail));
    Value::Object(members).to_string()
}

/// Gives what the framework refuses by itself the same form: wrong methods, paths that are no text.
pub async fn uniform(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if answer.status().as_u16() < 400 || is_problem(answer.headers()) {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let text = to_bytes(body, TEXT_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let text = match (text.trim(), head.status) {
        ("", StatusCode::METHOD_NOT_ALLOWED) => "this resource does not take that method",
        ("", status) => status.canonical_reason().unwrap_or("it failed"),
        (text, _) => text,
    };
    let (own, body) = problem(head.status, text).into_parts();
    // What else the answer said stays, such as `Allow`.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.extend(own.headers);
    Response::from_parts(head, Body::new(body))
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == TYPE.as_bytes())
}
