//! How each service stands, and since when.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::daemon::now;
use crate::model::Time;
use crate::state::{Event, Stage};

/// What a service does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is about to serve for the first time.
    Starting,
    Serving,
    /// What it needs of the host is not there, as its interface.
    Waiting,
    /// It failed and is opened again.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Starting => "starting",
            State::Serving => "serving",
            State::Waiting => "waiting",
            State::Failed => "failed",
        })
    }
}

/// What depends on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Machines are answered by it.
    Machines,
    /// People, sources and the host itself need it.
    Daemon,
    /// It helps another one, which goes on without it.
    Auxiliary,
}

/// How one service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub part: Part,
    pub state: State,
    pub since: Time,
    /// Why it does not serve; empty if it does.
    pub reason: String,
}

type Note = Arc<dyn Fn(Event) + Send + Sync>;

/// All of them; cheap to clone.
#[derive(Clone)]
pub struct Board {
    rows: Arc<Mutex<BTreeMap<String, Condition>>>,
    changed: watch::Sender<u64>,
    note: Note,
}

impl Board {
    /// `note` takes the event of each change and must not block.
    pub fn new(note: impl Fn(Event) + Send + Sync + 'static) -> Board {
        Board { rows: Arc::default(), changed: watch::Sender::new(0), note: Arc::new(note) }
    }

    /// A row for a service, until it is dropped.
    pub fn row(&self, name: impl Into<String>, part: Part) -> Row {
        let (name, state, since) = (name.into(), State::Starting, now());
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
    board: Board,
    name: String,
}

impl Row {
    pub fn serving(&self) {
        self.set(State::Serving, String::new());
    }

    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(State::Waiting, reason.into());
    }

    pub fn failed(&self, reason: impl Into<String>) {
        self.set(State::Failed, reason.into());
    }

    /// Every change is logged and noted once, in words.
    fn set(&self, state: State, reason: String) {
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
            (_, State::Starting) | (State::Starting, State::Serving) => {
                return tracing::debug!("{name}: {state}");
            }
            (_, State::Serving) => format!("{name} is served again"),
            (_, State::Waiting) => format!("{name} waits: {reason}"),
            (_, State::Failed) => format!("{name} failed and is opened again: {reason}"),
        };
        match state {
            State::Failed => tracing::error!("{text}"),
            State::Waiting => tracing::warn!("{text}"),
            State::Starting | State::Serving => tracing::info!("{text}"),
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
