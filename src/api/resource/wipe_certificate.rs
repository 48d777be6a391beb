//! `GET /v1/certificates`: what was done to the disks of machines that were wiped.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::api::agent::Certificate;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::WipeLevel;
use crate::state;
use crate::state::certificate::WipeCertificate as Kept;

/// A row of `GET /v1/certificates`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WipeCertificate {
    /// The number of the order.
    pub number: String,
    /// The machine, by the name that it had then: it may be gone.
    pub machine: String,
    /// What was asked for; no disk reached less.
    pub level: Word<WipeLevel>,
    /// What its disks are known by.
    pub disks: Vec<String>,
    /// RFC 3339; when our agent said that all disks are wiped, or that it could not.
    pub wiped: String,
    /// RFC 3339; when it had read them back and found nothing.
    pub verified: Option<String>,
    /// Who caused the order.
    pub by: String,
    /// What it follows from.
    pub reason: String,
    /// Why the wipe failed, with what was tried; `disks` are those that are wiped nevertheless. A later one under the
    /// same order that succeeds takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// `GET /v1/certificates/NUMBER`: the same, with what our agent did to each disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WipeCertificateShown {
    #[serde(flatten)]
    pub row: WipeCertificate,
    /// `None` where it can't be read.
    pub certificate: Option<Certificate>,
}

/// All that are kept, the oldest first.
pub fn all(state: &state::State) -> Vec<WipeCertificate> {
    state.certificates().values().map(|one| shown(one).row).collect()
}

fn shown(kept: &Kept) -> WipeCertificateShown {
    let Kept { epoch, machine, level, by, reason, wiped, verified, text, failed } = kept;
    let certificate: Option<Certificate> = serde_json::from_str(text).ok();
    let disks = certificate.iter().flat_map(|one| &one.disks).map(|disk| disk.id.clone()).collect();
    let row = WipeCertificate {
        number: epoch.to_string(),
        machine: machine.to_string(),
        level: (*level).into(),
        disks,
        wiped: wiped.to_string(),
        verified: verified.map(|at| at.to_string()),
        by: by.to_string(),
        reason: reason.to_string(),
        failed: failed.as_ref().map(ToString::to_string),
    };
    WipeCertificateShown { row, certificate }
}

impl Row for WipeCertificate {
    const COLUMNS: &'static [&'static str] =
        &["NUMBER", "MACHINE", "LEVEL", "DISKS", "WIPED", "VERIFIED", "BY", "REASON", "FAILED"];

    fn name(&self) -> &str {
        &self.number
    }

    fn key(&self) -> String {
        format!("{:0>20}", self.number)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.number.clone(),
            self.machine.clone(),
            self.level.to_string(),
            self.disks.join(","),
            self.wiped.clone(),
            or_dash(self.verified.as_ref()),
            self.by.clone(),
            self.reason.clone(),
            or_dash(self.failed.as_ref()),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let read =
        Route::get("/v1/certificates/{number}", "What was done to the disks of a machine by one order")
            .gives::<WipeCertificateShown>()
            .says(StatusCode::NOT_FOUND, "There is no such certificate");
    Routes::new().add(read, get::<B>)
}

async fn get<B: Backend>(State(backend): State<B>, Path(number): Path<String>) -> Response {
    let state = backend.state();
    match number.parse().ok().and_then(|number: u64| state.certificates().get(&number)) {
        Some(kept) => Json(shown(kept)).into_response(),
        None => {
            let number: String = number.chars().take(100).collect();
            let why = format!(
                "there is no certificate {number}: `voldemortctl get certificates` shows those that are kept"
            );
            problem(StatusCode::NOT_FOUND, &why)
        }
    }
}
