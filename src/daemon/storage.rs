//! How it stands with the state directory: whether batches can be written, and which records of it are not
//! believed.

use std::sync::Arc;

use tokio::sync::watch;

use super::now;
use crate::model::Time;
use crate::state::{Record, State};
use crate::store::Damage;

/// How it stands with the state directory.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// Why batches can't be written, and since when.
    pub trouble: Option<(Arc<str>, Time)>,
    /// Damaged records, a sentence each, until a person settles them.
    pub damaged: Arc<[String]>,
}

impl Storage {
    /// What is wrong, a sentence each; empty where nothing is.
    pub fn sentences(&self) -> Vec<String> {
        let trouble =
            self.trouble.iter().map(|(why, since)| format!("{why} (since {since}){}", way_out(why)));
        trouble.chain(self.damaged.iter().cloned()).collect()
    }
}

/// The keeper's side.
pub struct Health {
    shown: watch::Sender<Storage>,
    /// Damaged records, until a person settles them.
    damaged: Vec<Damage>,
}

impl Health {
    /// Of a directory in which these records were damaged.
    pub fn new(damaged: Vec<Damage>) -> (Health, watch::Receiver<Storage>) {
        let storage = Storage { trouble: None, damaged: sentences(&damaged) };
        let (shown, seen) = watch::channel(storage);
        (Health { shown, damaged }, seen)
    }

    /// Whether the last batch could not be written.
    pub fn is_troubled(&self) -> bool {
        self.shown.borrow().trouble.is_some()
    }

    /// Says once that batches can't be written, or can again.
    pub fn stores(&mut self, trouble: Option<String>) {
        let trouble = trouble.map(|why| Arc::<str>::from(format!("can't store: {why}")));
        let known = self.shown.borrow().trouble.clone();
        match (&known, &trouble) {
            (None, None) => return,
            (Some((known, _)), Some(why)) if known == why => return,
            (_, Some(why)) => tracing::error!("{why}; nothing of this batch was done, and it is tried again"),
            (Some((why, since)), None) => {
                tracing::info!("the state can be written again (since {since}: {why})")
            }
        }
        let since = known.map_or_else(now, |(_, since)| since);
        self.shown.send_modify(|storage| storage.trouble = trouble.map(|why| (why, since)));
    }

    /// Forgets damage that something was put in the place of.
    pub fn settled(&mut self, state: &State, records: &[Record]) {
        if self.damaged.is_empty() {
            return;
        }
        let is_open = |one: &Damage| one.subjects().any(|name| state.damaged().contains(&name));
        let before = self.damaged.len();
        self.damaged.retain(|one| match one.guards_disks() {
            true => is_open(one),
            false => !one.is_replaced_by(records),
        });
        if self.damaged.len() != before {
            let damaged = sentences(&self.damaged);
            self.shown.send_modify(|storage| storage.damaged = damaged);
        }
    }
}

/// What a person can do about it.
fn way_out(why: &str) -> &'static str {
    let known = [
        (
            "Read-only file system",
            "; make the file system of the state directory writable: the daemon then continues by itself. One that has to be \
             unmounted for a repair needs the daemon to be stopped before and started after it",
        ),
        (
            "No space left",
            "; make room on the file system of the state directory: the daemon then continues by itself",
        ),
        (
            "Disk quota exceeded",
            "; raise the quota of the state directory's user: the daemon then continues by itself",
        ),
        ("Input/output error", "; the disk of the state directory fails: see the kernel's log"),
    ];
    known.iter().find(|(cause, _)| why.contains(cause)).map_or("", |(_, way)| way)
}

fn sentences(damaged: &[Damage]) -> Arc<[String]> {
    damaged.iter().map(Damage::to_string).collect()
}
