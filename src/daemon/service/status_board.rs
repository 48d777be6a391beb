//! How each service stands, and since when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::daemon::now;
use crate::model::{ServiceState, Time};
use crate::state::{Event, Stage};

/// What depends on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Machines are answered by it.
    Machines,
    /// People, sources and the host itself need it.
    Daemon,
    /// It helps another one, which works without it.
    Auxiliary,
}

/// How one service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub part: Part,
    pub state: ServiceState,
    pub since: Time,
    /// Why it does not serve; empty if it does.
    pub reason: String,
}

type Note = Arc<dyn Fn(Event) + Send + Sync>;

/// All of them; cheap to clone.
#[derive(Clone)]
pub struct StatusBoard {
    rows: Arc<Mutex<BTreeMap<String, Condition>>>,
    changed: watch::Sender<u64>,
    note: Note,
}

impl StatusBoard {
    /// `note` takes the event of each change and must not block.
    pub fn new(note: impl Fn(Event) + Send + Sync + 'static) -> StatusBoard {
        StatusBoard { rows: Arc::default(), changed: watch::Sender::new(0), note: Arc::new(note) }
    }

    /// A row for a service, until it is dropped.
    pub fn row(&self, name: impl Into<String>, part: Part) -> Row {
        let (name, state, since) = (name.into(), ServiceState::Starting, now());
        self.lock().insert(name.clone(), Condition { part, state, since, reason: String::new() });
        self.changed.send_modify(|count| *count += 1);
        Row { board: self.clone(), name }
    }

    /// Every service by its name.
    pub fn conditions(&self) -> BTreeMap<String, Condition> {
        self.lock().clone()
    }

    /// Changes with every condition.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Condition>> {
        self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One service's place on the board.
pub struct Row {
    board: StatusBoard,
    name: String,
}

impl Row {
    pub fn serving(&self) {
        self.set(ServiceState::Serving, String::new());
    }

    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(ServiceState::Waiting, reason.into());
    }

    pub fn failed(&self, reason: impl Into<String>) {
        self.set(ServiceState::Failed, reason.into());
    }

    /// Every change is logged and noted once, as a text.
    fn set(&self, state: ServiceState, reason: String) {
        let mut rows = self.board.lock();
        let Some(row) = rows.get_mut(&self.name) else { return };
        if (row.state, &row.reason) == (state, &reason) {
            return;
        }
        let before = std::mem::replace(&mut row.state, state);
        if before != state {
            row.since = now();
        }
        row.reason.clone_from(&reason);
        drop(rows);
        self.board.changed.send_modify(|count| *count += 1);
        let name = &self.name;
        let text = match (before, state) {
            (_, ServiceState::Starting) | (ServiceState::Starting, ServiceState::Serving) => {
                return tracing::debug!("{name}: {state}");
            }
            (_, ServiceState::Serving) => format!("{name} is served again"),
            (_, ServiceState::Waiting) => format!("{name} waits: {reason}"),
            (_, ServiceState::Failed) => format!("{name} failed and is opened again: {reason}"),
        };
        match state {
            ServiceState::Failed => tracing::error!("{text}"),
            ServiceState::Waiting => tracing::warn!("{text}"),
            ServiceState::Starting | ServiceState::Serving => tracing::info!("{text}"),
        }
        (self.board.note)(Event::new(now(), Stage::Daemon, text));
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.board.lock().remove(&self.name);
        self.board.changed.send_modify(|count| *count += 1);
    }
}
