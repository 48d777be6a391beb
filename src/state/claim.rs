//! Claims: somebody asks for any machine of a pool, has it for a time, and gives it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;
use super::lifecycle::{Condition, Known};
use super::prototype::Prototype;
use super::user_data::Sealed;
use crate::desired::{Deployment, Place, Pool};
use crate::model::wish::Lacks;
use crate::model::words::words;
use crate::model::{Caller, Name, OnReturn, Span, Time, WipeLevel};

/// The name of the stored note that holds the number of the last claim: a name is never given twice.
pub const NOTE: &str = "claims";

/// No lineage has had so many claims: the last number where the note is damaged.
const BEYOND: u64 = 1 << 40;

/// How long a machine whose claim has ended by itself waits untouched before it is taken back.
pub const GRACE: Span = Span::seconds(30 * 60);

/// Claims at a time, those that wait among them: a caller that asks again and again must not fill the memory.
pub const CLAIMS_MAX: usize = 100_000;

/// A machine that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub pool: Name,
    /// How long it is to last; as long as the pool says where absent.
    pub ttl: Option<Span>,
    /// What the claim's name begins with; the pool's name where absent. A number follows.
    pub name: Option<Name>,
    /// What names the request, so that it is made once.
    pub key: Option<Arc<str>>,
    /// What is to be stored of what its machine will run, with its key, where no other claim runs the same.
    pub prototype: Option<(Arc<str>, Arc<Prototype>)>,
    /// What its machine is to be given.
    pub user_data: Option<Sealed>,
}

impl Wanted {
    /// Any machine of a pool, for as long as the pool says.
    pub fn of(pool: Name) -> Wanted {
        Wanted { pool, ttl: None, name: None, key: None, prototype: None, user_data: None }
    }
}

/// One machine of a pool, asked for or had.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// What the caller wanted it to begin with, else the pool's name, and `number`.
    pub name: Name,
    pub pool: Name,
    /// Later claims have higher numbers.
    pub number: u64,
    pub by: Caller,
    pub asked: Time,
    /// How long it lasts from when it has its machine; `None`: until it is released.
    pub ttl: Option<Span>,
    /// What happens to the machine afterwards: what the pool said when the claim was made.
    pub on_return: OnReturn,
    pub level: WipeLevel,
    /// `None` while it waits.
    pub place: Option<Granted>,
    /// Whether a person wants to keep the machine: the claim lasts until a revision has a deployment with its name on
    /// its machine.
    pub keep: bool,
    /// What named the request.
    pub key: Option<Arc<str>>,
    /// The key of the [prototype](super::prototype) that it was made from; `None` of claims that a version made which did
    /// not store it.
    pub prototype: Option<Arc<str>>,
    /// Whether there is [user data](super::user_data) for its machine.
    pub has_user_data: bool,
}

/// The machine of a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    pub machine: Name,
    pub epoch: u64,
    pub since: Time,
    /// When it ends by itself, in time that [ran](super::ran).
    pub ends: Option<u64>,
    /// Since its time was over, when the machine is taken back; likewise.
    pub taken_back: Option<u64>,
}

words! {
    /// Why a claim does not get a machine.
    pub enum WhyNot {
        Labels = "its labels are others than the pool's selector",
        Hardware = "its hardware is not what the pool's selector asks for, or our agent has not looked at it",
        NotAccepted = "no manifest declares it",
        Protected = "it is protected",
        Contested = "two machines show its network card at a time",
        Held = "a person holds it",
        Deployed = "a deployment has it",
        Claimed = "another claim has it",
        Releasing = "it is being released",
        Failed = "its release failed, and waits for a person",
        Unknown = "our agent has not looked at its disks",
        Dirty = "its disks are not clean",
    }
}

/// The last number of a note; 0 where there is none.
pub fn of_note(note: Option<&[u8]>) -> u64 {
    note.map_or(0, |note| note.try_into().map_or(BEYOND, u64::from_le_bytes))
}

impl Claim {
    pub fn machine(&self) -> Option<&Name> {
        self.place.as_ref().map(|place| &place.machine)
    }

    /// Whether its time is over and its machine is not taken back yet.
    pub fn is_in_grace(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.taken_back.is_some())
    }
}

impl State {
    pub fn claims(&self) -> &imbl::OrdMap<Name, Arc<Claim>> {
        &self.lasting.claims
    }

    /// How many machines of a pool claims have.
    pub fn claimed_of(&self, pool: &Name) -> u32 {
        self.derived.held.get(pool).copied().unwrap_or(0)
    }

