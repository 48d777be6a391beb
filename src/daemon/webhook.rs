//! Sends events to webhooks: each event that one wants, in the order of their numbers, at least once.
//!
//! A webhook has one thing that lasts: its position, the number up to which everything was sent. It is stored by the
//! keeper at most once a second, and the events themselves lie in their own file already. An entry of the
//! [outbox](crate::state::outbox) for each event would store every event a second time, in front of leases, and lose the
//! order where one fails; what a position costs instead is that up to a second of events is sent again after a crash,
//! with the same ids. A receiver knows an event by its id.
//!
//! An event is sent again and again until its server accepts it, and later ones wait behind it: nothing is left out
//! without a word. What the timeline forgets meanwhile is said to the receiver as a gap. A webhook that fails holds up
//! nothing but itself.

mod client;
mod signature;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::keeper::Keeper;
use super::service::Row;
use super::{Stop, now, stopped};
use crate::api::resource::event::{self, Filter};
use crate::api::resource::webhook::{Gap, Happened, Message, Webhook as Shown};
use crate::config;
use crate::model::{Span, Time};
use crate::state::Event;
use client::Client;

/// Rest after an attempt that failed; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
/// The longest rest.
const LONGEST: Duration = Duration::from_secs(60);
/// How often a position is stored at most.
const STORE: Duration = Duration::from_secs(1);
/// Events that happen within this time travel together, over one connection.
const TOGETHER: Duration = Duration::from_millis(50);
/// Events that are taken out of the timeline at once.
const BATCH: usize = 100;
/// After how long without success a webhook counts as waiting for its server. Not at once: each change of a service's
/// state is an event, and one that fails by turns would cause the events that it fails with.
const PATIENCE: Span = Span::seconds(30);
/// After how long a person should know.
const STUCK: Span = Span::seconds(300);
/// How long the last events are sent when the daemon stops.
const LAST: Duration = Duration::from_millis(700);

/// All of them, in the order of the daemon's file.
#[derive(Clone, Default)]
pub(super) struct Webhooks(Arc<[Arc<Webhook>]>);

/// One webhook, and how it stands.
pub(super) struct Webhook {
    settings: config::Webhook,
    filter: Filter,
    standing: Mutex<Standing>,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    /// The number up to which everything was sent. `None` where nothing is stored: it begins with the next event.
    position: Option<u64>,
    delivered: u64,
    failures: u64,
    lost: u64,
    last_success: Option<Time>,
    failing_since: Option<Time>,
    last_error: Option<String>,
}

impl Standing {
    /// Notes an attempt; since when all have failed.
    fn note(&mut self, sent: &Result<(), String>) -> Time {
        let at = now();
        match sent {
            Ok(()) => {
                (self.last_success, self.failing_since) = (Some(at), None);
                self.delivered += 1;
            }
            Err(why) => {
                self.failing_since.get_or_insert(at);
                self.failures += 1;
                self.last_error = Some(why.clone());
            }
        }
        self.failing_since.unwrap_or(at)
    }
}

impl Webhooks {
    /// Those of the daemon's file, with the positions that were stored as notes.
    ///
    /// # Errors
    ///
    /// Which setting is wrong.
    pub(super) fn open(
        settings: &[config::Webhook],
        notes: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Webhooks, String> {
        let open = |settings: &config::Webhook| {
            let config::WantedEvents { stage, label, machine, deployment } = settings.wanted.clone();
            let filter = Filter::read(None, machine, deployment, label.as_deref(), stage.as_deref());
            let filter = filter.map_err(|why| format!("the webhook {}: {why}", settings.name))?;
            let stored = notes.get(&note_of(settings)).and_then(|note| note.as_slice().try_into().ok());
            let standing = Standing { position: stored.map(u64::from_le_bytes), ..Standing::default() };
            Ok(Arc::new(Webhook { settings: settings.clone(), filter, standing: Mutex::new(standing) }))
        };
        settings.iter().map(open).collect::<Result<_, String>>().map(Webhooks)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.0.iter()
    }

    /// How each stands.
    pub(super) fn shown(&self, keeper: &Keeper) -> Vec<Shown> {
        self.iter().map(|webhook| webhook.shown(keeper)).collect()
    }

    /// What a person should know.
    pub(super) fn sentences(&self, now: Time) -> Vec<String> {
        self.iter().filter_map(|webhook| webhook.sentence(now)).collect()
    }
}

/// The name of the note with its position.
fn note_of(settings: &config::Webhook) -> String {
    format!("webhook/{}", settings.name)
}

impl Webhook {
    /// The name of its service.
    pub(super) fn service(&self) -> String {
        format!("webhook {}", self.settings.name)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, keeper: &Keeper) -> Shown {
        let standing = self.standing().clone();
        let position = standing.position.unwrap_or_else(|| *keeper.timeline().latest().borrow());
        let (state, mut pending, mut oldest) = (keeper.state(), 0, None);
        keeper.timeline().events(position, usize::MAX, |event| {
            if self.filter.takes(&state, event) {
                pending += 1;
                oldest = oldest.or(Some(event.at));
            }
            false
        });
        Shown {
            name: self.settings.name.to_string(),
            url: self.settings.url.to_string(),
            position,
            pending,
            lag_seconds: oldest.map_or(0, |at| now().since(at).as_seconds()),
            delivered: standing.delivered,
            failures: standing.failures,
            lost: standing.lost,
            last_success: standing.last_success.map(|at| at.to_string()),
            failing_since: standing.failing_since.map(|at| at.to_string()),
            last_error: standing.last_error,
        }
    }

