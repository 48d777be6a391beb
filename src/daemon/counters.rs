//! Counts what happens, for `/metrics`. Nothing here ever waits for long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::state::Stage;
use crate::state::effect::TaskOutcome;
use crate::state::outbox::TaskKind;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    events: [AtomicU64; Stage::ALL.len()],
    lost: Arc<AtomicU64>,
    /// What became of tasks, by kind and outcome.
    tasks: [[AtomicU64; TaskOutcome::ALL.len()]; TaskKind::ALL.len()],
    silences: Mutex<BTreeMap<&'static str, u64>>,
    rivals: watch::Sender<u64>,
}

impl Counters {
    /// `lost` counts the events that the store could not write; those that did not get there are added to it.
    pub fn new(lost: Arc<AtomicU64>) -> Counters {
        Counters { lost, ..Counters::default() }
    }

    pub fn event(&self, stage: Stage) {
        let place = Stage::ALL.iter().position(|one| *one == stage);
        if let Some(counter) = place.and_then(|place| self.events.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that were dropped.
    pub fn lost(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// A task came to an end, or an attempt at it failed.
    pub fn task(&self, kind: TaskKind, outcome: TaskOutcome) {
        self.task_counter(kind, outcome).fetch_add(1, Ordering::Relaxed);
    }

    /// How often that happened.
    pub fn tasks(&self, kind: TaskKind, outcome: TaskOutcome) -> u64 {
        self.task_counter(kind, outcome).load(Ordering::Relaxed)
    }

    fn task_counter(&self, kind: TaskKind, outcome: TaskOutcome) -> &AtomicU64 {
        // Both are in the order of their lists.
        &self.tasks[kind as usize][outcome as usize]
    }

    /// A DHCP message that was left unanswered, by the word for its reason.
    pub fn silence(&self, reason: &'static str) {
        let mut silences = self.silences.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *silences.entry(reason).or_default() += 1;
    }

    /// A machine was seen that uses another DHCP server.
    pub fn rival(&self) {
        self.rivals.send_modify(|count| *count += 1);
    }

    /// Changes whenever such a machine is seen.
    pub fn rivals(&self) -> watch::Receiver<u64> {
        self.rivals.subscribe()
    }

    /// How often each stage happened.
    pub fn events(&self) -> BTreeMap<String, u64> {
        let counts = self.events.iter().map(|counter| counter.load(Ordering::Relaxed));
        Stage::ALL.iter().map(ToString::to_string).zip(counts).collect()
    }

    pub fn events_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn silences(&self) -> BTreeMap<&'static str, u64> {
        self.silences.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}
