//! What a state directory held when it was opened.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::damage::Damage;
use super::log::load::{Held, Laid};
use crate::model::facts::Facts;
use crate::model::{Mac, Name};
use crate::state::boot_once::BootOnce;
use crate::state::budget::{self, Budget};
use crate::state::certificate::WipeCertificate;
use crate::state::learned::CardBoots;
use crate::state::longest::{self, Longest};
use crate::state::outbox::{self, Pending};
use crate::state::prototype::Prototype;
use crate::state::queue;
use crate::state::ran::{self, Ran};
use crate::state::record::{Record, RecordKind};
use crate::state::revision::former::FormerRevision;
use crate::state::revision::stored::SavedRevision;
use crate::state::schedule::Pace;
use crate::state::user_data::Sealed;
use crate::state::{
    ApiToken, Claim, Event, Guards, Install, Installs, Lasting, Lease, Lease6, Leases, Leases6, Life, Outbox,
    Revision, Serials, Served, Server, State, Tenancy, Trust, claim, conflict, contest, guard, tenancy,
    trust,
};

/// In the place of a stored file that was lost to damage: no file that a revision has is equal to it.
const LOST_FILE: &[u8] = b"\0this file was lost to damage\0";

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
    /// Deployments and their machines.
    pub assignments: Vec<(Name, Name)>,
    /// What machines are for. Those of assignments that an earlier version stored come with the opening.
    pub tenancies: Vec<(Name, Tenancy)>,
    /// What is recorded of machines besides.
    pub lives: Vec<(Name, Arc<Life>)>,
    pub claims: Vec<Arc<Claim>>,
    /// What they run, by key.
    pub prototypes: Vec<(Arc<str>, Arc<Prototype>)>,
    /// What our agent found out about machines.
    pub facts: Vec<(Name, Arc<Facts>)>,
    /// Sealed user data, by claim.
    pub user_data: Vec<(Name, Sealed)>,
    /// What was done to the disks of machines that were wiped.
    pub certificates: Vec<Arc<WipeCertificate>>,
    /// What the boots of cards showed.
    pub boots: Vec<(Mac, Arc<CardBoots>)>,
    /// What the next network boots of machines lead to.
    pub once: Vec<(Name, Arc<BootOnce>)>,
    pub protected: Vec<Name>,
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
    pub events: Vec<(u64, Event)>,
    /// The number of the next event: never one that was given before, even where events were lost.
    pub next_event: u64,
    /// The revision whose files are stored, if all of them can be read.
    pub kept: Option<Revision>,
    /// What is stored of a revision, whole or not: what differs from it is written.
    pub stored: Revision,
    /// What the daemon wrote down for itself, by name.
    pub notes: BTreeMap<String, Vec<u8>>,
    /// Cards in no manifest, and the machines they were learned to be of.
    pub cards: Vec<(Mac, Name)>,
    /// Saved plans that were applied, and the serials they were made for.
    pub used: Vec<(String, u64)>,
    /// Effects that wait for their executors.
    pub effects: Vec<Arc<Pending>>,
    /// Tokens of the control API.
    pub tokens: Vec<Arc<ApiToken>>,
    /// How controllers are asked for the power of machines. Set by who opens it.
    pub pace: Pace,
    /// Whether this is a restored copy, or one of which records are missing, whose installations nobody
    /// has settled yet.
    pub restored: bool,
    /// Records that do not fit their digests, and are not used.
    pub damaged: Vec<Damage>,
    /// What a person should know of how it was opened, a sentence each.
    pub remarks: Vec<String>,
}

