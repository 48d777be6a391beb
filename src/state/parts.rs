//! The parts of the state, by where they come from: what lasts, what was observed, what follows from both.
//! Nothing outside of `state` can change a part of a state that runs: it is changed by commands alone.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::boot_once::BootOnce;
use super::budget::Budget;
use super::certificate::WipeCertificate;
use super::learned::CardBoots;
use super::prototype::Prototype;
use super::queue;
use super::ran::Ran;
use super::user_data::Sealed;
use super::{
    ApiToken, Claim, Contest, Guards, Installs, Leases, Leases6, Life, Outbox, Progress, Revision, Seen,
    Serials, Server, State, Tenancy, TokenKey, Trust, gate, learned, longest, looping, memo, power_order,
    schedule, served,
};
use crate::desired::{Deployment, Desired};
use crate::model::facts::Facts;
use crate::model::{Mac, Name, PowerReading, Time};
use crate::state::Secrets;

/// What is stored: all of it is in records, and comes back with the next start. What a ledger holds is read
/// into one of these, and a state begins with it ([`State::restored`]).
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Minted when a daemon first starts on an empty state directory; binds saved plans.
    pub lineage: Arc<str>,
    /// Raised by every change of `desired`, `installs` or `assignments`.
    pub serials: Serials,
    /// Key of the capability URLs.
    pub token_key: TokenKey,
    /// Installations by machine. Kept when a deployment or a machine is removed: bringing it back must
    /// not wipe the machine.
    pub installs: Installs,
    /// Which machine a deployment has: pinned by the manifest or chosen for its `select`.
    pub assignments: imbl::OrdMap<Name, Name>,
    /// What each machine is for, and under which epoch; the assignments are stored in these.
    pub tenancies: imbl::OrdMap<Name, Tenancy>,
    /// What is recorded of machines besides, where there is anything.
    pub lives: imbl::OrdMap<Name, Arc<Life>>,
    pub claims: imbl::OrdMap<Name, Arc<Claim>>,
    /// What our agent found out about machines' hardware.
    pub facts: imbl::OrdMap<Name, Arc<Facts>>,
    /// Sealed user data, by claim.
    pub user_data: imbl::OrdMap<Name, Sealed>,
    /// Certificates of wipes, by the numbers of their orders.
    pub certificates: imbl::OrdMap<u64, Arc<WipeCertificate>>,
    /// What the boots of cards showed: boot programs that were learned, and those of strangers that led to no report.
    pub boots: imbl::OrdMap<Mac, Arc<CardBoots>>,
    /// What the next network boots of machines lead to instead of what they are for.
    pub once: imbl::OrdMap<Name, Arc<BootOnce>>,
    /// The number of the last claim.
    pub last_claim: u64,
    /// What claims run, by key.
    pub prototypes: imbl::OrdMap<Arc<str>, Arc<Prototype>>,
    /// Deployments that choose their machine and have none, and since which number they wait.
    pub unplaced: imbl::OrdMap<Name, u64>,
    /// How long the daemon ran.
    pub ran: Ran,
    /// The wipes of the last hour.
    pub budget: Budget,
    /// Whether installations may be asked for without a person's word.
    pub trust: Trust,
    /// What the last revision had, also where that is not loaded.
    pub served: served::Record,
    /// The thresholds that it brought, by source.
    pub guards: Arc<Guards>,
    /// Machines under protection, remembered when their manifest goes.
    pub protected: imbl::OrdSet<Name>,
    /// Cards in no manifest whose machine was known by another mark.
    pub learned: imbl::HashMap<Mac, Name>,
    /// Machines whose mark two cards showed at a time: nobody is taken for them by a mark.
    pub contested: imbl::OrdMap<Name, Contest>,
    /// What is stored of the revision that is served.
    pub kept: Arc<Revision>,
    /// Saved plans that were applied, and the serials they were made for: each is good once.
    pub used_plans: imbl::OrdMap<Arc<str>, u64>,
    /// Deployments and machines of which a stored record does not fit its digest: what it said is not
    /// known, so that nothing is installed.
    pub damaged: imbl::OrdSet<Name>,
    pub leases: Leases,
    pub leases6: Leases6,
    /// The longest lease that may run; `None` where an earlier version did not note it.
    pub longest: Option<longest::Longest>,
    /// Effects that wait for their executors. Some kinds of them are not stored.
    pub outbox: Outbox,
    /// Tokens of the control API by name, those that have ended among them.
    pub tokens: imbl::OrdMap<Name, Arc<ApiToken>>,
}

