//! What is written together, and the records it becomes.

use std::sync::Arc;

use super::record::{self, InstallRecord, KeptRecord, Lease6Record, ServedRecord, kind};
use super::records::Change;
use crate::model::{Mac, Name};
use crate::state::{Event, Install, Kept, Lease, Lease6, Record, Served};
use bytes::Bytes;

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

impl Batch {
    /// What a commit writes.
    pub fn of(records: &[Record], events: &[(u64, Event)]) -> Batch {
        let mut batch = Batch { events: events.to_vec(), ..Batch::default() };
        for record in records {
            batch.add(record.clone());
        }
        batch
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Lease4(lease) => self.leases.push(lease),
            Record::Lease6(lease) => self.leases6.push(lease),
            Record::Installs(machine, list) => self.installs.push((machine, list)),
            Record::Assignment(name, machine) => self.lists().assignments.push((name, machine)),
            Record::Protection(machine, is_protected) => {
                self.lists().protected.push((machine, is_protected));
            }
            Record::Served(name, one) => self.lists().served.push((name, one)),
            Record::Note(name, note) => self.notes.push((name, note)),
            Record::Card(mac, machine) => self.cards.push((mac, machine)),
            Record::UsedPlan(plan, serial) => self.used.push((plan.to_string(), serial)),
            Record::Revision(kept) => self.kept = Some(kept),
            Record::Serial(serial) => self.serial = Some(serial),
            Record::Restored(restored) => self.restored = Some(restored),
        }
    }

    fn lists(&mut self) -> &mut Lists {
        self.lists.get_or_insert_default()
    }

    /// Whether nobody waits for something of it to be on disk.
    pub(super) fn only_events(&self) -> bool {
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
