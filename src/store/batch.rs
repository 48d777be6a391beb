//! Records to write together, for the tests of the state directory.

use std::sync::Arc;

use crate::model::{Mac, Name};
use crate::state::{Event, Install, Lease, Lease6, Record, Revision, Served};

/// Changes to write together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    /// By machine; one without any has none any more.
    pub installs: Vec<(Name, Arc<[Install]>)>,
    /// What a revision changed of the lists.
    pub lists: Option<Lists>,
    pub serial: Option<u64>,
    pub kept: Option<Arc<Revision>>,
    pub events: Vec<(u64, Event)>,
    pub notes: Vec<(std::borrow::Cow<'static, str>, Vec<u8>)>,
    /// Cards in no manifest and the machines they were learned to be of; `None` forgets one.
    pub cards: Vec<(Mac, Option<Name>)>,
    /// Saved plans that were applied, and the serials they were made for; `None` forgets one.
    pub used: Vec<(String, Option<u64>)>,
    /// Whether the state is a restored copy whose installations nobody has settled yet.
    pub restored: Option<bool>,
}

/// What differs between two tables.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// `None` takes an assignment away.
    pub assignments: Vec<(Name, Option<Name>)>,
    /// `false` takes a protection away.
    pub protected: Vec<(Name, bool)>,
    /// `None` takes a deployment away.
    pub served: Vec<(Name, Option<Arc<Served>>)>,
}

impl Batch {
    /// The records that it is, and its events; `before` is the revision that is stored.
    pub(crate) fn into_records(self, before: &Revision) -> (Vec<Record>, Vec<(u64, Event)>) {
        let Batch { leases, leases6, installs, lists, serial, kept, events, notes, cards, used, restored } =
            self;
        let mut records: Vec<Record> = leases.into_iter().map(Record::Lease4).collect();
        records.extend(leases6.into_iter().map(Record::Lease6));
        records.extend(installs.into_iter().map(|(machine, list)| Record::Installs(machine, list)));
        records.extend(notes.into_iter().map(|(name, note)| Record::Note(name, note)));
        records.extend(cards.into_iter().map(|(mac, machine)| Record::Card(mac, machine)));
        if let Some(Lists { assignments, protected, served }) = lists {
            records.extend(assignments.into_iter().map(|(name, machine)| Record::Assignment(name, machine)));
            records
                .extend(protected.into_iter().map(|(machine, is_set)| Record::Protection(machine, is_set)));
            records.extend(served.into_iter().map(|(name, one)| Record::Served(name, one)));
        }
        records.extend(kept.iter().flat_map(|kept| kept.records(before)));
        records.extend(used.into_iter().map(|(plan, serial)| Record::UsedPlan(plan.into(), serial)));
        records.extend(serial.map(Record::Serial));
        records.extend(restored.map(Record::Restored));
        (records, events)
    }
}
