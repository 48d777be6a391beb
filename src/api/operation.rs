//! Requests that go on after they were answered: with `Prefer: wait=N` (RFC 7240) what is not done within N seconds is
//! answered with 202, and its end is found at `/v1/operations/ID`.
//!
//! They are held in memory, the last ones of them. Of one of an earlier start that changes anything, the audit log says
//! what became of it, without its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::audit::{About, Later, later};
use super::problem::{ErrorCode, coded, problem};
use super::resource::Operation;
use crate::model::{Caller, Time};

/// Longest time that a request may ask for, in seconds.
const WAIT_MAX: u64 = 600;
/// Most requests that are done at once without anybody waiting for them.
const RUNNING_MAX: usize = 64;
/// Most operations that are kept; then those that ended first go.
const KEPT_MAX: usize = 1000;
/// Most bytes of their answers; then those that ended first go.
const BYTES_MAX: usize = 16 << 20;
/// The part of each of these that one caller may have: one that makes many plans takes no other's place.
const SHARE: usize = 4;

/// The preference that is taken into account.
const PREFER: &str = "prefer";
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The operations of this daemon; clones share them.
#[derive(Clone)]
pub struct Operations {
    /// Distinguishes this start of the daemon from others.
    start: u32,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    all: BTreeMap<u64, Entry>,
    /// In the order in which they ended.
    ended: Vec<u64>,
    bytes: usize,
}

struct Entry {
    shown: Operation,
    /// The answer, as bytes of JSON.
    result: Bytes,
}

/// What became of a look at an operation.
pub enum Found {
    It(Operation),
    /// It was of an earlier start, whose operations only the audit log knows.
    Earlier,
    /// It is not kept any more.
    Gone(String),
    Unknown,
}

impl Default for Operations {
    fn default() -> Operations {
        // Milliseconds of 49 days: two starts of one daemon have different ones.
        Operations { start: now().0 as u32, kept: Arc::default() }
    }
}

