//! What a state directory held when it was opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Kept;
use super::record::{self, InstallRecord, KeptRecord, Lease6Record, ServedRecord, Unusable, kind};
use super::records::{Change, Contents};
use super::seal::Unfit;
use crate::model::{Mac, Name};
use crate::state::{
    Event, Install, Lease, Lease6, Leases, Leases6, Record, Served, Server, State, Trust, contest,
    longest::{self, Longest},
    trust,
};

/// What a state directory held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub lineage: String,
    pub serial: u64,
    pub token_key: [u8; 32],
    pub installs: Vec<Install>,
    pub served: Vec<(Name, Served)>,
    /// Whether a person said that the machines of this site have no systems yet, so that installations
    /// of a new state are not doubtful. Set by who opens it.
    pub new_site: bool,
    pub assignments: Vec<(Name, Name)>,
    pub protected: Vec<Name>,
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    pub events: Vec<(u64, Event)>,
    /// The number of the next event: never one that was given before, even where events were lost.
    pub next_event: u64,
    pub kept: Option<Kept>,
    /// What the daemon wrote down for itself, by name.
    pub notes: BTreeMap<String, Vec<u8>>,
    /// Cards in no manifest, and the machines they were learned to be of.
    pub cards: Vec<(Mac, Name)>,
    /// Saved plans that were applied, and the serials they were made for.
    pub used: Vec<(String, u64)>,
    /// Whether this is a restored copy, or one of which records are missing, whose installations nobody
    /// has settled yet.
    pub restored: bool,
    /// How many batches of records were written.
    pub batch: u64,
    /// Where the journal of leases was at least.
    pub journal: (u64, u64),
    /// Records that do not fit their digests, and are not believed.
    pub damaged: Vec<Damage>,
    /// What a person should know of how it was opened, a sentence each.
    pub remarks: Vec<String>,
}

/// A record that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub kind: String,
    /// What it may be about; several where the damage is in the name itself.
    pub names: Vec<String>,
    pub why: String,
}

impl Damage {
    /// The deployments or machines it may be about.
    pub fn subjects(&self) -> impl Iterator<Item = Name> {
        let words = self.names.iter().flat_map(|name| name.split(['/', ' ']));
        words.filter_map(|word| word.parse().ok())
    }

    /// Whether a machine may be installed or not because of this record.
    pub fn guards_disks(&self) -> bool {
        [kind::INSTALL, kind::ASSIGNED].contains(&self.kind.as_str())
    }

    /// Whether one of these records is put in its place.
    pub fn is_replaced_by(&self, records: &[Record]) -> bool {
        records.iter().any(|record| match (self.kind.as_str(), record) {
            (kind::KEPT | kind::FILE, Record::Revision(_)) => true,
            (kind::SERVED, Record::Served(..) | Record::Revision(_)) => true,
            (kind::NOTE, Record::Note(name, _)) => self.names.iter().any(|own| *own == **name),
            _ => false,
        })
    }

