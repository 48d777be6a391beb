//! Numbered items as they come, events or lines of logs: a wait for the next ones, or a stream of them
//! ([`stream`]). A number belongs to a lineage. A client whose number is of another lineage, or whose
//! next items are no longer kept, has missed something and gets 410.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::watch;

use super::access::unauthorized;
use super::busy::Busy;
use super::masked::Masks;
use super::problem::problem;
use super::routes::Backend;
use super::streams::Streams;
use crate::model::Caller;
use crate::model::credential::Masker;
use crate::state::ApiToken;
use stream::Held;

/// Longest long poll, in seconds.
const WAIT_MAX: u64 = 300;
/// Most items in one answer.
const ITEMS_MAX: usize = 1000;

/// What is numbered.
pub(super) trait Feed: Send + 'static {
    type Item: Send + 'static;

    /// Items that come together are sent together to who streams: seen by the number of the newest.
    fn latest(&self) -> watch::Receiver<u64>;

    /// What the numbers belong to.
    fn lineage(&self) -> String;

    /// The items after a number that are wanted, the oldest first, at most `limit`; with the number of the oldest that
    /// is kept, or of the next one where none is.
    fn after(&self, sequence: u64, limit: usize) -> (u64, Vec<(u64, Self::Item)>);

    /// What they are called in a problem: `events`.
    const NAME: &'static str;

    /// A watcher that was up to date and is more items behind takes them too slowly. More are kept, so that it misses
    /// none if it goes on.
    const BEHIND_MAX: u64;

    /// An item as a server-sent event, masked where there is a masker.
    fn frame(
        &self,
        streams: &Streams,
        lineage: &str,
        sequence: u64,
        item: &Self::Item,
        masker: Option<&Arc<Masker>>,
    ) -> Bytes;

    /// The answer to who waits.
    fn page(page: Page<Self::Item>) -> Response;
}

/// Items of one answer.
pub(super) struct Page<T> {
    pub items: Vec<(u64, T)>,
    /// What to pass as `after` next.
    pub next: u64,
    pub lineage: String,
    pub oldest: u64,
}

/// From where on items are wanted.
#[derive(Clone, Debug)]
pub(super) struct Since {
    pub after: u64,
    pub lineage: Option<String>,
}

/// The caller of a request, the places that its answer may take, its token, and what masks its answer if anything
/// does.
pub(super) type Asking = (
    Extension<Caller>,
    Extension<Arc<Streams>>,
    Option<Extension<Busy>>,
    Option<Extension<Arc<ApiToken>>>,
    Option<Extension<Masks>>,
);

/// Answers at once if there are newer items, else when the next one comes or `wait`, in seconds, is over; who accepts
/// a stream gets one.
pub(super) async fn answer<B: Backend, F: Feed>(
    backend: B,
    feed: F,
    mut since: Since,
    wait: u64,
    (Extension(caller), Extension(streams), busy, token, masks): Asking,
    headers: HeaderMap,
) -> Response {
    let (busy, token) = (busy.map(|Extension(busy)| busy), token.map(|Extension(token)| token));
    let resumed = match stream::resumed(&headers) {
        Ok(resumed) => resumed,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    if stream::is_wanted(&headers) {
        if let Some((lineage, after)) = resumed {
            since = Since { after, lineage: Some(lineage) };
        }
        return match streams.enter(&caller.to_string()) {
            Ok(place) => {
                let _connection = busy.map(|busy| busy.stream());
                let masks = masks.map(|Extension(masks)| masks);
                let held = Held { token, streams, masks, _place: place, _connection };
                stream::answer(backend, feed, since, held)
            }
            Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        };
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait.min(WAIT_MAX));
    let mut latest = feed.latest();
    loop {
        let newest = *latest.borrow_and_update();
        if token.as_ref().is_some_and(|token| !backend.state().accepts(token, backend.now())) {
            return unauthorized("the token was revoked or has expired meanwhile");
        }
        let lineage = feed.lineage();
        let (oldest, found) = feed.after(since.after, ITEMS_MAX);
        if let Some(why) = since.gone(F::NAME, &lineage, oldest, newest) {
            return problem(StatusCode::GONE, &why);
        }
        let waited = tokio::time::Instant::now() >= deadline;
        if !found.is_empty() || waited {
            let last = found.last().map(|(sequence, _)| *sequence);
            // All there are that are wanted: nothing up to the newest is missed.
            let next = match last {
                Some(last) if found.len() == ITEMS_MAX => last,
                last => newest.max(last.unwrap_or_default()),
            };
            return F::page(Page { items: found, next, lineage, oldest });
        }
        let waiting = busy.as_ref().map(Busy::pause);
        let changed = tokio::time::timeout_at(deadline, latest.changed()).await;
        drop(waiting);
        if !matches!(changed, Ok(Ok(())) | Err(_)) {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
        }
    }
}

impl Since {
    /// Why it can't be said what came after; beginning with 0 is always possible.
    fn gone(&self, name: &str, lineage: &str, oldest: u64, newest: u64) -> Option<String> {
        let after = self.after;
        if self.lineage.as_deref().is_some_and(|known| known != lineage) {
            return Some(format!(
                "these {name} are of the lineage {lineage}: what was numbered before is gone; begin again without \
                 `after` and `lineage`"
            ));
        }
        if after == 0 {
            return None;
        }
        if after > newest {
            return Some(format!(
                "number {after} of the {name} has not happened here: the newest is {newest}; begin again without `after`"
            ));
        }
        (after + 1 < oldest).then(|| {
            format!(
                "{name} {} to {} are forgotten: the oldest kept is {oldest}; begin again without `after`",
                after + 1,
                oldest - 1
            )
        })
    }
}