    fn sentence(&self, now: Time) -> Option<String> {
        let Standing { failing_since, last_error, .. } = self.standing().clone();
        let since = failing_since.filter(|since| now.since(*since) >= STUCK)?;
        let why = last_error.unwrap_or_default();
        Some(format!(
            "the webhook {} has failed since {since}, and its events wait: {why}",
            self.settings.name
        ))
    }

    /// Sends events until it is time to stop, and the last ones then.
    pub(super) async fn run(self: Arc<Webhook>, keeper: Keeper, row: Arc<[Row]>, mut stop: Stop) {
        let newest = *keeper.timeline().latest().borrow();
        let position = self.standing().position.map_or(newest, |position| position.min(newest));
        self.standing().position = Some(position);
        let client = Client::new(self.settings.clone());
        let tried = Instant::now();
        let mut sender =
            Sender { webhook: self, keeper, row, client, position, stored: None, tried, is_waiting: false };
        tokio::select! {
            () = sender.follow() => {}
            () = stopped(&mut stop) => {}
        }
        let _ = tokio::time::timeout(LAST, sender.catch_up()).await;
        sender.store().await;
    }
}

/// What sends the events of one webhook.
struct Sender {
    webhook: Arc<Webhook>,
    keeper: Keeper,
    row: Arc<[Row]>,
    client: Client,
    position: u64,
    /// The position that is stored.
    stored: Option<u64>,
    /// When it was last tried to store one.
    tried: Instant,
    /// Whether its service was said to wait.
    is_waiting: bool,
}

impl Sender {
    async fn follow(&mut self) {
        // What happens from now on is sent, also where the first of it can't be for long.
        self.store().await;
        let mut latest = self.keeper.timeline().latest();
        loop {
            latest.mark_unchanged();
            self.catch_up().await;
            self.client.rest();
            self.row[0].serving();
            self.is_waiting = false;
            self.store().await;
            // The keeper's end is the daemon's.
            if latest.changed().await.is_err() {
                std::future::pending().await
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// Sends what is wanted of all events behind the position.
    async fn catch_up(&mut self) {
        loop {
            let (_, events) = self.keeper.timeline().events(self.position, BATCH, |_| true);
            if events.is_empty() {
                return;
            }
            for (sequence, event) in events {
                if sequence > self.position + 1 {
                    self.gap(self.position + 1, sequence - 1).await;
                }
                self.event(sequence, &event).await;
                self.position = sequence;
                self.webhook.standing().position = Some(sequence);
                if self.tried.elapsed() >= STORE {
                    self.store().await;
                }
            }
        }
    }

    async fn event(&mut self, sequence: u64, event: &Event) {
        let state = self.keeper.state();
        if !self.webhook.filter.takes(&state, event) {
            return;
        }
        let lineage = state.lineage().to_string();
        drop(state);
        let id = format!("{lineage}.{sequence}");
        let event = event::one(sequence, event);
        let (r#type, timestamp) = (event.stage.to_string(), event.at.clone());
        self.deliver(&id, &Message { r#type, timestamp, data: Happened { lineage, event } }).await;
    }

    /// Says that events were forgotten, or lost in a crash, before they could be sent.
    async fn gap(&mut self, first: u64, last: u64) {
        let lineage = self.keeper.state().lineage().to_string();
        let id = format!("{lineage}.gap-{first}-{last}");
        let text = format!("events {first} to {last} are no longer kept and were not sent");
        tracing::warn!("{}: {text}", self.webhook.service());
        let (r#type, timestamp) = ("gap".to_owned(), now().to_string());
        self.deliver(&id, &Message { r#type, timestamp, data: Gap { lineage, first, last, text } }).await;
        self.webhook.standing().lost += last - first + 1;
    }

    /// Sends a message until its server accepts it.
    async fn deliver<T: Serialize>(&mut self, id: &str, message: &Message<T>) {
        let body = Bytes::from(serde_json::to_vec(message).unwrap_or_default());
        let mut rest = FIRST;
        loop {
            let sent = self.client.send(id, &body).await;
            let since = self.webhook.standing().note(&sent);
            let Err(why) = sent else { return };
            tracing::debug!("{}: {why}", self.webhook.service());
            if now().since(since) >= PATIENCE && !std::mem::replace(&mut self.is_waiting, true) {
                self.row[0].waiting(why);
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST);
        }
    }

    /// Stores the position. Where that fails, it is tried again with the next event.
    async fn store(&mut self) {
        self.tried = Instant::now();
        if self.stored == Some(self.position) {
            return;
        }
        let note = self.position.to_le_bytes().to_vec();
        match self.keeper.remember(note_of(&self.webhook.settings), note).await {
            Ok(()) => self.stored = Some(self.position),
            Err(error) => tracing::debug!("{}: its position is not stored: {error}", self.webhook.service()),
        }
    }
}

#[cfg(test)]
mod tests;
