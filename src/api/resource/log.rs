//! `GET /v1/logs`: what machines log, and a wait for what they log next; `GET /v1/log-senders`: who does.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Row, or_dash};
use crate::api::Word;
use crate::api::feed::{self, Asking, Feed, Page, Since};
use crate::api::masked;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::api::streams::Streams;
use crate::model::credential::Masker;
use crate::model::{Severity, Time};

/// `GET /v1/logs?name=NAME&after=SEQUENCE&lineage=LINEAGE&wait=SECONDS`. Without `after`, from the oldest on that is
/// kept. 410 where what came after it is no longer kept, or the daemon was started again meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    pub lines: Vec<LogLine>,
    /// What to pass as `after` next.
    pub next: u64,
    /// What the numbers belong to; each start of the daemon has another one.
    pub lineage: String,
    /// The number of the oldest line of these senders that is kept.
    pub oldest: u64,
}

/// What a machine logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    pub seq: u64,
    /// RFC 3339; when it came, by the daemon's clock.
    pub at: String,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The machine that had the address then.
    pub machine: Option<String>,
    /// What it was deployed as.
    pub deployment: Option<String>,
    pub address: IpAddr,
    /// As in RFC 5424: `kern`, `daemon`, `local0`, …
    pub facility: String,
    pub severity: Word<Severity>,
    /// What wrote it, as the message says.
    pub program: Option<String>,
    /// One printable line; secrets of the inventory are replaced by their names.
    pub text: String,
}

/// A row of `GET /v1/log-senders`: a machine, or an address of no machine, that sent messages of syslog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogSender {
    /// The machine, or the address of no machine.
    pub name: String,
    pub machine: Option<String>,
    /// The address that it sent from last.
    pub address: IpAddr,
    /// Lines that are kept.
    pub kept: u64,
    /// Messages that came since the daemon started.
    pub received: u64,
    /// Of those, how many were in no known form.
    pub malformed: u64,
    /// Of those, how many were left out because it sent too many at once.
    pub left_out: u64,
    /// RFC 3339; when the last one came.
    pub last: String,
}

impl Row for LogSender {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "ADDRESS", "KEPT", "RECEIVED", "MALFORMED", "LEFT OUT", "LAST"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(Some(&self.address)),
            self.kept.to_string(),
            self.received.to_string(),
            self.malformed.to_string(),
            self.left_out.to_string(),
            self.last.clone(),
        ]
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedLines {
    /// A machine, a deployment or an address; all if absent.
    pub name: Option<String>,
    /// The least urgent that is wanted.
    pub severity: Option<Severity>,
    pub since: Option<Time>,
}

/// Where lines are kept.
pub trait Logbook: Send + 'static {
    /// Sees the number of the newest line.
    fn latest(&self) -> watch::Receiver<u64>;
    /// What the numbers belong to.
    fn lineage(&self) -> String;
    /// The lines after the one of a number that are wanted, the oldest first, at most `limit`. With the number behind
    /// the last one of these senders that was dropped.
    fn after(&self, sequence: u64, limit: usize, wanted: &WantedLines) -> (u64, Vec<(u64, LogLine)>);
    /// Who sent lines, by their names.
    fn senders(&self) -> Vec<LogSender>;
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::get("/v1/logs", "What machines log, and a wait for what they log next")
        .parameter::<String>("name", "Only of this machine, deployment or address")
        .parameter::<Word<Severity>>("severity", "The least urgent that is wanted")
        .parameter::<String>("since", "Only what came since this time: RFC 3339")
        .parameter::<u64>("after", "The number of the last line that is known: later ones are wanted")
        .parameter::<String>("lineage", "What the number belongs to, as an earlier answer said")
        .parameter::<u64>("wait", "How long to wait for the next line, in seconds; 300 at most")
        .gives::<Logs>()
        .streams("With `Accept: text/event-stream`: lines as they come, each with the id LINEAGE.SEQUENCE")
        .says(StatusCode::NOT_FOUND, "There is no machine, deployment or sender of this name")
        .says(StatusCode::GONE, "What came after is no longer kept, or of another lineage: begin again");
    Routes::new().add(route, logs::<B>)
}

#[derive(Deserialize)]
struct Parameters {
    name: Option<String>,
    severity: Option<String>,
    since: Option<String>,
    #[serde(default)]
    after: u64,
    lineage: Option<String>,
    #[serde(default)]
    wait: u64,
}

impl Parameters {
    fn wanted(&self) -> Result<WantedLines, String> {
        let severity = self.severity.as_deref().map(|word| {
            let names = Severity::NAMES.join(", ");
            Severity::named(word).ok_or_else(|| format!("severity: `{word}` is none of {names}"))
        });
        let since = self.since.as_deref().map(|text| {
            let stamp: Option<jiff::Timestamp> = text.parse().ok();
            let since = stamp.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
            since
                .map(Time)
                .ok_or_else(|| format!("since: `{text}` is no time of RFC 3339, as 2026-11-30T04:16:40Z"))
        });
        Ok(WantedLines {
            name: self.name.clone(),
            severity: severity.transpose()?,
            since: since.transpose()?,
        })
    }
}

async fn logs<B: Backend>(
    State(backend): State<B>,
    asking: Asking,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    let wanted = match parameters.wanted() {
        Ok(wanted) => wanted,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    if let Some(name) = wanted.name.as_deref().filter(|name| !is_known(&backend, name)) {
        let why =
            format!("there is no machine and no deployment {name}, and no address {name} has sent lines");
        return problem(StatusCode::NOT_FOUND, &why);
    }
    let Parameters { after, lineage, wait, .. } = parameters;
    let feed = Lines { book: backend.logs(), wanted };
    feed::answer(backend, feed, Since { after, lineage }, wait, asking, headers).await
}

fn is_known<B: Backend>(backend: &B, name: &str) -> bool {
    let state = backend.state();
    let desired = state.desired();
    desired.machines.contains_key(name)
        || desired.deployments.contains_key(name)
        || name.parse::<IpAddr>().is_ok()
        || backend.logs().senders().iter().any(|sender| sender.name == name)
}

/// The lines that somebody wants to see.
struct Lines<L> {
    book: L,
    wanted: WantedLines,
}

impl<L: Logbook> Feed for Lines<L> {
    type Item = LogLine;
    const NAME: &'static str = "lines";
    const BEHIND_MAX: u64 = 10_000;

    fn latest(&self) -> watch::Receiver<u64> {
        self.book.latest()
    }

    fn lineage(&self) -> String {
        self.book.lineage()
    }

    fn after(&self, sequence: u64, limit: usize) -> (u64, Vec<(u64, LogLine)>) {
        self.book.after(sequence, limit, &self.wanted)
    }

    fn frame(
        &self,
        _: &Streams,
        lineage: &str,
        sequence: u64,
        line: &LogLine,
        masker: Option<&Arc<Masker>>,
    ) -> Bytes {
        let data = masked::row(line, masker.map(|masker| &**masker));
        format!("id: {lineage}.{sequence}\nevent: line\ndata: {data}\n\n").into()
    }

    fn page(page: Page<LogLine>) -> Response {
        let Page { items, next, lineage, oldest } = page;
        let lines = items.into_iter().map(|(_, line)| line).collect();
        Json(Logs { lines, next, lineage, oldest }).into_response()
    }
}
