//! The bodies of requests: read within a time and a budget that all of them share, so that neither
//! slow nor large ones keep others out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::busy::Busy;
use super::problem::problem;

/// Largest body of a request that holds a tree of manifests, in bytes.
pub const TREE_MAX: usize = 64 << 20;
/// Largest body of any other request, in bytes.
pub const SMALL_MAX: usize = 1 << 20;
/// Most bytes of all bodies that are read or worked on at once.
const BUDGET: usize = 128 << 20;
/// Time for any body.
const TIME: Duration = Duration::from_secs(10);
/// A body that takes longer has to bring this many bytes a second on average.
const PACE: usize = 256 << 10;

/// What all bodies together may hold.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies(Arc::new(Semaphore::new(BUDGET)))
    }
}

/// A body, and its part of the budget.
struct Held {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// JSON of at most `MOST` bytes, in a request.
pub struct Posted<T, const MOST: usize = SMALL_MAX>(pub T);

/// JSON of at most [`TREE_MAX`] bytes; the budget is held for as long as this is.
pub struct PostedTree<T>(pub T, pub Room);

/// A part of the budget.
pub struct Room(#[allow(dead_code, reason = "held, never looked at")] Option<OwnedSemaphorePermit>);

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Posted<T, MOST> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Posted<T, MOST>, Response> {
        let Held { bytes, room: _ } = read(request, MOST, TIME).await?;
        parse(&bytes).map(Posted)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PostedTree<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<PostedTree<T>, Response> {
        let Held { bytes, room } = read(request, TREE_MAX, TIME).await?;
        parse(&bytes).map(|tree| PostedTree(tree, Room(room)))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(bytes)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("the body can't be understood: {error}")))
}

/// Reads a body of at most `most` bytes, which has `time` and longer only while it keeps its pace; the
/// error is the answer.
async fn read(request: Request, most: usize, time: Duration) -> Result<Held, Response> {
    if !is_json(request.headers()) {
        let why = "the body must be JSON with Content-Type: application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let too_large = || {
        let why = format!("the body has more than {} MiB; nothing of it was used", most >> 20);
        problem(StatusCode::PAYLOAD_TOO_LARGE, &why)
    };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    let Bodies(budget) = request.extensions().get::<Bodies>().cloned().unwrap_or_default();
    let busy = request.extensions().get::<Busy>().cloned().unwrap_or_default();
    let _waiting = busy.pause();
    let mut held = Held { bytes: Vec::new(), room: None };
    let (begun, mut body) = (Instant::now(), request.into_body());
    loop {
        // Each second that a body may take beyond the first ones was paid for with bytes.
        let deadline = begun + time + Duration::from_millis((held.bytes.len() * 1000 / PACE) as u64);
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(held),
            Ok(Some(Err(_))) => return Err(problem(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => return Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        };
        busy.progress();
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes.len() + data.len() > most {
            return Err(too_large());
        }
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Ok(more) = budget.clone().try_acquire_many_owned(count) else {
            let why =
                "the requests under way hold as much as this daemon keeps of them; try again in a moment";
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        match &mut held.room {
            Some(room) => room.merge(more),
            None => held.room = Some(more),
        }
        held.bytes.extend_from_slice(&data);
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// For what never comes.
    const SHORT: Duration = Duration::from_millis(50);

    fn request(body: Body, bodies: &Bodies) -> Request {
        let mut request = Request::post("/").header("content-type", "application/json").body(body).unwrap();
        request.extensions_mut().insert(bodies.clone());
        request
    }

    async fn code(body: Body, most: usize, bodies: &Bodies) -> u16 {
        match read(request(body, bodies), most, SHORT).await {
            Ok(_) => 200,
            Err(answer) => answer.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn size_time_and_the_common_budget_are_bounded() {
        let bodies = Bodies::default();
        assert_eq!(code(Body::from("{}"), 2, &bodies).await, 200);
        assert_eq!(code(Body::from("{} "), 2, &bodies).await, 413);
        assert_eq!(code(Body::new(Never), 9, &bodies).await, 408);
        let large = || Body::from(vec![b' '; TREE_MAX]);
        let first = read(request(large(), &bodies), TREE_MAX, SHORT).await.ok();
        let second = read(request(large(), &bodies), TREE_MAX, SHORT).await.ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(code(Body::from("{}"), 2, &bodies).await, 503, "two fill the budget");
        drop(first);
        assert_eq!(code(large(), TREE_MAX, &bodies).await, 200, "and give it back");
    }

    /// A body that never comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
}