/// What machines, controllers and the clock showed since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) seen: imbl::OrdMap<Mac, Seen>,
    /// How far the machines that boot now have come.
    pub(super) loops: looping::Loops,
    /// What installers said last of installations that have not ended, by their numbers.
    pub(super) progress: imbl::OrdMap<u64, Progress>,
    /// Boots that may show whether a boot program runs.
    pub(super) trials: imbl::OrdMap<Mac, Arc<Vec<learned::Trial>>>,
    /// The power states that the controllers of machines reported, by machine.
    pub(super) power: imbl::OrdMap<Name, PowerReading>,
    /// What became of orders about the power of machines.
    pub(super) power_log: power_order::Log,
    /// When controllers are asked next.
    pub(super) schedule: Arc<schedule::PowerSchedule>,
    /// What time it was when the clock was last looked at.
    pub(super) clock: Time,
}

/// What follows from the rest, and is made anew where that changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Derived {
    /// `assignments` the other way round.
    pub(super) tenants: imbl::OrdMap<Name, Name>,
    /// The boot that is served below a prefix.
    pub(super) prefixes: Arc<HashMap<Arc<str>, Name>>,
    /// Deployments that are to have an address of this host.
    pub(super) clashes: Arc<BTreeSet<(Name, IpAddr)>>,
    /// Reinstallations that wait for their turn.
    pub(super) gate: gate::Gate,
    /// What was rendered a moment ago, where it may be asked for again.
    pub(super) memo: Option<Arc<memo::Memo>>,
    /// The deployments that claims stand for: their pools' prototypes with their names and machines.
    pub(super) claimed: imbl::OrdMap<Name, Arc<Deployment>>,
    /// What claims run, by key, as far as it is loaded.
    pub(super) prototypes: imbl::OrdMap<Arc<str>, Arc<Deployment>>,
    /// How many claims run each.
    pub(super) running: imbl::OrdMap<Arc<str>, usize>,
    /// Who waits for a machine, by caller.
    pub(super) queues: imbl::OrdMap<Arc<str>, queue::Queue>,
    /// The epoch of the last machine that each caller got, as far as that is remembered.
    pub(super) given: imbl::OrdMap<Arc<str>, u64>,
    /// Claims by what named their requests.
    pub(super) keyed: imbl::HashMap<Arc<str>, Name>,
    /// How many machines of a pool are claimed.
    pub(super) held: imbl::OrdMap<Name, u32>,
    /// Claims that end by themselves, by when.
    pub(super) ends: imbl::OrdSet<(u64, Name)>,
    /// Machines that nobody has and nothing keeps from being claimed, whatever a pool asks for. Empty without pools.
    pub(super) free: imbl::OrdSet<Name>,
    /// Those of them that each pool may give out.
    pub(super) open: imbl::OrdMap<Name, imbl::OrdSet<Name>>,
    /// Those of them that deployments which wait were not compared with yet.
    pub(super) fresh: imbl::OrdSet<Name>,
    /// How many claims of a pool wait.
    pub(super) waits: imbl::OrdMap<Name, u32>,
    /// How many claims a caller has of a pool, those that wait among them.
    pub(super) asked: imbl::HashMap<(Name, Arc<str>), u32>,
    /// Deployments that wait for the machines that they are pinned to, by machine.
    pub(super) pins: imbl::OrdMap<Name, Name>,
    /// Machines by the disks that are in use on them.
    pub(super) owners: imbl::HashMap<Arc<str>, Name>,
    /// Machines that no revision declares, by their network cards.
    pub(super) found: imbl::HashMap<Mac, Name>,
    /// Machines that the clock changes something for.
    pub(super) watched: imbl::OrdSet<Name>,
}

