//! `GET /v1/events`: what happened, and a wait for what happens next; as a stream for who accepts one.

mod filter;

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

use crate::api::Word;
use crate::api::feed::{self, Asking, Feed, Page, Since};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::api::streams::Streams;
use crate::model::credential::Masker;
use crate::state::{self, Stage};

pub use filter::Filter;

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

async fn events<B: Backend>(
    State(backend): State<B>,
    asking: Asking,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Parameters { after, lineage, wait, mac, machine, deployment, label, stage } = parameters;
    let filter = match Filter::read(mac.as_deref(), machine, deployment, label.as_deref(), stage.as_deref()) {
        Ok(filter) => filter,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let feed = Happenings { backend: backend.clone(), filter };
    feed::answer(backend, feed, Since { after, lineage }, wait, asking, headers).await
}

/// The events that somebody wants to see.
struct Happenings<B> {
    backend: B,
    filter: Filter,
}

impl<B: Backend> Feed for Happenings<B> {
    type Item = state::Event;
    const NAME: &'static str = "events";
    const BEHIND_MAX: u64 = 10_000;

    fn latest(&self) -> watch::Receiver<u64> {
        self.backend.latest()
    }

    fn lineage(&self) -> String {
        self.backend.state().lineage().to_string()
    }

    fn after(&self, sequence: u64, limit: usize) -> (u64, Vec<(u64, state::Event)>) {
        let state = self.backend.state();
        self.backend.events(sequence, limit, |event| self.filter.takes(&state, event))
    }

    fn frame(
        &self,
        streams: &Streams,
        lineage: &str,
        sequence: u64,
        event: &state::Event,
        masker: Option<&Arc<Masker>>,
    ) -> Bytes {
        streams.frame(lineage, sequence, event, masker)
    }

    fn page(page: Page<state::Event>) -> Response {
        let Page { items, next, lineage, oldest } = page;
        let events = items.iter().map(|(sequence, event)| one(*sequence, event)).collect();
        Json(Events { events, next, lineage, oldest }).into_response()
    }
}
