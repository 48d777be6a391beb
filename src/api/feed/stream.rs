//! Items as they come: server-sent events (the WHATWG's HTML standard, section 9.2), each with the id
//! `LINEAGE.SEQUENCE`, with which a client that was cut off goes on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::watch;

use super::{Feed, Since};
use crate::api::busy::Streaming;
use crate::api::masked::Masks;
use crate::api::problem::problem;
use crate::api::routes::Backend;
use crate::api::streams::{Place, Streams};
use crate::state::ApiToken;

/// Between two signs of life where nothing happens: proxies end connections that are silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE: Bytes = Bytes::from_static(b":\n\n");
/// Items that come within this time travel together: in a storm each watcher wakes this seldom.
const TOGETHER: Duration = Duration::from_millis(50);
/// Most items that travel together: what they take waits in memory for a watcher that is slow.
const BATCH: usize = 100;

/// Whether a request asks for a stream.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// Where the stream that a client had before ended, by its `Last-Event-ID`; the error says that this is no id of an item.
pub(super) fn resumed(headers: &HeaderMap) -> Result<Option<(String, u64)>, String> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = id.to_str().ok().and_then(|id| {
        let (lineage, sequence) = id.rsplit_once('.')?;
        Some((lineage.to_owned(), sequence.parse().ok()?))
    });
    parsed.map(Some).ok_or_else(|| "Last-Event-ID: an id of this API is LINEAGE.SEQUENCE".to_owned())
}

/// What a stream holds as long as it lasts.
pub(super) struct Held {
    /// What its watcher showed: the stream ends with it.
    pub token: Option<Arc<ApiToken>>,
    pub streams: Arc<Streams>,
    /// Where its watcher is shown no credentials.
    pub masks: Option<Masks>,
    pub _place: Place,
    pub _connection: Option<Streaming>,
}

struct Watcher<B, F> {
    backend: B,
    feed: F,
    since: Since,
    held: Held,
    latest: watch::Receiver<u64>,
    /// Whether it had all there was once.
    is_current: bool,
    ended: bool,
}

/// The stream, from what comes after `since` on.
pub(super) fn answer<B: Backend, F: Feed>(backend: B, feed: F, since: Since, held: Held) -> Response {
    let mut latest = feed.latest();
    let newest = *latest.borrow_and_update();
    let lineage = feed.lineage();
    let (oldest, _) = feed.after(since.after, 0);
    if let Some(why) = since.gone(F::NAME, &lineage, oldest, newest) {
        return problem(StatusCode::GONE, &why);
    }
    latest.mark_changed();
    let since = Since { lineage: Some(lineage), ..since };
    let watcher = Watcher { backend, feed, since, held, latest, is_current: false, ended: false };
    let events = stream::unfold(watcher, async |mut watcher| {
        let events = watcher.next().await?;
        Some((Ok::<_, Infallible>(events), watcher))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

impl<B: Backend, F: Feed> Watcher<B, F> {
    /// The next items, or a sign of life; `None` when the daemon stops, when the watcher's token ends, or after it
    /// was said that items were lost.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            // A token is revoked with an event, which every watcher of events looks at; others see it with the next
            // sign of life. That one expires is no event.
            let expires = self.held.token.as_ref().and_then(|token| token.expires);
            let left = expires.map(|end| Duration::from_millis(end.since(self.backend.now()).0));
            let wait = left.unwrap_or(HEARTBEAT).min(HEARTBEAT);
            let is_news = match tokio::time::timeout(wait, self.latest.changed()).await {
                Ok(changed) => changed.map(|()| true).ok()?,
                Err(_) => false,
            };
            if is_news && self.is_current {
                tokio::time::sleep(TOGETHER).await;
            }
            let state = self.backend.state();
            if self.held.token.as_ref().is_some_and(|token| !state.accepts(token, self.backend.now())) {
                return None;
            }
            drop(state);
            let events = if is_news { self.read() } else { SIGN_OF_LIFE };
            if !events.is_empty() {
                return Some(events);
            }
        }
    }

    fn read(&mut self) -> Bytes {
        let newest = *self.latest.borrow_and_update();
        let lineage = self.feed.lineage();
        let (oldest, found) = self.feed.after(self.since.after, BATCH);
        if let Some(why) = self.since.gone(F::NAME, &lineage, oldest, newest) {
            return self.end("gone", &why);
        }
        let behind = newest.saturating_sub(self.since.after);
        if self.is_current && behind > F::BEHIND_MAX {
            let why = format!(
                "this watcher is {behind} {} behind and takes them too slowly; go on with Last-Event-ID \
                 {lineage}.{}",
                F::NAME,
                self.since.after
            );
            return self.end("slow", &why);
        }
        let is_all = found.len() < BATCH;
        self.since.after = match found.last() {
            Some((last, _)) if !is_all => *last,
            last => newest.max(last.map(|(last, _)| *last).unwrap_or_default()),
        };
        self.is_current |= is_all;
        if !is_all {
            self.latest.mark_changed();
        }
        let masker = self.held.masks.as_ref().map(|masks| masks.of(self.backend.state().desired()));
        let frame = |(sequence, item): &(u64, F::Item)| {
            self.feed.frame(&self.held.streams, &lineage, *sequence, item, masker.as_ref())
        };
        match found.as_slice() {
            [] => Bytes::new(),
            [one] => frame(one),
            several => several
                .iter()
                .fold(BytesMut::new(), |mut all, one| {
                    all.extend_from_slice(&frame(one));
                    all
                })
                .freeze(),
        }
    }

    /// A last event, which says why the stream ends.
    fn end(&mut self, event: &str, why: &str) -> Bytes {
        self.ended = true;
        format!("event: {event}\ndata: {why}\n\n").into()
    }
}
