//! The timeline: numbers events, thins floods, shows what is durable to readers, the log and the metrics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::counters::Counters;
use super::throttle::EventThrottle;
use crate::state::{Event, Stage};
use crate::store::EVENTS_MAX;

/// The keeper's side.
pub struct Timeline {
    kept: Arc<Mutex<VecDeque<(u64, Event)>>>,
    announce: watch::Sender<u64>,
    /// The number of the next event.
    next: u64,
    throttle: EventThrottle,
    counters: Arc<Counters>,
}

/// The readers' side; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    kept: Arc<Mutex<VecDeque<(u64, Event)>>>,
    latest: watch::Receiver<u64>,
}

impl Timeline {
    /// A timeline that continues after `events`; `next` is the number of its next event.
    pub fn new(events: Vec<(u64, Event)>, next: u64, counters: Arc<Counters>) -> (Timeline, Reader) {
        let (announce, latest) = watch::channel(next - 1);
        let kept = Arc::new(Mutex::new(VecDeque::from(events)));
        let reader = Reader { kept: kept.clone(), latest };
        (Timeline { kept, announce, next, throttle: EventThrottle::default(), counters }, reader)
    }

    /// The number of the next event, to go back to when what follows can't be stored.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Frees the numbers from here on: the events that had them were never published.
    pub fn go_back(&mut self, position: u64) {
        self.next = position;
    }

    /// Gives numbers to the events that are to be kept.
    pub fn number(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<(u64, Event)> {
        let mut numbered = Vec::new();
        for event in events {
            self.counters.event(event.stage);
            if self.throttle.is_repeated(&event) {
                continue;
            }
            let event = match self.throttle.is_flood(&event) {
                false => event,
                true => {
                    self.counters.lost(1);
                    let Some(notice) = self.throttle.notice(event.at) else { continue };
                    notice
                }
            };
            numbered.push((self.next, event));
            self.next += 1;
        }
        numbered
    }

    /// Shows events that are stored.
    pub fn publish(&mut self, events: Vec<(u64, Event)>) {
        if events.is_empty() {
            return;
        }
        events.iter().for_each(|(_, event)| log(event));
        let mut kept = lock(&self.kept);
        kept.extend(events);
        let excess = kept.len().saturating_sub(EVENTS_MAX as usize);
        kept.drain(..excess);
        drop(kept);
        self.announce.send_replace(self.next - 1);
    }
}

impl Reader {
    /// The events after `sequence` that are wanted, oldest first, at most `limit`. With the number of the oldest event
    /// that is kept, or of the next one where none is.
    pub fn events(
        &self,
        sequence: u64,
        limit: usize,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> (u64, Vec<(u64, Event)>) {
        let kept = lock(&self.kept);
        let oldest = kept.front().map_or(*self.latest.borrow() + 1, |(number, _)| *number);
        let first = kept.partition_point(|(number, _)| *number <= sequence);
        (oldest, kept.range(first..).filter(|(_, event)| wanted(event)).take(limit).cloned().collect())
    }

    /// Sees the number of the newest event.
    pub fn latest(&self) -> watch::Receiver<u64> {
        self.latest.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(event: &Event) {
    let Event { stage, mac, address, deployment, text, .. } = event;
    let mac = mac.map(tracing::field::display);
    let address = address.map(tracing::field::display);
    let deployment = deployment.as_ref().map(tracing::field::display);
    match stage {
        Stage::Stuck => tracing::warn!(mac, address, deployment, "{stage}: {text}"),
        // One line each would be hundreds a second while a rack boots; the timeline has them.
        Stage::Offer | Stage::Ack | Stage::Silence => {
            tracing::debug!(mac, address, deployment, "{stage}: {text}")
        }
        _ => tracing::info!(mac, address, deployment, "{stage}: {text}"),
    }
}