impl Default for Lasting {
    fn default() -> Lasting {
        Lasting {
            lineage: Arc::default(),
            serials: Serials::default(),
            token_key: [0; 32].into(),
            installs: Installs::default(),
            assignments: imbl::OrdMap::new(),
            tenancies: imbl::OrdMap::new(),
            lives: imbl::OrdMap::new(),
            claims: imbl::OrdMap::new(),
            facts: imbl::OrdMap::new(),
            user_data: imbl::OrdMap::new(),
            certificates: imbl::OrdMap::new(),
            boots: imbl::OrdMap::new(),
            once: imbl::OrdMap::new(),
            last_claim: 0,
            prototypes: imbl::OrdMap::new(),
            unplaced: imbl::OrdMap::new(),
            ran: Ran::default(),
            budget: Budget::default(),
            trust: Trust::default(),
            served: served::Record::new(),
            guards: Arc::default(),
            protected: imbl::OrdSet::new(),
            learned: imbl::HashMap::new(),
            contested: imbl::OrdMap::new(),
            kept: Arc::default(),
            used_plans: imbl::OrdMap::new(),
            damaged: imbl::OrdSet::new(),
            leases: Leases::default(),
            leases6: Leases6::default(),
            longest: None,
            outbox: Outbox::default(),
            tokens: imbl::OrdMap::new(),
        }
    }
}

/// How a state begins. Simulated boots and tests begin with whatever they like; a state that an engine runs is
/// nobody's to exchange.
impl State {
    /// An empty state.
    pub fn new(server: Server) -> State {
        State {
            server: Arc::new(server),
            host: Arc::default(),
            desired: Arc::default(),
            secrets: Arc::default(),
            lasting: Lasting::default(),
            observed: Observed::default(),
            derived: Derived::default(),
        }
    }

    /// A state as it was when it was last stored; what is desired comes with the first revision.
    pub fn restored(server: Server, lasting: Lasting) -> State {
        let state = State { lasting, ..State::new(server) }.with_memo();
        let mut state = state.with_lasting(|_| {});
        state.index_all();
        state
    }

    /// The same with other lasting parts.
    pub fn with_lasting(mut self, change: impl FnOnce(&mut Lasting)) -> State {
        change(&mut self.lasting);
        let turned = |(deployment, machine): (&Name, &Name)| (machine.clone(), deployment.clone());
        self.derived.tenants = self.lasting.assignments.iter().map(turned).collect();
        self
    }

    /// Goes on with the leases of another simulated boot.
    pub fn put_leases(&mut self, leases: Leases, leases6: Leases6) {
        (self.lasting.leases, self.lasting.leases6) = (leases, leases6);
    }

    /// The same at another server.
    pub fn with_server(self, server: impl Into<Arc<Server>>) -> State {
        State { server: server.into(), ..self }
    }

    /// The same on a host with these addresses.
    pub fn with_host(self, host: BTreeSet<IpAddr>) -> State {
        State { host: Arc::new(host), ..self }
    }

    /// The same with other secrets.
    pub fn with_secrets(self, secrets: Secrets) -> State {
        State { secrets: Arc::new(secrets), ..self }
    }

    /// The same with `desired` in place of what it was, where nothing follows from it: no machine is assigned. A
    /// revision is taken over by [`State::adopt`].
    pub fn with_desired(mut self, desired: impl Into<Arc<Desired>>) -> State {
        self.desired = desired.into();
        let prefix = |boot: &Arc<crate::desired::Boot>| (boot.prefix.clone(), boot.name.clone());
        self.derived.prefixes = Arc::new(self.desired.boots.values().map(prefix).collect());
        self
    }

    /// The same where controllers are asked otherwise.
    pub fn with_pace(mut self, pace: schedule::Pace) -> State {
        self.observed.schedule = Arc::new(schedule::PowerSchedule::new(pace));
        self
    }

    /// The same with room for what is rendered, where it may be asked for again.
    pub fn with_memo(mut self) -> State {
        self.derived.memo = Some(Arc::default());
        self
    }
}

/// What it holds.
impl State {
    /// Minted when a daemon first starts on an empty state directory; binds saved plans.
    pub fn lineage(&self) -> &Arc<str> {
        &self.lasting.lineage
    }

    /// The number of this state: higher than that of every state before it.
    pub fn serial(&self) -> u64 {
        self.lasting.serials.desired + self.lasting.serials.machines
    }

    /// Key of the capability URLs.
    pub fn token_key(&self) -> &TokenKey {
        &self.lasting.token_key
    }

