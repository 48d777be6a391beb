//! Enters each change that is asked for, and each refusal, in the audit log: a change before it is tried and again
//! with what became of it, so that one that the daemon did not live to see the end of is in the log as well.
//!
//! Where the log can't be written, only admins change anything: somebody has to be able to repair it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::watch;

use super::problem::problem;
use super::route::Route;
use crate::model::printable::line;
use crate::model::{AuditEntry, Caller, Role};

/// Longest wait for an entry to be on disk.
const WAIT: Duration = Duration::from_secs(5);
/// Refusals of one caller that are entered in each [`WINDOW`]; more are counted.
const REFUSALS_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Callers whose refusals are counted apart.
const CALLERS_MAX: usize = 64;
/// Longest text of a member, in characters.
const TEXT_MAX: usize = 300;

/// Where entries are kept.
pub trait Ledger: Send + Sync {
    /// Adds one, with the time and the serial of the state; its number. It waits for the disk.
    ///
    /// # Errors
    ///
    /// It could not be written.
    fn add(&self, entry: AuditEntry) -> io::Result<u64>;
}

/// What a handler says of a request and of what became of it: names, keys and digests, never values.
#[derive(Clone, Debug)]
pub(super) struct About(String);

impl About {
    pub(super) fn text(&self) -> String {
        self.0.clone()
    }
}

/// A request goes on after its answer.
#[derive(Clone, Debug)]
pub(super) struct Later {
    /// Status and text of its end, when that comes.
    pub end: watch::Receiver<Option<(u16, String)>>,
    /// The name of the operation that it is from then on.
    pub operation: String,
    /// What was wanted.
    pub what: String,
}

/// Says that an answer is not the end of its request.
pub(super) fn later(mut answer: Response, end: Later) -> Response {
    answer.extensions_mut().insert(end);
    answer
}

/// Says in the audit log what an answer is about.
pub(super) fn about(mut answer: Response, about: impl Into<String>) -> Response {
    answer.extensions_mut().insert(About(about.into()));
    answer
}

/// The same of an answer about which no handler has said anything.
pub(super) fn about_unless_said(answer: Response, what: impl Into<String>) -> Response {
    match answer.extensions().get::<About>() {
        Some(_) => answer,
        None => about(answer, what),
    }
}

/// What the guard enters with.
pub struct Audit {
    ledger: Arc<dyn Ledger>,
    refusals: Mutex<Refusals>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    /// By caller: how many were entered in this window, and how many left out since the last one that was.
    callers: BTreeMap<String, (u32, u64)>,
}

impl Refusals {
    /// How many were left out before this one; `None` if it is to be left out too.
    fn count(&mut self, caller: &str, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.callers.retain(|_, (_, left_out)| *left_out > 0);
            self.callers.values_mut().for_each(|(entered, _)| *entered = 0);
        }
        let is_one_more = !self.callers.contains_key(caller) && self.callers.len() >= CALLERS_MAX;
        let caller = if is_one_more { "" } else { caller };
        let (entered, left_out) = self.callers.entry(caller.to_owned()).or_default();
        if *entered >= REFUSALS_MAX {
            *left_out += 1;
            return None;
        }
        *entered += 1;
        Some(std::mem::take(left_out))
    }
}

/// Whether requests of this route change something, or have it changed.
fn changes(route: &Route) -> bool {
    route.changes()
}

fn short(text: &str) -> String {
    line(text).chars().take(TEXT_MAX).collect()
}

/// What a request is entered as, apart from its step.
pub(super) fn entry(route: Option<&Route>, request: &Request, by: String) -> AuditEntry {
    AuditEntry {
        by,
        method: short(request.method().as_str()),
        route: route.map(|route| route.path.to_string()).unwrap_or_default(),
        subject: short(request.uri().path()),
        ..AuditEntry::default()
    }
}

impl Audit {
    pub fn new(ledger: Arc<dyn Ledger>) -> Audit {
        Audit { ledger, refusals: Mutex::default() }
    }