impl Operations {
    /// Does `work`, and answers within the time that the caller prefers. `what` describes it for people.
    pub(super) async fn within(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        what: String,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let wait = match preferred(headers) {
            Ok(None) => return work.await,
            Ok(Some(wait)) => wait,
            Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
        };
        let Some(id) = self.begin(caller, &what, now()) else {
            let why = format!(
                "{RUNNING_MAX} requests are under way that nobody waits for, or {} of yours: try again in a moment",
                RUNNING_MAX / SHARE
            );
            return coded(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, &why);
        };
        let (sender, receiver) = watch::channel(None);
        let running = Running { operations: self.clone(), id, ended: false };
        let mut task = tokio::spawn(running.finish(work, sender));
        let applied =
            HeaderValue::try_from(format!("wait={wait}")).unwrap_or(HeaderValue::from_static("wait"));
        let mut answer = match tokio::time::timeout(Duration::from_secs(wait), &mut task).await {
            Ok(Ok(answer)) => {
                self.forget(id);
                answer
            }
            Ok(Err(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed at it"),
            Err(_) => {
                let path = format!("/v1/operations/{}", self.name(id));
                let shown = self.lock().all.get(&id).map(|entry| entry.shown.clone());
                let answer = (StatusCode::ACCEPTED, [(LOCATION, path)], Json(shown)).into_response();
                later(answer, Later { end: receiver, operation: self.name(id), what })
            }
        };
        answer.headers_mut().insert(APPLIED, applied);
        answer
    }

    /// Those that are under way and those that are kept, the newest first, without their results.
    pub fn all(&self) -> Vec<Operation> {
        self.lock().all.values().rev().map(|entry| entry.shown.clone()).collect()
    }

    /// The operation of this name.
    pub fn find(&self, name: &str) -> Found {
        let Some((start, id)) = name
            .split_once('-')
            .and_then(|(start, id)| Some((u32::from_str_radix(start, 16).ok()?, id.parse::<u64>().ok()?)))
        else {
            return Found::Unknown;
        };
        if start != self.start {
            return Found::Earlier;
        }
        let kept = self.lock();
        match kept.all.get(&id) {
            Some(Entry { shown, result }) => {
                let result = serde_json::from_slice(result).unwrap_or(Value::Null);
                Found::It(Operation { result, ..shown.clone() })
            }
            None if id <= kept.last => Found::Gone(format!(
                "operation {name} is not kept any more: its answer was given at once, or others came after it"
            )),
            None => Found::Unknown,
        }
    }

    fn name(&self, id: u64) -> String {
        format!("{:08x}-{id}", self.start)
    }

    fn begin(&self, caller: &Caller, what: &str, since: Time) -> Option<u64> {
        let mut kept = self.lock();
        let by = caller.to_string();
        let running = || kept.all.values().filter(|entry| entry.shown.ended.is_none());
        let own = running().filter(|entry| entry.shown.by == by).count();
        if running().count() >= RUNNING_MAX || own >= RUNNING_MAX / SHARE {
            return None;
        }
        kept.last += 1;
        let id = kept.last;
        let shown = Operation {
            id: self.name(id),
            what: what.to_owned(),
            by,
            state: "running".into(),
            since: since.to_string(),
            ended: None,
            status: None,
            result: Value::Null,
            noted: None,
        };
        kept.all.insert(id, Entry { shown, result: Bytes::new() });
        Some(id)
    }

    fn forget(&self, id: u64) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, id: u64) {
        self.ended.retain(|one| *one != id);
        self.bytes -= self.all.remove(&id).map_or(0, |entry| entry.result.len());
    }

    fn end(&mut self, id: u64, status: StatusCode, result: Bytes, now: Time) {
        let Some(entry) = self.all.get_mut(&id) else { return };
        entry.shown.state = "done".into();
        (entry.shown.ended, entry.shown.status) = (Some(now.to_string()), Some(status.as_u16()));
        let by = entry.shown.by.clone();
        self.bytes += result.len();
        entry.result = result;
        self.ended.push(id);
        // The one that has just ended stays, however large it is.
        while let Some(first) = self.first_too_many(&by).filter(|first| *first != id) {
            self.remove(first);
        }
    }

    /// The one that has to go: of this caller, if it has more than its share, else of all.
    fn first_too_many(&self, by: &str) -> Option<u64> {
        let size = |id: &u64| self.all.get(id).map_or(0, |entry| entry.result.len());
        let own =
            || self.ended.iter().filter(|id| self.all.get(id).is_some_and(|entry| entry.shown.by == by));
        if own().count() > KEPT_MAX / SHARE || own().map(size).sum::<usize>() > BYTES_MAX / SHARE {
            return own().next().copied();
        }
        let are_too_many = self.ended.len() > KEPT_MAX || self.bytes > BYTES_MAX;
        self.ended.first().copied().filter(|_| are_too_many)
    }
}

/// An operation that is under way; if its work panics it ends all the same.
struct Running {
    operations: Operations,
    id: u64,
    ended: bool,
}

impl Running {
    async fn finish(
        mut self,
        work: impl Future<Output = Response>,
        sender: watch::Sender<Option<(u16, String)>>,
    ) -> Response {
        let (head, body) = work.await.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        self.ended = true;
        self.operations.lock().end(self.id, head.status, bytes.clone(), now());
        let about = head.extensions.get::<About>().map(About::text).unwrap_or_default();
        sender.send_replace(Some((head.status.as_u16(), about)));
        Response::from_parts(head, Body::from(bytes))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let result = json!({ "detail": "the daemon failed at it" }).to_string().into();
            self.operations.lock().end(self.id, StatusCode::INTERNAL_SERVER_ERROR, result, now());
        }
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(since.as_millis() as u64)
}

/// How many seconds the caller wants to wait; `None` where it says nothing about that. Other preferences are its own.
fn preferred(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut wait = None;
    let all = headers.get_all(PREFER).iter().filter_map(|header| header.to_str().ok());
    for one in all.flat_map(|header| header.split([',', ';'])).map(str::trim) {
        let (name, value) = one.split_once('=').unwrap_or((one, ""));
        // The first of several counts (RFC 7240, section 2).
        if name.trim().eq_ignore_ascii_case("wait") && wait.is_none() {
            let seconds = value.trim().trim_matches('"').parse::<u64>();
            let seconds = seconds.ok().filter(|seconds| *seconds <= WAIT_MAX);
            wait =
                Some(seconds.ok_or_else(|| format!("Prefer: wait is a number of seconds up to {WAIT_MAX}"))?);
        }
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{By, Role};

    fn headers(prefer: &str) -> HeaderMap {
        [(HeaderName::from_static(PREFER), prefer.parse().unwrap())].into_iter().collect()
    }

    async fn begin(
        operations: &Operations,
        prefer: &str,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        operations.within(&Caller::DAEMON, &headers(prefer), "a test".into(), work).await
    }

    fn shown(operations: &Operations, answer: &Response) -> Operation {
        let path = answer.headers()[LOCATION].to_str().unwrap().to_owned();
        match operations.find(path.strip_prefix("/v1/operations/").unwrap()) {
            Found::It(operation) => operation,
            _ => panic!("{path} is not found"),
        }
    }

    #[tokio::test]
    async fn what_takes_longer_than_the_caller_waits_is_found_later() {
        let operations = Operations::default();
        let quick = begin(&operations, "wait=10", async { "done".into_response() }).await;
        assert_eq!((quick.status(), quick.headers()[APPLIED].to_str().unwrap()), (StatusCode::OK, "wait=10"));
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let slow = begin(&operations, "handling=lenient, wait=0", async {
            let _ = finished.await;
            (StatusCode::CONFLICT, "{\"outcome\":\"held\"}").into_response()
        });
        let slow = slow.await;
        assert_eq!(slow.status(), StatusCode::ACCEPTED);
        let running = shown(&operations, &slow);
        assert_eq!(
            (running.state.as_str(), running.by.as_str(), running.status),
            ("running", "the daemon", None)
        );
        finish.send(()).unwrap();
        let end = async {
            while shown(&operations, &slow).state == "running" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end).await.unwrap();
        let done = shown(&operations, &slow);
        assert_eq!((done.status, &done.result["outcome"]), (Some(409), &json!("held")));
        assert_eq!(begin(&operations, "wait=601", async { "x".into_response() }).await.status(), 400);
        assert_eq!(begin(&operations, "return=minimal", async { "x".into_response() }).await.status(), 200);
    }

    fn caller(number: u32) -> Caller {
        Caller { by: By::User(number), role: Role::Editor }
    }

    #[tokio::test]
    async fn operations_are_bounded_and_those_of_another_start_are_found_elsewhere() {
        let operations = Operations::default();
        let share = RUNNING_MAX / SHARE;
        let last = SHARE as u32;
        for (number, by) in (0..=last).flat_map(|by| (0..=share).map(move |number| (number, by))) {
            let (by, headers) = (caller(by), headers("wait=0"));
            let answer = operations.within(&by, &headers, "a test".into(), std::future::pending()).await;
            let has_room = number < share && by != caller(last);
            let wanted = if has_room { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(answer.status(), wanted, "{number} of {by}");
        }
        assert_eq!(operations.all().len(), RUNNING_MAX);
        assert!(operations.all().is_sorted_by(|newer, older| newer.since >= older.since));
        let other = format!("{:08x}-1", operations.start.wrapping_add(1));
        assert!(matches!(operations.find(&other), Found::Earlier));
        assert!(
            matches!(operations.find("x"), Found::Unknown) && matches!(operations.find("-9"), Found::Unknown)
        );
    }

    #[test]
    fn a_caller_keeps_its_share_whatever_others_do() {
        let kept = Operations::default();
        let end = |by: u32, result: &'static str| {
            let id = kept.begin(&caller(by), "x", Time(0)).unwrap();
            kept.lock().end(id, StatusCode::OK, result.into(), Time(0));
            id
        };
        let first = end(0, "12345");
        for _ in 0..KEPT_MAX + 10 {
            end(1, "12345");
        }
        assert!(kept.lock().all.contains_key(&first), "another caller took its place");
        assert_eq!(kept.lock().ended.len(), KEPT_MAX / SHARE + 1);
        for by in (2..=SHARE as u32).flat_map(|by| vec![by; KEPT_MAX]) {
            end(by, "12345");
        }
        let lock = kept.lock();
        assert_eq!((lock.all.len(), lock.ended.len(), lock.bytes), (KEPT_MAX, KEPT_MAX, 5 * KEPT_MAX));
    }
}
