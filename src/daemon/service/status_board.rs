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

/// The rows by name, each with its number: a service that replaces another one has the same name, and its
/// row is made before that of the other is dropped.
#[derive(Default)]
struct Rows {
    by_name: BTreeMap<String, (u64, Condition)>,
    /// How many were made so far.
    made: u64,
}

/// All of them; cheap to clone.
#[derive(Clone)]
pub struct StatusBoard {
    rows: Arc<Mutex<Rows>>,
    changed: watch::Sender<u64>,
    note: Note,
}

impl StatusBoard {
    /// `note` takes the event of each change and must not block.
    pub fn new(note: impl Fn(Event) + Send + Sync + 'static) -> StatusBoard {
        StatusBoard { rows: Arc::default(), changed: watch::Sender::new(0), note: Arc::new(note) }
    }

    /// A row for a service, until it is dropped. It replaces a row of the same name.
    pub fn row(&self, name: impl Into<String>, part: Part) -> Row {
        let (name, state, since) = (name.into(), ServiceState::Starting, now());
        let mut rows = self.lock();
        rows.made += 1;
        let number = rows.made;
        rows.by_name.insert(name.clone(), (number, Condition { part, state, since, reason: String::new() }));
        drop(rows);
        self.changed.send_modify(|count| *count += 1);
        Row { board: self.clone(), name, number }
    }

    /// Every service by its name.
    pub fn conditions(&self) -> BTreeMap<String, Condition> {
        self.lock().by_name.iter().map(|(name, (_, row))| (name.clone(), row.clone())).collect()
    }

    /// Changes with every condition.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One service's place on the board.
pub struct Row {
    board: StatusBoard,
    name: String,
    number: u64,
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
        let own = rows.by_name.get_mut(&self.name).filter(|(number, _)| *number == self.number);
        let Some((_, row)) = own else { return };
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
        let mut rows = self.board.lock();
        if rows.by_name.get(&self.name).is_none_or(|(number, _)| *number != self.number) {
            return;
        }
        rows.by_name.remove(&self.name);
        drop(rows);
        self.board.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_replaced_takes_nothing_from_its_successor() {
        let (sender, events) = std::sync::mpsc::channel();
        let board = StatusBoard::new(move |event| drop(sender.send(event.text.to_string())));
        let old = board.row("dhcp6 eth0", Part::Machines);
        old.serving();
        let new = board.row("dhcp6 eth0", Part::Machines);
        old.failed("it ends");
        drop(old);
        new.failed("the port is in use");
        assert_eq!(board.conditions()["dhcp6 eth0"].state, ServiceState::Failed);
        let noted: Vec<String> = events.try_iter().collect();
        assert_eq!(noted, ["dhcp6 eth0 failed and is opened again: the port is in use"]);
        drop(new);
        assert!(board.conditions().is_empty());
    }
}