    /// Has an admitted request answered, and enters it if it is for a change.
    pub(super) async fn around(
        &self,
        route: Option<&Route>,
        caller: Option<Caller>,
        request: Request,
        next: Next,
    ) -> Response {
        let Some(route) = route.filter(|route| changes(route)) else { return next.run(request).await };
        let Some(caller) = caller else {
            // Whoever calls a webhook is known when its secret was compared.
            let entry = entry(Some(route), &request, Caller::WEBHOOK.to_string());
            let answer = next.run(request).await;
            self.call(entry, answer.status()).await;
            return answer;
        };
        let mut entry = entry(Some(route), &request, caller.to_string());
        let begun = match self.add(AuditEntry { step: "begun".into(), ..entry.clone() }).await {
            Ok(begun) => Some(begun),
            Err(why) if caller.role < Role::Admin => {
                let why = format!(
                    "the audit log can't be written, and what is not in it is not changed: {why}; an admin can change \
                     things all the same"
                );
                return problem(StatusCode::SERVICE_UNAVAILABLE, &why);
            }
            Err(_) => None,
        };
        let answer = next.run(request).await;
        if let Some(About(about)) = answer.extensions().get() {
            entry.about = short(about);
        }
        if let Some(Later { mut end, operation, what }) = answer.extensions().get().cloned() {
            let ledger = self.ledger.clone();
            let about = short(&AuditEntry::about_operation(&operation, &what));
            let status = Some(answer.status().as_u16());
            // Before the caller knows its name: by that it finds it after a restart.
            let _ = self
                .add(AuditEntry { step: "continued".into(), begun, status, about, ..entry.clone() })
                .await;
            tokio::spawn(async move {
                let ended = end.wait_for(Option::is_some).await.map(|ended| ended.clone());
                let failed =
                    || (StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "the daemon failed at it".into());
                let (status, about) = ended.ok().flatten().unwrap_or_else(failed);
                let about = short(&AuditEntry::about_operation(&operation, &about));
                let (step, status) = ("ended".into(), Some(status));
                let _ = enter(ledger, AuditEntry { step, begun, status, about, ..entry }).await;
            });
            return answer;
        }
        let status = Some(answer.status().as_u16());
        // What was done is done: that this could not be entered is in the status and in the log.
        let _ = self.add(AuditEntry { step: "ended".into(), begun, status, ..entry }).await;
        answer
    }

    /// Enters the call of a webhook: anybody may call one, and a busy repository does it often.
    async fn call(&self, entry: AuditEntry, status: StatusCode) {
        let accepted = status.is_success();
        let by = if accepted { entry.by.clone() } else { "nobody known".to_owned() };
        let step = if accepted { "ended" } else { "refused" };
        self.thinned(AuditEntry { by, step: step.into(), ..entry }, status).await;
    }

    /// Enters that the guard refused a request.
    pub(super) async fn refused(&self, entry: AuditEntry, status: StatusCode) {
        let is_entered = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST
        );
        if is_entered {
            self.thinned(AuditEntry { step: "refused".into(), ..entry }, status).await;
        }
    }

    async fn thinned(&self, entry: AuditEntry, status: StatusCode) {
        let left_out = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.count(&entry.by, Instant::now())
        };
        if let Some(left_out) = left_out {
            let status = Some(status.as_u16());
            let _ = self.add(AuditEntry { status, left_out, ..entry }).await;
        }
    }

    async fn add(&self, entry: AuditEntry) -> Result<u64, String> {
        enter(self.ledger.clone(), entry).await
    }
}

/// Adds an entry. The error is a text; it is in the log of the daemon too.
async fn enter(ledger: Arc<dyn Ledger>, entry: AuditEntry) -> Result<u64, String> {
    let shown = format!("{} {} by {}", entry.method, entry.subject, entry.by);
    let adding = tokio::task::spawn_blocking(move || ledger.add(entry));
    let added = match tokio::time::timeout(WAIT, adding).await {
        Ok(Ok(added)) => added.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the disk has not stored it within {} s", WAIT.as_secs())),
    };
    added.inspect_err(|why| tracing::error!("the audit log lacks an entry ({shown}): {why}"))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_caller_are_thinned_and_counted() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let entered = (0..100).filter(|_| refusals.count("nobody known", now) == Some(0)).count();
        assert_eq!(entered, REFUSALS_MAX as usize);
        assert_eq!(refusals.count("user 7 (viewer)", now), Some(0), "another caller's are entered");
        assert_eq!(refusals.count("nobody known", now + WINDOW), Some(80));
        for number in 0..10_000 {
            refusals.count(&number.to_string(), now + WINDOW);
        }
        assert!(refusals.callers.len() <= CALLERS_MAX + 1);
    }
}