    /// What to do about it at once: what is no matter of disks is forgotten, a protection stays.
    pub(super) fn cure(&self) -> Vec<Change> {
        let names = self.names.iter();
        match self.kind.as_str() {
            kind::PROTECTED => names.map(|name| Change::put(kind::PROTECTED, name, Vec::new())).collect(),
            kind::CARD | kind::USED | kind::LEASE6 => {
                names.map(|name| Change::remove(self.kind.clone(), name)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether something is not as it should be until a person or the next revision settles it.
    pub fn lasts(&self) -> bool {
        self.cure().is_empty()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { kind, names, why } = self;
        write!(f, "the record {kind} {} in the state directory {why}", names.join(" or "))
    }
}

impl Saved {
    /// The state as it was when the daemon stopped; what is desired comes with the first revision.
    pub fn table(&self, server: Server) -> State {
        let guarding = self.damaged.iter().filter(|damage| damage.guards_disks());
        let tenant = |(deployment, machine): &(Name, Name)| (machine.clone(), deployment.clone());
        let mut table = State {
            lineage: self.lineage.as_str().into(),
            serial: self.serial,
            token_key: self.token_key,
            installs: self.installs.iter().cloned().collect(),
            assignments: self.assignments.iter().cloned().collect(),
            tenants: self.assignments.iter().map(tenant).collect(),
            trust: self.trust(),
            served: self.served.iter().map(|(name, one)| (name.clone(), Arc::new(one.clone()))).collect(),
            protected: self.protected.iter().cloned().collect(),
            learned: self.cards.iter().cloned().collect(),
            contested: contest::of_note(self.notes.get(contest::NOTE).map(Vec::as_slice)),
            longest: self.notes.get(longest::NOTE).and_then(|note| Longest::of_note(note)),
            used_plans: self
                .used
                .iter()
                .map(|(id, serial)| (Arc::<str>::from(id.as_str()), *serial))
                .collect(),
            damaged: guarding.flat_map(Damage::subjects).collect(),
            leases: Leases::restore(self.leases.iter().cloned()),
            leases6: Leases6::restore(self.leases6.iter().cloned()),
            memo: Some(Arc::default()),
            ..State::new(server)
        };
        if self.restored {
            table.begin_restored();
        }
        table
    }

    /// A state whose serial was never raised has adopted nothing: it is new.
    pub fn trust(&self) -> Trust {
        let note = self.notes.get(trust::NOTE).map(Vec::as_slice);
        let is_new = self.serial == 0;
        match note {
            None if is_new && self.new_site => Trust::default(),
            note => Trust::of_note(note, is_new),
        }
    }

    /// What the file of records holds; leases of IPv4 addresses and events lie elsewhere.
    pub(super) fn of(contents: Contents) -> Saved {
        let Contents { head, records, unfit, incomplete } = contents;
        let mut saved = Saved {
            serial: head.serial,
            restored: head.restored,
            batch: head.batch,
            journal: head.journal,
            next_event: head.events,
            ..Saved::default()
        };
        let mut kept = None;
        let mut files = BTreeMap::new();
        let good: BTreeSet<(String, String)> =
            records.iter().map(|(kind, name, _)| (kind.clone(), name.clone())).collect();
        for (kind, name, value) in records {
            let taken = match kind.as_str() {
                kind::KEPT => {
                    record::read::<KeptRecord>(&value).map(|record| kept = Some(record.into_kept()))
                }
                kind::FILE => {
                    files.insert(name.as_str().into(), Bytes::from(value));
                    Ok(())
                }
                other => saved.take(other, &name, &value),
            };
            if let Err(why) = taken {
                saved.damaged.push(Damage { kind, names: vec![name], why: format!("can't be read: {why}") });
            }
        }
        for (kind, Unfit { mut names }) in unfit {
            // Where the damage is in the name, the other name may be a record of its own.
            names.retain(|name| !good.contains(&(kind.clone(), name.clone())));
            saved.damaged.push(Damage { kind, names, why: "does not fit its digest".into() });
        }
        saved.judge(incomplete);
        let is_whole = |kind: &str| saved.damaged.iter().all(|damage| damage.kind != kind);
        saved.kept = kept.filter(|_| is_whole(kind::FILE)).map(|kept| Kept { files, ..kept });
        saved
    }

    fn take(&mut self, kind: &str, name: &str, value: &[u8]) -> Result<(), Unusable> {
        let named = |text: &str| text.parse::<Name>().map_err(|error| format!("{text}: {error}"));
        let text = || std::str::from_utf8(value).map_err(|error| error.to_string());
        match kind {
            kind::LEASE6 => {
                let address: std::net::Ipv6Addr = name.parse().map_err(|error| format!("{name}: {error}"))?;
                self.leases6.push(record::read::<Lease6Record>(value)?.into_lease(address.into())?);
            }
            kind::INSTALL => {
                for record in record::read::<Vec<InstallRecord>>(value)? {
                    self.installs.push(record.into_install(None)?);
                }
            }
            kind::ASSIGNED => self.assignments.push((named(name)?, named(text()?)?)),
            kind::SERVED => {
                self.served.push((named(name)?, record::read::<ServedRecord>(value)?.into_served()?));
            }
            kind::PROTECTED => self.protected.push(named(name)?),
            kind::NOTE => drop(self.notes.insert(name.to_owned(), value.to_vec())),
            kind::CARD => {
                let mac = name.parse().map_err(|error| format!("{name}: {error}"))?;
                self.cards.push((mac, named(text()?)?));
            }
            kind::USED => {
                let serial = text()?.parse().map_err(|error| format!("{error}"))?;
                self.used.push((name.to_owned(), serial));
            }
            other => return Err(format!("this version knows no records of the kind {other}")),
        }
        Ok(())
    }

    /// What follows from damage besides that a record is not believed: always what keeps disks.
    fn judge(&mut self, incomplete: bool) {
        for damage in &self.damaged {
            if damage.kind == kind::PROTECTED {
                self.protected.extend(damage.subjects());
            }
            if damage.kind == kind::USED {
                self.used.extend(damage.names.iter().map(|name| (name.clone(), u64::MAX)));
            }
            if damage.kind == kind::NOTE {
                // Nobody can read it; who needs it takes the safe side.
                self.notes.extend(damage.names.iter().map(|name| (name.clone(), Vec::new())));
            }
        }
        self.protected.sort_unstable();
        self.protected.dedup();
        if incomplete {
            self.restored = true;
            self.remarks.push(
                "records of the state directory are missing, or are earlier ones: which, nobody can tell, so \
                 that all installations are doubtful"
                    .into(),
            );
        }
    }
}
