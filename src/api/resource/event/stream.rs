//! Events as they happen: server-sent events (the WHATWG's HTML standard, section 9.2), each with the id
//! `LINEAGE.SEQUENCE`, with which a client that was cut off goes on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use super::{EVENTS_MAX, Filter, Since, one};
use crate::api::problem::problem;
use crate::api::routes::Backend;
use crate::state::ApiToken;

/// Between two signs of life where nothing happens: proxies end connections that are silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that happen within this time travel together: in a storm each watcher wakes this seldom.
const TOGETHER: Duration = Duration::from_millis(50);

/// Whether a request asks for a stream.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// Where the stream that a client had before ended, by its `Last-Event-ID`; the error says that it is none of ours.
pub(super) fn resumed(headers: &HeaderMap) -> Result<Option<(String, u64)>, String> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = id.to_str().ok().and_then(|id| {
        let (lineage, sequence) = id.rsplit_once('.')?;
        Some((lineage.to_owned(), sequence.parse().ok()?))
    });
    parsed.map(Some).ok_or_else(|| "Last-Event-ID: an id of this API is LINEAGE.SEQUENCE".to_owned())
}

struct Watcher<B> {
    backend: B,
    since: Since,
    filter: Filter,
    /// What its watcher showed: the stream ends with it.
    token: Option<Arc<ApiToken>>,
    latest: watch::Receiver<u64>,
    ready: std::vec::IntoIter<sse::Event>,
    ended: bool,
}

/// The stream, from what comes after `since` on.
pub(super) fn answer<B: Backend>(
    backend: B,
    since: Since,
    filter: Filter,
    token: Option<Arc<ApiToken>>,
) -> Response {
    let mut latest = backend.latest();
    let newest = *latest.borrow_and_update();
    let lineage = backend.state().lineage().to_string();
    let (oldest, _) = backend.events(since.after, 0, |_| false);
    if let Some(why) = since.gone(&lineage, oldest, newest) {
        return problem(StatusCode::GONE, &why);
    }
    latest.mark_changed();
    let watcher = Watcher {
        backend,
        since: Since { lineage: Some(lineage), ..since },
        filter,
        token,
        latest,
        ready: Vec::new().into_iter(),
        ended: false,
    };
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

impl<B: Backend> Watcher<B> {
    /// The next event; `None` when the daemon stops, when the watcher's token ends, or after it was said that events
    /// were lost.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            // A token is revoked with an event, which every watcher looks at; that one expires is none.
            let expires = self.token.as_ref().and_then(|token| token.expires);
            let left = expires.map(|end| Duration::from_millis(end.since(self.backend.now()).0));
            match left {
                Some(left) => tokio::time::timeout(left, self.latest.changed()).await.unwrap_or(Ok(())),
                None => self.latest.changed().await,
            }
            .ok()?;
            tokio::time::sleep(TOGETHER).await;
            let state = self.backend.state();
            if self.token.as_ref().is_some_and(|token| !state.accepts(token, self.backend.now())) {
                return None;
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let newest = *self.latest.borrow_and_update();
        let state = self.backend.state();
        let lineage = state.lineage().to_string();
        let (oldest, found) =
            self.backend.events(self.since.after, EVENTS_MAX, |event| self.filter.takes(&state, event));
        if let Some(why) = self.since.gone(&lineage, oldest, newest) {
            self.ended = true;
            self.ready = vec![sse::Event::default().event("gone").data(why)].into_iter();
            return;
        }
        let is_all = found.len() < EVENTS_MAX;
        self.since.after = match found.last() {
            Some((last, _)) if !is_all => *last,
            last => newest.max(last.map(|(last, _)| *last).unwrap_or_default()),
        };
        if !is_all {
            self.latest.mark_changed();
        }
        let made = found.iter().filter_map(|(sequence, event)| {
            let id = format!("{lineage}.{sequence}");
            sse::Event::default().id(id).event(event.stage.name()).json_data(one(*sequence, event)).ok()
        });
        self.ready = made.collect::<Vec<_>>().into_iter();
    }
}
