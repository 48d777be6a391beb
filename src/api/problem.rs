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

use crate::model::words::words;

/// The media type of errors.
pub const TYPE: &str = "application/problem+json";
/// Longest text of an error that the framework makes, in bytes.
const TEXT_MAX: usize = 64 << 10;

words! {
    /// What kind of error an answer is, for programs.
    pub enum ErrorCode {
        /// 400: the request is not understood.
        BadRequest = "bad-request",
        /// 401: no token, or one that is not accepted.
        Unauthorized = "unauthorized",
        /// 403: the caller's role does not allow it.
        Forbidden = "forbidden",
        /// 403: the daemon may not write to the inventory; what a person can do is in the answer.
        Off = "off",
        /// 403: the token is bound to pools, and the resource is not of them.
        OutOfScope = "out-of-scope",
        NotFound = "not-found",
        MethodNotAllowed = "method-not-allowed",
        NotAcceptable = "not-acceptable",
        /// 408: the request came too slowly.
        Timeout = "timeout",
        /// 409: it can't be done as things stand.
        Conflict = "conflict",
        /// 409: a safety rule holds it; `holds` says which.
        Held = "held",
        /// 409: a machine is protected.
        Protected = "protected",
        /// 409: the request with this Idempotency-Key is being done.
        KeyInUse = "key-in-use",
        /// 410: what was asked about is not kept any more.
        Gone = "gone",
        /// 412: the resource is another one than If-Match names.
        Changed = "changed",
        /// 412: the state has changed since the plan was made.
        Stale = "stale",
        /// 412: what was agreed to is not what there is any more; `reasons` says why.
        Moved = "moved",
        PreconditionFailed = "precondition-failed",
        TooLarge = "too-large",
        /// 415: the body is no JSON.
        NotJson = "not-json",
        /// 421: the request names another host.
        WrongHost = "wrong-host",
        /// 422: manifests are wrong; `problems` has every error.
        Invalid = "invalid",
        /// 422: the change can't be made.
        Refused = "refused",
        /// 422: files are missing; `files` names them.
        Wanted = "wanted",
        /// 422: the Idempotency-Key was used for another request.
        KeyReused = "key-reused",
        Unprocessable = "unprocessable",
        TooManyRequests = "too-many-requests",
        /// 414 or 431: the head is too long.
        HeadTooLong = "head-too-long",
        /// 500: the daemon failed at it.
        Internal = "internal",
        /// 503: not now.
        Unavailable = "unavailable",
        /// Any other status.
        Other = "other",
    }
}

impl ErrorCode {
    /// That of a status about which nothing more is known.
    fn of(status: StatusCode) -> ErrorCode {
        match status {
            StatusCode::BAD_REQUEST => ErrorCode::BadRequest,
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
            StatusCode::FORBIDDEN => ErrorCode::Forbidden,
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
            StatusCode::NOT_ACCEPTABLE => ErrorCode::NotAcceptable,
            StatusCode::REQUEST_TIMEOUT => ErrorCode::Timeout,
            StatusCode::CONFLICT => ErrorCode::Conflict,
            StatusCode::GONE => ErrorCode::Gone,
            StatusCode::PRECONDITION_FAILED => ErrorCode::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::NotJson,
            StatusCode::MISDIRECTED_REQUEST => ErrorCode::WrongHost,
            StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::Unprocessable,
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ErrorCode::HeadTooLong,
            StatusCode::INTERNAL_SERVER_ERROR => ErrorCode::Internal,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
            _ => ErrorCode::Other,
        }
    }
}

/// What every error of the API looks like: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// What kind of error it is, for programs: a word of the list in docs/api.md.
    #[serde(default)]
    pub code: String,
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

/// An error of a kind that its status alone does not say.
pub fn coded(status: StatusCode, code: ErrorCode, detail: &str) -> Response {
    with(status, detail, Map::from_iter([("code".to_owned(), json!(code.name()))]))
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
    // What became of it says more than the status.
    let outcome = members.get("outcome").and_then(Value::as_str).and_then(ErrorCode::named);
    let code = outcome.unwrap_or_else(|| ErrorCode::of(status));
    members.entry("code").or_insert_with(|| json!(code.name()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_code_of_its_status_or_of_its_outcome() {
        let code = |text: &str| serde_json::from_str::<Problem>(text).unwrap().code;
        assert_eq!(code(&text(StatusCode::GONE, "x")), "gone");
        assert_eq!(code(&text(StatusCode::IM_A_TEAPOT, "x")), "other");
        let members = |word: &str| Map::from_iter([("outcome".to_owned(), json!(word))]);
        assert_eq!(code(&body(StatusCode::CONFLICT, "x", members("held"))), "held");
        assert_eq!(code(&body(StatusCode::CONFLICT, "x", members("new"))), "conflict");
    }
}