impl Saved {
    /// The state as it was when the daemon stopped; what is desired comes with the first revision.
    pub fn state(&self, server: Server) -> State {
        let guarding = self.damaged.iter().filter(|damage| damage.guards_disks());
        let note = |name: &str| self.notes.get(name).map(Vec::as_slice);
        let ran = Ran::of_note(note(ran::NOTE));
        let mut installs: Installs = self.installs.iter().cloned().collect();
        installs.count(self.newest_epoch());
        let held = self.tenancies.iter().map(|(machine, one)| (one.holder.clone(), machine.clone()));
        let lasting = Lasting {
            lineage: self.lineage.as_str().into(),
            serials: Serials::stored(self.serial),
            token_key: self.token_key.into(),
            installs,
            assignments: held.chain(self.assignments.iter().cloned()).collect(),
            tenancies: self.tenancies.iter().cloned().collect(),
            lives: self.lives.iter().cloned().collect(),
            claims: self.claims.iter().map(|claim| (claim.name.clone(), claim.clone())).collect(),
            facts: self.facts.iter().cloned().collect(),
            prototypes: self.prototypes.iter().cloned().collect(),
            user_data: self.user_data.iter().cloned().collect(),
            certificates: self.certificates.iter().map(|one| (one.epoch, one.clone())).collect(),
            boots: self.boots.iter().cloned().collect(),
            once: self.once.iter().cloned().collect(),
            last_claim: self.last_claim(),
            unplaced: queue::of_note(note(queue::NOTE)),
            budget: Budget::of_note(note(budget::NOTE), ran.now),
            ran,
            trust: self.trust(),
            served: self.served.iter().map(|(name, one)| (name.clone(), Arc::new(one.clone()))).collect(),
            guards: Arc::new(Guards::of_note(self.notes.get(guard::NOTE).map(Vec::as_slice))),
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
            kept: Arc::new(self.stored.clone()),
            leases: Leases::restore(self.leases.iter().cloned()),
            leases6: Leases6::restore(self.leases6.iter().cloned()),
            outbox: Outbox::restore(
                self.effects.iter().cloned(),
                self.notes.get(outbox::NOTE).map(Vec::as_slice),
            ),
            tokens: self.tokens.iter().map(|token| (token.name.clone(), token.clone())).collect(),
        };
        let mut state = State::restored(server, lasting).with_pace(self.pace);
        if self.restored {
            state.begin_restored();
        }
        state
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

    /// What the log holds; events lie elsewhere.
    pub(super) fn of(laid: &Laid) -> Saved {
        let mut saved = Saved::default();
        let mut unknown = 0;
        let mut kept = None;
        let mut files = BTreeMap::new();
        for ((code, key), held) in &laid.entries {
            let Some(kind) = RecordKind::of_code(*code) else {
                unknown += 1;
                continue;
            };
            let name = || kind.key_text(key).unwrap_or_else(|| String::from_utf8_lossy(key).into_owned());
            let mut damaged = |why: &str| {
                saved.damaged.push(Damage { kind, names: vec![name()], why: why.into() });
            };
            match held {
                Held::Nothing => {}
                Held::Damaged => {
                    damaged("does not fit its digest");
                    if kind == RecordKind::File {
                        files.insert(name().into(), Bytes::from_static(LOST_FILE));
                    }
                }
                Held::Value(value) => match kind.read(key, Some(value)) {
                    // Its digest is right: a later version wrote it, and knows what is to be done.
                    None if matches!(kind, RecordKind::Effect | RecordKind::ApiToken) => unknown += 1,
                    None => damaged("can't be read"),
                    Some(Record::Revision(revision)) => kept = Some(revision),
                    Some(Record::File(path, bytes)) => drop(bytes.map(|bytes| files.insert(path, bytes))),
                    Some(record) => saved.take(record),
                },
            }
        }
        if unknown > 0 {
            saved.remarks.push(format!("{unknown} records are of kinds that this version does not know"));
        }
        // Files without their revision are known as stored, too: `judge` says whether they can be served.
        let is_stored = kept.is_some() || !files.is_empty();
        saved.kept = is_stored.then(|| match kept {
            Some(kept) => Revision::of(&kept, &files),
            None => Revision::of(&SavedRevision::Former(FormerRevision::default()), &files),
        });
        saved.stored = saved.kept.clone().unwrap_or_default();
        saved
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Lease4(lease) => self.leases.push(lease),
            Record::Lease6(lease) => self.leases6.push(lease),
            Record::Installs(_, list) => self.installs.extend(list.iter().cloned()),
            Record::Assignment(name, machine) => {
                self.assignments.extend(machine.map(|machine| (name, machine)));
            }
            Record::Protection(machine, is_protected) => {
                self.protected.extend(is_protected.then_some(machine))
            }
            Record::Served(name, one) => {
                self.served.extend(one.map(|one| (name, Arc::unwrap_or_clone(one))));
            }
            Record::Note(name, note) => drop(self.notes.insert(name.into_owned(), note)),
            Record::Card(mac, machine) => self.cards.extend(machine.map(|machine| (mac, machine))),
            Record::UsedPlan(plan, serial) => {
                self.used.extend(serial.map(|serial| (plan.to_string(), serial)));
            }
            // They are laid together by who reads all of them.
            Record::Revision(_) | Record::File(..) => {}
            Record::Serial(serial) => self.serial = serial,
            Record::Restored(restored) => self.restored = restored,
            Record::Effect(_, pending) => self.effects.extend(pending),
            Record::ApiToken(_, token) => self.tokens.extend(token),
            Record::Life(machine, life) => self.lives.extend(life.map(|life| (machine, life))),
            Record::Claim(_, claim) => self.claims.extend(claim),
            Record::Prototype(key, one) => self.prototypes.extend(one.map(|one| (key, one))),
            Record::UserData(name, one) => self.user_data.extend(one.map(|one| (name, one))),
            Record::Certificate(_, one) => self.certificates.extend(one),
            Record::Facts(machine, facts) => self.facts.extend(facts.map(|facts| (machine, facts))),
            Record::CardBoots(card, boots) => self.boots.extend(boots.map(|boots| (card, boots))),
            Record::BootOnce(machine, once) => self.once.extend(once.map(|once| (machine, once))),
            Record::Tenancy(machine, tenancy) => self.tenancies.extend(tenancy.map(|one| (machine, one))),
        }
    }

