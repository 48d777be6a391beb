//! `Idempotency-Key`: a request that is sent again, because its answer was lost, is done once.
//!
//! The answers are held in memory: the next start forgets them. A commit that was made for a request has a digest of its
//! key, by which it is found then. A key counts for the caller that sent it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::problem::{ErrorCode, coded, problem};
use crate::model::Caller;
use crate::model::hex::hex;

/// The header that names a request.
pub const KEY: &str = "idempotency-key";
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most keys that are kept; then the oldest go.
const KEYS_MAX: usize = 10_000;
/// Most bytes of answers that are kept; then the oldest go.
const BYTES_MAX: usize = 32 << 20;
/// Most requests with keys that are done at once.
const RUNNING_MAX: usize = 256;
/// Longest key, in bytes.
const KEY_MAX: usize = 255;

/// The keys that were used; clones share them.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    entries: BTreeMap<(String, String), Entry>,
    bytes: usize,
}

struct Entry {
    /// SHA-256 of the request.
    request: [u8; 32],
    began: Instant,
    /// `None` while it is being done.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Keys {
    /// Does `work` unless the caller sent this key before: then its first answer is given again. `request` is all that
    /// the work depends on. With a key the work goes on when the caller goes away.
    pub async fn once(
        &self,
        caller: Caller,
        headers: &HeaderMap,
        request: &[u8],
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let mut given = headers.get_all(KEY).iter();
        let Some(key) = given.next() else { return work.await };
        let plain =
            key.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()) && given.next().is_none());
        let Some(plain) = plain else {
            let why = format!("Idempotency-Key is one text of 1 to {KEY_MAX} letters, digits and signs");
            return problem(StatusCode::BAD_REQUEST, &why);
        };
        let place = (caller.to_string(), plain.to_owned());
        let request = Sha256::digest(request).into();
        if let Some(answer) = self.begin(&place, request) {
            return answer;
        }
        let mut pending = Pending { keys: self.clone(), place, answered: false };
        to_its_end(async move {
            let answer = work.await;
            pending.end(answer).await
        })
        .await
    }

    /// What names a request that has a key, in a commit: nobody learns the key from it.
    pub fn digest(caller: &Caller, headers: &HeaderMap, request: &str) -> Option<String> {
        let key = headers.get(KEY)?.to_str().ok()?;
        Some(hex(&Sha256::digest(format!("{caller}\0{key}\0{request}"))[..16]))
    }

    /// What is answered without doing it; `None` if it is to be done.
    fn begin(&self, place: &(String, String), request: [u8; 32]) -> Option<Response> {
        let mut kept = self.lock();
        kept.forget_old();
        if let Some(entry) = kept.entries.get(place) {
            return Some(match &entry.answer {
                _ if entry.request != request => coded(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    ErrorCode::KeyReused,
                    "this Idempotency-Key was used for another request: give each request its own",
                ),
                None => coded(
                    StatusCode::CONFLICT,
                    ErrorCode::KeyInUse,
                    "the request with this Idempotency-Key is being done",
                ),
                Some(answer) => answer.again(),
            });
        }
        if kept.entries.values().filter(|entry| entry.answer.is_none()).count() >= RUNNING_MAX {
            let why = format!(
                "{RUNNING_MAX} requests with an Idempotency-Key are being done: try again in a moment"
            );
            return Some(problem(StatusCode::SERVICE_UNAVAILABLE, &why));
        }
        kept.entries.insert(place.clone(), Entry { request, began: Instant::now(), answer: None });
        None
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does work that goes on when the caller goes away.
pub(super) async fn to_its_end(work: impl Future<Output = Response> + Send + 'static) -> Response {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed at it"))
}

impl Kept {
    fn remove(&mut self, place: &(String, String)) {
        let gone = self.entries.remove(place).and_then(|entry| entry.answer);
        self.bytes -= gone.map_or(0, |answer| answer.body.len());
    }

    /// Drops answers that are too old, and the oldest ones of too many.
    fn forget_old(&mut self) {
        let is_over = |keys: usize, bytes: usize| keys >= KEYS_MAX || bytes > BYTES_MAX;
        let done = self.entries.iter().filter(|(_, entry)| entry.answer.is_some());
        let old = done.filter(|(_, entry)| entry.began.elapsed() >= KEPT);
        let gone: Vec<(String, String)> = old.map(|(place, _)| place.clone()).collect();
        gone.iter().for_each(|place| self.remove(place));
        if !is_over(self.entries.len(), self.bytes) {
            return;
        }
        let done = self.entries.iter().filter(|(_, entry)| entry.answer.is_some());
        let mut by_age: Vec<_> = done.map(|(place, entry)| (entry.began, place.clone())).collect();
        by_age.sort();
        // Somewhat more than needed, since this looks at all of them.
        for (_, place) in by_age {
            if !is_over(self.entries.len() + KEYS_MAX / 10, self.bytes + BYTES_MAX / 10) {
                return;
            }
            self.remove(&place);
        }
    }
}

impl Answer {
    fn again(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// A request that is being done; where it ends without an answer, its key is free again.
struct Pending {
    keys: Keys,
    place: (String, String),
    answered: bool,
}

impl Pending {
    /// Keeps the answer. What the daemon could not do now may be tried again with the same key.
    async fn end(&mut self, answer: Response) -> Response {
        let (head, body) = answer.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made");
        };
        if !head.status.is_server_error() {
            let mut kept = self.keys.lock();
            if let Some(entry) = kept.entries.get_mut(&self.place) {
                let (status, headers, body) = (head.status, head.headers.clone(), body.clone());
                entry.answer = Some(Answer { status, headers, body });
                kept.bytes += body_length(&kept, &self.place);
                self.answered = true;
            }
        }
        Response::from_parts(head, Body::from(body))
    }
}

fn body_length(kept: &Kept, place: &(String, String)) -> usize {
    let answer = kept.entries.get(place).and_then(|entry| entry.answer.as_ref());
    answer.map_or(0, |answer| answer.body.len())
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.keys.lock().remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::response::IntoResponse;

    use super::*;
    use crate::model::{By, Role};

    fn keyed(key: &str) -> HeaderMap {
        [(HeaderName::from_static(KEY), key.parse().unwrap())].into_iter().collect()
    }

    fn caller(user: u32) -> Caller {
        Caller { by: By::User(user), role: Role::Editor }
    }

    #[tokio::test]
    async fn a_request_is_done_once_for_each_key_and_caller() {
        let (keys, count) = (Keys::default(), Arc::new(AtomicUsize::new(0)));
        let send = async |user: u32, key: &str, request: &'static str, status: StatusCode| {
            let count = count.clone();
            let work =
                async move { (status, count.fetch_add(1, Ordering::SeqCst).to_string()).into_response() };
            let answer = keys.once(caller(user), &keyed(key), request.as_bytes(), work).await;
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let replayed = head.headers.contains_key(REPLAYED);
            (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned(), replayed)
        };
        let ok = StatusCode::OK;
        assert_eq!(send(1, "a", "x", ok).await, (200, "0".into(), false));
        assert_eq!(send(1, "a", "x", ok).await, (200, "0".into(), true));
        assert_eq!(send(1, "a", "y", ok).await.0, 422);
        assert_eq!(send(2, "a", "x", ok).await, (200, "1".into(), false), "another caller's key is another");
        assert_eq!(send(1, "b", "x", StatusCode::CONFLICT).await.1, "2");
        assert_eq!(send(1, "b", "x", ok).await, (409, "2".into(), true), "a refusal is an answer too");
        assert_eq!(send(1, "c", "x", StatusCode::SERVICE_UNAVAILABLE).await.1, "3");
        assert_eq!(send(1, "c", "x", ok).await, (200, "4".into(), false), "what failed is tried again");
        assert_eq!(send(1, "", "x", ok).await.0, 400);
        assert_eq!(send(1, &"k".repeat(256), "x", ok).await.0, 400);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_has_its_answer_kept() {
        let keys = Keys::default();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let headers = keyed("a");
        let slow = keys.once(caller(1), &headers, b"x", async {
            let _ = finished.await;
            "done".into_response()
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
        let again = async || keys.once(caller(1), &keyed("a"), b"x", async { "twice".into_response() }).await;
        assert_eq!(again().await.status(), 409, "it is being done");
        finish.send(()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let answer = again().await;
                if answer.status() == 200 {
                    break answer;
                }
                tokio::task::yield_now().await;
            }
        });
        let body = to_bytes(answer.await.unwrap().into_body(), 100).await.unwrap();
        assert_eq!(&*body, b"done");
    }

    #[tokio::test]
    async fn requests_under_way_are_bounded() {
        let keys = Keys::default();
        for number in 0..RUNNING_MAX {
            let headers = keyed(&number.to_string());
            let never = keys.once(caller(1), &headers, b"x", std::future::pending());
            assert!(tokio::time::timeout(Duration::ZERO, never).await.is_err());
        }
        let one_more = keys.once(caller(2), &keyed("x"), b"x", async { "x".into_response() }).await;
        assert_eq!(one_more.status(), 503);
    }

    #[tokio::test]
    async fn the_oldest_answers_go_when_there_are_too_many() {
        let keys = Keys::default();
        for number in 0..=KEYS_MAX {
            keys.once(caller(1), &keyed(&number.to_string()), b"x", async { "x".into_response() }).await;
        }
        let kept = keys.lock();
        assert!(kept.entries.len() <= KEYS_MAX && kept.bytes == kept.entries.len());
        let has = |key: &str| kept.entries.keys().any(|(_, own)| own == key);
        assert!(!has("0") && has(&KEYS_MAX.to_string()));
    }
}
