//! `GET /v1/operations` and `/v1/operations/ID`: what became of requests that were answered with 202.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Row, or_dash};
use crate::api::operation::{Found, Operations};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::AuditEntry;

/// A request that went on after it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    pub id: String,
    /// What was wanted, for people.
    pub what: String,
    /// Who sent the request.
    pub by: String,
    /// `running`, `done`, or `cut` where the daemon stopped before the end.
    pub state: String,
    /// RFC 3339; when it began.
    pub since: String,
    /// RFC 3339
    pub ended: Option<String>,
    /// The status that the request would have been answered with.
    pub status: Option<u16>,
    /// The answer that it would have had; null while it is running, in the list, and after a restart of the daemon.
    #[serde(default)]
    pub result: Value,
    /// What the audit log says of how it ended, where the daemon was started again since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<String>,
}

impl Operation {
    /// One of an earlier start of the daemon, of its entries in the audit log.
    fn of_entries(id: &str, entries: &[AuditEntry]) -> Option<Operation> {
        let text = |entry: &AuditEntry| {
            let text = entry.about.strip_prefix(&AuditEntry::about_operation(id, "")).unwrap_or_default();
            text.to_owned()
        };
        let continued = entries.iter().find(|entry| entry.step == "continued")?;
        let ended = entries.iter().find(|entry| entry.step == "ended");
        let last = ended.or_else(|| entries.iter().find(|entry| entry.step == "cut"));
        Some(Operation {
            id: id.to_owned(),
            what: text(continued),
            by: continued.by.clone(),
            state: if ended.is_some() { "done" } else { "cut" }.into(),
            since: continued.at.clone(),
            ended: ended.map(|entry| entry.at.clone()),
            status: ended.and_then(|entry| entry.status),
            result: Value::Null,
            noted: last.map(text),
        })
    }
}

impl Row for Operation {
    const COLUMNS: &'static [&'static str] = &["ID", "STATE", "STATUS", "WHAT", "BY", "SINCE", "ENDED"];

    fn name(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.state.clone(),
            or_dash(self.status.as_ref()),
            self.what.clone(),
            self.by.clone(),
            self.since.clone(),
            or_dash(self.ended.as_ref()),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::get("/v1/operations/{id}", "What became of a request that was answered with 202")
        .gives::<Operation>()
        .says(StatusCode::NOT_FOUND, "There is no such operation")
        .says(StatusCode::GONE, "It is not kept any more");
    Routes::new().add(route, one::<B>)
}

/// The whole audit log is read for an operation of an earlier start: one at a time.
static EARLIER: Semaphore = Semaphore::const_new(1);

async fn one<B: Backend>(
    State(backend): State<B>,
    Extension(operations): Extension<Operations>,
    Path(id): Path<String>,
) -> Response {
    match operations.find(&id) {
        Found::It(operation) => Json(operation).into_response(),
        Found::Earlier => {
            let _turn = EARLIER.acquire().await;
            let gone = || {
                format!(
                    "operation {id} is of another start of the daemon, and its audit log has no entry of it: it changed \
                     nothing (as a plan), or it is too long ago"
                )
            };
            match backend.audit_of_operation(&id).await.map(|found| Operation::of_entries(&id, &found)) {
                Ok(Some(operation)) => Json(operation).into_response(),
                Ok(None) => problem(StatusCode::GONE, &gone()),
                Err(why) => problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("operation {id} is of another start, and the audit log can't be read: {why}"),
                ),
            }
        }
        Found::Gone(why) => problem(StatusCode::GONE, &why),
        Found::Unknown => problem(StatusCode::NOT_FOUND, &format!("there is no operation {id}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: &str, text: &str, status: Option<u16>) -> AuditEntry {
        let about = AuditEntry::about_operation("0-1", text);
        AuditEntry { step: step.into(), at: format!("at {step}"), about, status, ..AuditEntry::default() }
    }

    #[test]
    fn what_became_of_one_of_an_earlier_start_is_in_the_audit_log() {
        let begun = entry("continued", "update deployment web-1 (boot)", Some(202));
        let ended = entry("ended", "update deployment web-1 (boot): written, commit 1a", Some(200));
        let found = |entries: &[&AuditEntry]| {
            let entries: Vec<AuditEntry> = entries.iter().map(|entry| (*entry).clone()).collect();
            Operation::of_entries("0-1", &entries)
        };
        let done = found(&[&begun, &ended]).unwrap();
        assert_eq!(
            (&*done.state, done.status, &*done.what),
            ("done", Some(200), "update deployment web-1 (boot)")
        );
        assert_eq!((&*done.since, done.ended.as_deref()), ("at continued", Some("at ended")));
        assert_eq!(done.noted.as_deref(), Some("update deployment web-1 (boot): written, commit 1a"));
        let cut = found(&[&begun, &entry("cut", "it has no end", None)]).unwrap();
        assert_eq!((&*cut.state, cut.status, cut.noted.as_deref()), ("cut", None, Some("it has no end")));
        // The daemon that has just started has not entered it yet.
        assert_eq!(found(&[&begun]).map(|one| (one.state, one.noted)), Some(("cut".into(), None)));
        assert_eq!(found(&[]), None);
    }
}