    /// The further consequences of damage: always those that keep disks.
    pub(super) fn judge(&mut self) {
        for damage in &self.damaged {
            match damage.kind {
                RecordKind::Protection => self.protected.extend(damage.subjects()),
                RecordKind::UsedPlan => {
                    self.used.extend(damage.names.iter().map(|name| (name.clone(), u64::MAX)));
                }
                // It can't be read; its reader takes the safe side.
                RecordKind::Note => {
                    self.notes.extend(damage.names.iter().map(|name| (name.clone(), Vec::new())));
                }
                // No saved plan is bound to a serial so high.
                RecordKind::Serial => self.serial = self.serial.max(1 << 40),
                RecordKind::Restored => self.restored = true,
                _ => {}
            }
        }
        self.protected.sort_unstable();
        self.protected.dedup();
        let is_lost = |damage: &Damage| matches!(damage.kind, RecordKind::Revision | RecordKind::File);
        if self.damaged.iter().any(is_lost) {
            self.kept = None;
        }
    }

    /// Takes out the effects that wait for their executors, with a remark, and the orders for one network boot. Answers
    /// with what deletes them.
    pub(super) fn cancel_effects(&mut self) -> Vec<Record> {
        let effects = std::mem::take(&mut self.effects);
        for pending in &effects {
            self.remarks.push(format!("effect {}, to {}, is cancelled", pending.id, pending.task));
        }
        let effects = effects.into_iter().map(|pending| Record::Effect(pending.id, None));
        let boots = std::mem::take(&mut self.once).into_iter();
        effects.chain(boots.map(|(machine, _)| Record::BootOnce(machine, None))).collect()
    }

    /// Installations that contradict each other become doubtful: what is to be written of them, and what a person
    /// has to know.
    pub(super) fn settle_conflicts(&mut self) -> (Vec<Record>, Vec<String>) {
        let found = conflict::settle(&mut self.installs);
        let record = |(machine, _): &(Name, String)| {
            let own = self.installs.iter().filter(|install| install.machine == *machine).cloned();
            Record::Installs(machine.clone(), own.collect())
        };
        let remark = |(machine, why): &(Name, String)| {
            format!("{} ({why}): it is doubtful until a person settles it", conflict::text(machine))
        };
        (found.iter().map(record).collect(), found.iter().map(remark).collect())
    }

    /// The number of the last claim.
    fn last_claim(&self) -> u64 {
        let noted = claim::of_note(self.notes.get(claim::NOTE).map(Vec::as_slice));
        self.claims.iter().map(|claim| claim.number).max().unwrap_or(0).max(noted)
    }

    /// The highest epoch that was given.
    fn newest_epoch(&self) -> u64 {
        let installs = self.installs.iter().map(|install| install.epoch);
        let tenancies = self.tenancies.iter().map(|(_, tenancy)| tenancy.epoch);
        let noted = tenancy::of_note(self.notes.get(tenancy::NOTE).map(Vec::as_slice));
        let orders = self.lives.iter().map(|(_, life)| life.epoch);
        installs.chain(tenancies).chain(orders).max().unwrap_or(0).max(noted)
    }