    /// How many machines a pool could give out now.
    pub fn free_for(&self, pool: &Pool) -> usize {
        self.derived.open.get(&pool.name).map_or(0, imbl::OrdSet::len)
    }

    /// How many claims a caller has of a pool, those that wait among them.
    pub(super) fn asked_by(&self, pool: &Name, caller: &Caller) -> u32 {
        self.derived.asked.get(&(pool.clone(), caller.to_string().into())).copied().unwrap_or(0)
    }

    /// Whether anybody may get a machine who waits for one.
    pub(super) fn may_serve(&self) -> bool {
        let has_open = |name: &Name| {
            let pool = self.desired.pools.get(name);
            let is_full = pool.is_none_or(|pool| pool.max.is_some_and(|max| self.claimed_of(name) >= max));
            !is_full && self.derived.open.get(name).is_some_and(|open| !open.is_empty())
        };
        let mut waiting = self.derived.waits.iter().filter(|(_, count)| **count > 0);
        waiting.any(|(pool, _)| has_open(pool))
            || !(self.lasting.unplaced.is_empty() || self.derived.fresh.is_empty())
    }

    /// The claim that has a machine.
    pub fn claim_on(&self, machine: &Name) -> Option<&Arc<Claim>> {
        let tenancy = self.tenancy(machine).filter(|tenancy| tenancy.is_claim)?;
        self.lasting.claims.get(&tenancy.holder)
    }

    /// Why a pool does not give this machine out; `None` if it may.
    pub fn why_not(&self, pool: &Pool, machine: &Name) -> Option<WhyNot> {
        let Some(declared) = self.desired.machines.get(machine) else { return Some(WhyNot::NotAccepted) };
        let lacks = match &pool.prototype.place {
            Place::Select(selector) => self.lacks(declared, selector),
            Place::Machine(own) => (own != machine).then_some(Lacks::Label),
        };
        let life = self.life(machine);
        let order = life.and_then(|life| life.order.as_ref());
        Some(match self.tenancy(machine) {
            _ if lacks == Some(Lacks::Label) => WhyNot::Labels,
            _ if lacks == Some(Lacks::Fact) => WhyNot::Hardware,
            _ if self.known(machine) != Known::Accepted => WhyNot::NotAccepted,
            Some(tenancy) if tenancy.is_claim => WhyNot::Claimed,
            Some(_) => WhyNot::Deployed,
            // A person pinned a deployment to it, which waits.
            None if self.derived.pins.contains_key(machine) => WhyNot::Deployed,
            _ if order.is_some_and(|order| order.condition == Condition::Failed) => WhyNot::Failed,
            _ if order.is_some() => WhyNot::Releasing,
            _ if life.is_some_and(|life| life.contested.is_some()) => WhyNot::Contested,
            _ if life.is_some_and(|life| life.hold.is_some()) => WhyNot::Held,
            _ if self.lasting.protected.contains(machine) => WhyNot::Protected,
            _ if pool.clean && life.is_none_or(|life| life.reported.is_none()) => WhyNot::Unknown,
            _ if pool.clean && life.is_some_and(|life| !life.is_clean()) => WhyNot::Dirty,
            _ => return None,
        })
    }

    /// Why a deployment has no machine.
    pub fn why_unassigned(&self, deployment: &Deployment) -> String {
        let Place::Machine(machine) = &deployment.place else { return "no machine is assigned".into() };
        if let Some(claim) = self.claim_on(machine) {
            let ends = claim.place.as_ref().and_then(|place| place.taken_back.or(place.ends));
            let left =
                ends.filter(|_| !claim.keep).map(|ends| Span(ends.saturating_sub(self.lasting.ran.now)));
            let until = left.map_or("until it is released".to_owned(), |left| format!("for {left} more"));
            return format!(
                "it waits for machine {machine}, which claim {} of {} has {until}",
                claim.name, claim.by
            );
        }
        match self.life(machine).and_then(|life| life.order.as_ref()) {
            Some(order) => format!("it waits for machine {machine}, which is being wiped: {}", order.reason),
            None => "no machine is assigned".into(),
        }
    }

    /// Why a claim waits: how many machines of the inventory each reason keeps from it, and the first of each.
    pub fn why_waiting(&self, claim: &Claim) -> BTreeMap<WhyNot, (usize, Name)> {
        let mut reasons = BTreeMap::new();
        let Some(pool) = self.desired.pools.get(&claim.pool) else { return reasons };
        for machine in self.desired.machines.keys() {
            if let Some(why) = self.why_not(pool, machine) {
                reasons.entry(why).or_insert((0, machine.clone())).0 += 1;
            }
        }
        reasons
    }
}