    /// What this daemon is to its clients.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Every address of this host, on whatever interface: none is ever given to a machine.
    pub fn host(&self) -> &Arc<BTreeSet<IpAddr>> {
        &self.host
    }

    /// What the revision that is served asks for.
    pub fn desired(&self) -> &Arc<Desired> {
        &self.desired
    }

    /// The secrets of that revision.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// All that is stored.
    pub fn lasting(&self) -> &Lasting {
        &self.lasting
    }

    /// Installations by machine. Kept when a deployment or a machine is removed: bringing it back must
    /// not wipe the machine.
    pub fn installs(&self) -> &Installs {
        &self.lasting.installs
    }

    /// Which machine a deployment has: pinned by the manifest or chosen for its `select`.
    pub fn assignments(&self) -> &imbl::OrdMap<Name, Name> {
        &self.lasting.assignments
    }

    /// Whether installations may be asked for without a person's word.
    pub fn trust(&self) -> &Trust {
        &self.lasting.trust
    }

    /// What the last revision had, also where that is not loaded.
    pub fn served(&self) -> &served::Record {
        &self.lasting.served
    }

    /// The thresholds that it brought, by source.
    pub fn guards(&self) -> &Guards {
        &self.lasting.guards
    }

    /// Machines under protection, remembered when their manifest goes.
    pub fn protected(&self) -> &imbl::OrdSet<Name> {
        &self.lasting.protected
    }

    /// Cards in no manifest whose machine was known by another mark.
    pub fn learned(&self) -> &imbl::HashMap<Mac, Name> {
        &self.lasting.learned
    }

    /// Machines whose mark two cards showed at a time: nobody is taken for them by a mark.
    pub fn contested(&self) -> &imbl::OrdMap<Name, Contest> {
        &self.lasting.contested
    }

    /// What is stored of the revision that is served.
    pub fn kept(&self) -> &Arc<Revision> {
        &self.lasting.kept
    }

    /// Saved plans that were applied, and the serials they were made for: each is good once.
    pub fn used_plans(&self) -> &imbl::OrdMap<Arc<str>, u64> {
        &self.lasting.used_plans
    }

    /// Deployments and machines of which a stored record does not fit its digest: what it said is not
    /// known, so that nothing is installed.
    pub fn damaged(&self) -> &imbl::OrdSet<Name> {
        &self.lasting.damaged
    }

    /// Leases of IPv4 addresses.
    pub fn leases(&self) -> &Leases {
        &self.lasting.leases
    }

    /// Leases of IPv6 addresses.
    pub fn leases6(&self) -> &Leases6 {
        &self.lasting.leases6
    }

    /// The longest lease that may run; `None` where an earlier version did not note it.
    pub fn longest(&self) -> Option<longest::Longest> {
        self.lasting.longest
    }

    /// Effects that wait for their executors.
    pub fn outbox(&self) -> &Outbox {
        &self.lasting.outbox
    }

    /// Tokens of the control API by name, those that have ended among them.
    pub fn api_tokens(&self) -> &imbl::OrdMap<Name, Arc<ApiToken>> {
        &self.lasting.tokens
    }

    /// When controllers are asked next.
    pub fn schedule(&self) -> &schedule::PowerSchedule {
        &self.observed.schedule
    }

    /// What the cards that spoke last said of their machines.
    pub fn seen(&self) -> &imbl::OrdMap<Mac, Seen> {
        &self.observed.seen
    }

    /// How far the machines that boot now have come.
    pub fn loops(&self) -> &looping::Loops {
        &self.observed.loops
    }

    /// What the installer of an installation said last, if it has not ended and said anything since the start.
    pub fn progress(&self, epoch: u64) -> Option<&Progress> {
        self.observed.progress.get(&epoch)
    }

    /// The power states that the controllers of machines reported, by machine.
    pub fn power(&self) -> &imbl::OrdMap<Name, PowerReading> {
        &self.observed.power
    }

    /// `assignments` the other way round.
    pub fn tenants(&self) -> &imbl::OrdMap<Name, Name> {
        &self.derived.tenants
    }

    /// What was rendered a moment ago, where it may be asked for again.
    pub fn memo(&self) -> Option<&memo::Memo> {
        self.derived.memo.as_deref()
    }
}