    /// Assignments that an earlier version stored become tenancies: what is to be written of that. Where there is a
    /// tenancy besides, an earlier version ran on what a later one had written, and its word is the last.
    pub(super) fn settle_tenancies(&mut self) -> Vec<Record> {
        let former = std::mem::take(&mut self.assignments);
        let known: BTreeSet<(Name, Name)> =
            self.tenancies.iter().map(|(machine, one)| (one.holder.clone(), machine.clone())).collect();
        let (same, other): (Vec<_>, Vec<_>) = former.iter().cloned().partition(|pair| known.contains(pair));
        let places: BTreeSet<&Name> = other.iter().map(|(_, machine)| machine).collect();
        let names: BTreeSet<&Name> = other.iter().map(|(deployment, _)| deployment).collect();
        let (over, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tenancies)
            .into_iter()
            .partition(|(machine, one)| places.contains(machine) || names.contains(&one.holder));
        let served: BTreeMap<&Name, u64> =
            self.served.iter().map(|(name, one)| (name, one.redeploy)).collect();
        let redeploy = |name: &Name| served.get(name).copied();
        let new = tenancy::upgraded(&other, &self.installs, redeploy, self.newest_epoch());
        let mut records: Vec<Record> =
            over.into_iter().map(|(machine, _)| Record::Tenancy(machine, None)).collect();
        records.extend(new.iter().map(|(machine, one)| Record::Tenancy(machine.clone(), Some(one.clone()))));
        records.extend(same.into_iter().chain(other).map(|(name, _)| Record::Assignment(name, None)));
        self.tenancies = rest;
        self.tenancies.extend(new);
        self.assignments =
            self.tenancies.iter().map(|(machine, one)| (one.holder.clone(), machine.clone())).collect();
        self.assignments.sort();
        records
    }

    /// All records of it, to be written anew; what is damaged is not among them.
    pub(super) fn records(self) -> Vec<Record> {
        let Saved {
            lineage: _,
            serial,
            token_key: _,
            stored: _,
            installs,
            served,
            new_site: _,
            assignments,
            tenancies,
            lives,
            claims,
            prototypes,
            facts,
            user_data,
            certificates,
            boots,
            once,
            protected,
            leases,
            leases6,
            events: _,
            next_event: _,
            kept,
            notes,
            cards,
            used,
            effects,
            tokens,
            pace: _,
            restored,
            damaged: _,
            remarks: _,
        } = self;
        let mut by_machine: BTreeMap<Name, Vec<Install>> = BTreeMap::new();
        for install in installs {
            by_machine.entry(install.machine.clone()).or_default().push(install);
        }
        let mut records = vec![Record::Serial(serial), Record::Restored(restored)];
        records.extend(leases.into_iter().map(Record::Lease4));
        records.extend(leases6.into_iter().map(Record::Lease6));
        records.extend(by_machine.into_iter().map(|(machine, list)| Record::Installs(machine, list.into())));
        let held: BTreeSet<(Name, Name)> =
            tenancies.iter().map(|(machine, one)| (one.holder.clone(), machine.clone())).collect();
        let former = assignments.into_iter().filter(|pair| !held.contains(pair));
        records.extend(former.map(|(name, machine)| Record::Assignment(name, Some(machine))));
        records.extend(lives.into_iter().map(|(machine, life)| Record::Life(machine, Some(life))));
        records.extend(prototypes.into_iter().map(|(key, one)| Record::Prototype(key, Some(one))));
        records.extend(claims.into_iter().map(|claim| Record::Claim(claim.name.clone(), Some(claim))));
        records.extend(facts.into_iter().map(|(machine, facts)| Record::Facts(machine, Some(facts))));
        records.extend(user_data.into_iter().map(|(name, one)| Record::UserData(name, Some(one))));
        records.extend(certificates.into_iter().map(|one| Record::Certificate(one.epoch, Some(one))));
        records.extend(boots.into_iter().map(|(card, boots)| Record::CardBoots(card, Some(boots))));
        records.extend(once.into_iter().map(|(machine, once)| Record::BootOnce(machine, Some(once))));
        records.extend(tenancies.into_iter().map(|(machine, one)| Record::Tenancy(machine, Some(one))));
        records.extend(protected.into_iter().map(|machine| Record::Protection(machine, true)));
        records.extend(served.into_iter().map(|(name, one)| Record::Served(name, Some(one.into()))));
        records.extend(notes.into_iter().map(|(name, note)| Record::Note(Cow::Owned(name), note)));
        records.extend(cards.into_iter().map(|(mac, machine)| Record::Card(mac, Some(machine))));
        records.extend(used.into_iter().map(|(plan, serial)| Record::UsedPlan(plan.into(), Some(serial))));
        records.extend(effects.into_iter().map(|one| Record::Effect(one.id, Some(one))));
        records.extend(tokens.into_iter().map(|one| Record::ApiToken(one.name.clone(), Some(one))));
        records.extend(kept.iter().flat_map(|kept| kept.records(&Revision::default())));
        records
    }
}
