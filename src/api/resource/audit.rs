//! `GET /v1/audit`: who changed what through this API, and who was refused.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::{Row, or_dash};
use crate::api::list::{self, Wanted};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::{AuditEntry, Role};

impl Row for AuditEntry {
    const COLUMNS: &'static [&'static str] = &["ENTRY", "AT", "BY", "STEP", "STATUS", "REQUEST", "ABOUT"];

    fn name(&self) -> &str {
        &self.subject
    }

    fn key(&self) -> String {
        format!("{:020}", self.sequence)
    }

    fn cells(&self) -> Vec<String> {
        let more = match self.left_out {
            0 => String::new(),
            count => format!(" ({count} more like it before)"),
        };
        let request = match self.method.is_empty() {
            true => "-".to_owned(),
            false => format!("{} {}{more}", self.method, self.subject),
        };
        vec![
            self.sequence.to_string(),
            self.at.clone(),
            self.by.clone(),
            self.step.clone(),
            or_dash(self.status.as_ref()),
            request,
            or_dash(Some(&self.about).filter(|about| !about.is_empty())),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route =
        Route::get("/v1/audit", "Who changed what through this API, and who was refused; the newest last")
            .needs(Role::Admin)
            .lists::<AuditEntry>();
    Routes::new().add(route, audit::<B>)
}

async fn audit<B: Backend>(State(backend): State<B>, uri: Uri) -> Response {
    let wanted = match Wanted::read::<AuditEntry>(&uri) {
        Ok(wanted) => wanted,
        Err(why) => return list::mistake(&why),
    };
    // A key that no entry has is before all of them.
    let after = wanted.after().and_then(|key| key.parse().ok()).unwrap_or(0);
    match backend.audit(after).await {
        Ok(entries) => list::answer(&wanted, &uri, entries.into_iter()),
        // Whoever follows the log is not to wait for what time does not mend.
        Err(why) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("the audit log can't be read: {why}"))
        }
    }
}
