//! `GET /v1/events`: what happened, and a wait for what happens next; as a stream for who accepts one.

mod filter;
mod stream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Word;
use crate::api::access::unauthorized;
use crate::api::busy::Busy;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::api::streams::Streams;
use crate::model::Caller;
use crate::state::{self, ApiToken, Stage};

pub use filter::Filter;
use stream::Held;

/// Longest long poll, in seconds.
const WAIT_MAX: u64 = 300;
/// Most events in one answer.
const EVENTS_MAX: usize = 1000;

/// `GET /v1/events?after=SEQUENCE&lineage=LINEAGE&wait=SECONDS&mac=MAC`. Without `after`, from the oldest
/// on. 410 where what came after it is no longer kept: it was forgotten, or `after` is of another
/// lineage, or was never reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    pub events: Vec<Event>,
    /// What to pass as `after` next.
    pub next: u64,
    /// What the numbers belong to; another state directory has another one.
    pub lineage: String,
    /// The number of the oldest event that is kept.
    pub oldest: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    pub stage: Word<Stage>,
    pub mac: Option<String>,
    pub address: Option<IpAddr>,
    pub deployment: Option<String>,
    pub text: String,
}

pub fn one(sequence: u64, event: &state::Event) -> Event {
    Event {
        seq: sequence,
        at: event.at.to_string(),
        at_ms: event.at.0,
        stage: event.stage.into(),
        mac: event.mac.map(|mac| mac.to_string()),
        address: event.address,
        deployment: event.deployment.as_ref().map(ToString::to_string),
        text: event.text.to_string(),
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::get("/v1/events", "What happened, and a wait for what happens next")
        .parameter::<u64>("after", "The number of the last event that is known: later ones are wanted")
        .parameter::<String>("lineage", "What the number belongs to, as an earlier answer said")
        .parameter::<u64>("wait", "How long to wait for the next event, in seconds; 300 at most")
        .parameter::<String>("mac", "Only events of this hardware address")
        .parameter::<String>("machine", "Only of machines of this name; * and ? stand for other letters")
        .parameter::<String>(
            "deployment",
            "Only of deployments of this name; * and ? stand for other letters",
        )
        .parameter::<String>(
            "label",
            "Only of machines with these labels: NAME=VALUE, NAME!=VALUE, NAME or !NAME",
        )
        .parameter::<String>("stage", "Only of these stages, separated by commas")
        .gives::<Events>()
        .streams("With `Accept: text/event-stream`: events as they happen, each with the id LINEAGE.SEQUENCE")
        .says(StatusCode::GONE, "What came after is no longer kept, or of another lineage: begin again");
    Routes::new().add(route, events::<B>)
}

/// From where on events are wanted.
#[derive(Clone, Debug)]
struct Since {
    after: u64,
    lineage: Option<String>,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    after: u64,
    lineage: Option<String>,
    #[serde(default)]
    wait: u64,
    mac: Option<String>,
    machine: Option<String>,
    deployment: Option<String>,
    label: Option<String>,
    stage: Option<String>,
}

/// Who watches, and from where.
type Watching =
    (Extension<Caller>, Extension<Arc<Streams>>, Option<Extension<Busy>>, Option<Extension<Arc<ApiToken>>>);

/// Answers at once if there are newer events, else when the next one comes or `wait` is over.
async fn events<B: Backend>(
    State(backend): State<B>,
    (Extension(caller), Extension(streams), busy, token): Watching,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Parameters { after, lineage, wait, mac, machine, deployment, label, stage } = parameters;
    let (filter, resumed) = match (
        Filter::read(mac.as_deref(), machine, deployment, label.as_deref(), stage.as_deref()),
        stream::resumed(&headers),
    ) {
        (Ok(filter), Ok(resumed)) => (filter, resumed),
        (Err(why), _) | (_, Err(why)) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let token = token.map(|Extension(token)| token);
    let mut since = Since { after, lineage };
    if stream::is_wanted(&headers) {
        if let Some((lineage, after)) = resumed {
            since = Since { after, lineage: Some(lineage) };
        }
        return match streams.enter(&caller.to_string()) {
            Ok(place) => {
                let _connection = busy.map(|Extension(busy)| busy.stream());
                let held = Held { token, streams, _place: place, _connection };
                stream::answer(backend, since, filter, held)
            }
            Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        };
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait.min(WAIT_MAX));
    let mut latest = backend.latest();
    loop {
        let newest = *latest.borrow_and_update();
        let state = backend.state();
        if token.as_ref().is_some_and(|token| !state.accepts(token, backend.now())) {
            return unauthorized("the token was revoked or has expired meanwhile");
        }
        let lineage = state.lineage().to_string();
        let (oldest, found) = backend.events(since.after, EVENTS_MAX, |event| filter.takes(&state, event));
        if let Some(why) = since.gone(&lineage, oldest, newest) {
            return problem(StatusCode::GONE, &why);
        }
        let waited = tokio::time::Instant::now() >= deadline;
        if !found.is_empty() || waited {
            let last = found.last().map(|(sequence, _)| *sequence);
            // All there are that are wanted: nothing up to the newest is missed.
            let next = match last {
                Some(last) if found.len() == EVENTS_MAX => last,
                last => newest.max(last.unwrap_or_default()),
            };
            let events = found.iter().map(|(sequence, event)| one(*sequence, event)).collect();
            return Json(Events { events, next, lineage, oldest }).into_response();
        }
        let waiting = busy.as_ref().map(|Extension(busy)| busy.pause());
        let changed = tokio::time::timeout_at(deadline, latest.changed()).await;
        drop(waiting);
        if !matches!(changed, Ok(Ok(())) | Err(_)) {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
        }
    }
}

impl Since {
    /// Why it can't be said what came after; beginning with 0 is always possible.
    fn gone(&self, lineage: &str, oldest: u64, newest: u64) -> Option<String> {
        let after = self.after;
        if self.lineage.as_deref().is_some_and(|known| known != lineage) {
            return Some(format!(
                "these events are of the lineage {lineage}: the daemon's state directory is another one; begin \
                 again without `after` and `lineage`"
            ));
        }
        if after == 0 {
            return None;
        }
        if after > newest {
            return Some(format!(
                "event {after} has not happened here: the newest is {newest}; begin again without `after`"
            ));
        }
        (after + 1 < oldest).then(|| {
            format!(
                "events {} to {} are forgotten: the oldest kept is {oldest}; begin again without `after`",
                after + 1,
                oldest - 1
            )
        })
    }
}
