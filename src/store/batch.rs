//! What is written together, and the records it becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use imbl::ordmap;

use super::record::{self, InstallRecord, KeptRecord, Lease6Record, ServedRecord, kind};
use super::records::Change;
use crate::model::{Mac, Name};
use crate::table::{Event, Install, Lease, Lease6, Served, Table};

/// A revision as it was read: what a start without the source serves, and what the source's next
/// revision is compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub revision: Arc<str>,
    /// The source's own revision at that time; another one where a tree was applied by hand.
    pub source: Arc<str>,
    /// Directory that files not kept here are read from.
    pub root: Option<PathBuf>,
    /// The environment it was served for.
    pub environment: Option<Arc<str>>,
    pub files: BTreeMap<Arc<str>, Bytes>,
    /// Where the files lie on disk, by their path in the inventory.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}

/// Changes to write together.
#[derive(Debug, Default)]
pub struct Batch {
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    /// By machine; one without any has none any more.
    pub installs: Vec<(Name, Arc<[Install]>)>,
    /// What a revision changed of the lists.
    pub lists: Option<Lists>,
    pub serial: Option<u64>,
    pub kept: Option<Arc<Kept>>,
    pub events: Vec<(u64, Event)>,
    pub notes: Vec<(std::borrow::Cow<'static, str>, Vec<u8>)>,
    /// Cards in no manifest and the machines they were learned to be of; `None` forgets one.
    pub cards: Vec<(Mac, Option<Name>)>,
    /// Saved plans that were applied, and the serials they were made for; `None` forgets one.
    pub used: Vec<(String, Option<u64>)>,
    /// Whether a restored copy is in use whose installations nobody has settled yet.
    pub restored: Option<bool>,
}

/// What differs between two tables.
#[derive(Debug, Default)]
pub struct Lists {
    /// `None` takes an assignment away.
    pub assignments: Vec<(Name, Option<Name>)>,
    /// `false` takes a protection away.
    pub protected: Vec<(Name, bool)>,
    /// `None` takes a deployment away.
    pub served: Vec<(Name, Option<Arc<Served>>)>,
}

impl Lists {
    /// Lays what differs later over this.
    pub fn extend(&mut self, later: Lists) {
        self.assignments.extend(later.assignments);
        self.protected.extend(later.protected);
        self.served.extend(later.served);
    }

    pub fn between(before: &Table, after: &Table) -> Lists {
        let assigned = |item: ordmap::DiffItem<Name, Name>| match item {
            ordmap::DiffItem::Add(name, machine) => (name.clone(), Some(machine.clone())),
            ordmap::DiffItem::Update { new: (name, machine), .. } => (name.clone(), Some(machine.clone())),
            ordmap::DiffItem::Remove(name, _) => (name.clone(), None),
        };
        let served = |item: ordmap::DiffItem<Name, Arc<Served>>| match item {
            ordmap::DiffItem::Add(name, one) | ordmap::DiffItem::Update { new: (name, one), .. } => {
                (name.clone(), Some(one.clone()))
            }
            ordmap::DiffItem::Remove(name, _) => (name.clone(), None),
        };
        let gone = before.protected.iter().filter(|name| !after.protected.contains(*name));
        let new = after.protected.iter().filter(|name| !before.protected.contains(*name));
        Lists {
            assignments: before.assignments.diff(&after.assignments).map(assigned).collect(),
            served: before.served.diff(&after.served).map(served).collect(),
            protected: gone
                .map(|name| (name.clone(), false))
                .chain(new.map(|name| (name.clone(), true)))
                .collect(),
        }
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.only_events()
    }

    /// Whether nobody waits for something of it to be on disk.
    pub fn only_events(&self) -> bool {
        self.leases.is_empty() && !self.has_records()
    }

    /// Whether there is something besides leases of IPv4 addresses and events.
    pub(super) fn has_records(&self) -> bool {
        !self.leases6.is_empty()
            || !self.installs.is_empty()
            || !self.notes.is_empty()
            || !self.cards.is_empty()
            || self.lists.is_some()
            || self.serial.is_some()
            || self.kept.is_some()
            || !self.used.is_empty()
            || self.restored.is_some()
    }

    /// The records that change; `before` is the revision that is stored.
    pub(super) fn changes(&self, before: Option<&Kept>) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.leases6.iter().map(|lease| {
            Change::put(kind::LEASE6, lease.address.to_string(), record::write(&Lease6Record::of(lease)))
        }));
        changes.extend(self.installs.iter().map(|(machine, list)| {
            let records: Vec<InstallRecord> = list.iter().map(InstallRecord::of).collect();
            match records.is_empty() {
                true => Change::remove(kind::INSTALL, machine.as_str()),
                false => Change::put(kind::INSTALL, machine.as_str(), record::write(&records)),
            }
        }));
        changes.extend(self.notes.iter().map(|(name, note)| Change::put(kind::NOTE, &**name, note.clone())));
        changes.extend(self.cards.iter().map(|(mac, machine)| match machine {
            Some(machine) => Change::put(kind::CARD, mac.to_string(), machine.as_str().into()),
            None => Change::remove(kind::CARD, mac.to_string()),
        }));
        if let Some(lists) = &self.lists {
            changes.extend(lists.assignments.iter().map(|(deployment, machine)| match machine {
                Some(machine) => Change::put(kind::ASSIGNED, deployment.as_str(), machine.as_str().into()),
                None => Change::remove(kind::ASSIGNED, deployment.as_str()),
            }));
            changes.extend(lists.protected.iter().map(|(machine, is_protected)| match is_protected {
                true => Change::put(kind::PROTECTED, machine.as_str(), Vec::new()),
                false => Change::remove(kind::PROTECTED, machine.as_str()),
            }));
        }
        if let Some(lists) = &self.lists {
            changes.extend(lists.served.iter().map(|(name, one)| match one {
                Some(one) => Change::put(kind::SERVED, name.as_str(), record::write(&ServedRecord::of(one))),
                None => Change::remove(kind::SERVED, name.as_str()),
            }));
        }
        if let Some(kept) = &self.kept {
            changes.extend(kept.changes(before));
        }
        changes.extend(self.used.iter().map(|(plan, serial)| match serial {
            Some(serial) => Change::put(kind::USED, plan.as_str(), serial.to_string().into()),
            None => Change::remove(kind::USED, plan.as_str()),
        }));
        changes
    }
}

impl Kept {
    /// Revisions differ in a file or two: only those are written.
    fn changes(&self, before: Option<&Kept>) -> Vec<Change> {
        let mut changes = vec![Change::put(kind::KEPT, "", record::write(&KeptRecord::of(self)))];
        let former = before.map(|kept| &kept.files);
        let is_new = |path: &Arc<str>, bytes: &Bytes| former.and_then(|files| files.get(path)) != Some(bytes);
        let new = self.files.iter().filter(|(path, bytes)| is_new(path, bytes));
        changes.extend(new.map(|(path, bytes)| Change::put(kind::FILE, &**path, bytes.to_vec())));
        let gone = former.into_iter().flatten().filter(|(path, _)| !self.files.contains_key(*path));
        changes.extend(gone.map(|(path, _)| Change::remove(kind::FILE, &**path)));
        changes
    }
}
