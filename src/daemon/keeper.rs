//! The only writer of the table: one thread, one queue. What must last is on disk before the
//! new table is published and before anybody who waits is told; many requests share a commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::hush::{Echoes, Hush};
use super::now;
use super::tally::Tally;
use crate::desired::Desired;
use crate::media::Entry;
use crate::model::{Cidr, Mac, Name, PowerState, Time};
use crate::plan::{self, Consent, Hold, Plan};
use crate::store::{Batch, Damage, EVENTS_MAX, Kept, Lists, Saved, Store, StoreError};
use crate::table::lease::{LeaseOutcome, LeaseRequest};
use crate::table::longest::{self, Longest};
use crate::table::looping::Loops;
use crate::table::upkeep::{Changed, Freed};
use crate::table::{
    Contest, Doubts, Event, Install, InstallStage, Installs, Lease6Request, Leases, Leases6, Permit, Report,
    Secrets, Server, Stage, Table, Trust, Verdict, contest, trust,
};

/// Requests that wait for the keeper at most; more are refused, so that a storm can't eat memory.
const QUEUE_MAX: usize = 16_384;
/// Leases, events and other requests that share one commit at most, about.
const BATCH_MAX: usize = 2_048;
/// Saved plans that were applied and are remembered at most.
const USED_MAX: usize = 256;

/// A way to the keeper and to what it publishes; cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    queue: mpsc::Sender<Command>,
    tables: Arc<ArcSwap<Table>>,
    journal: Arc<Mutex<VecDeque<(u64, Event)>>>,
    latest: watch::Receiver<u64>,
    tally: Arc<Tally>,
    echoes: Arc<Echoes>,
    writing: Arc<AtomicU64>,
    reboots: Reboots,
    storage: watch::Receiver<Storage>,
}

/// How it stands with the state directory.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// Why batches can't be written, and since when.
    pub trouble: Option<(Arc<str>, Time)>,
    /// Records that are not believed, a sentence each, until somebody settles them.
    pub damaged: Arc<[String]>,
}

impl Storage {
    /// What is wrong, a sentence each; nothing where all is well.
    pub fn sentences(&self) -> Vec<String> {
        let trouble =
            self.trouble.iter().map(|(why, since)| format!("{why} (since {since}){}", way_out(why)));
        trouble.chain(self.damaged.iter().cloned()).collect()
    }
}

/// Deployments whose machines booted again after they got their answers: the epoch of the installation,
/// and when. Each is one entry at most and stays until it is stored: unlike events, none is lost under load.
type Reboots = Arc<Mutex<BTreeMap<Name, (u64, Time)>>>;

/// The keeper could not do it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KeeperError {
    #[error("too many requests are waiting")]
    Busy,
    #[error("{0}")]
    Refused(String),
    #[error("the state can't be written: {0}")]
    Store(String),
}

/// What became of a revision.
#[derive(Clone, Debug)]
pub enum Adopted {
    Applied(Plan),
    /// A safety rule stopped it; nothing was changed.
    Held(Plan, Vec<Hold>),
    /// The table is not the one that the plan was made for.
    Stale(Plan),
}

/// A revision to adopt.
pub struct Proposal {
    pub desired: Arc<Desired>,
    /// What it was made of, to be kept for the next start; `None` if that is where it comes from.
    pub kept: Option<Arc<Kept>>,
    pub secrets: Arc<Secrets>,
    pub consent: Consent,
    /// Lineage and serial the plan was made for; `None` adopts over whatever there is.
    pub expected: Option<(String, u64)>,
    /// The saved plan it is of, which is good once.
    pub plan: Option<Arc<str>>,
}

type Reply<T> = oneshot::Sender<Result<T, KeeperError>>;

/// Told the addresses of leases when they are stored; `None` for one that can't be had.
type Leased = Box<dyn FnOnce(Result<Vec<Option<Ipv4Addr>>, KeeperError>) + Send>;

/// Told when something is stored, or why it is not.
type Done = Box<dyn FnOnce(Result<(), KeeperError>) + Send>;

enum Command {
    Adopt(Box<Proposal>, Reply<Adopted>),
    Lease(Vec<LeaseRequest>, Leased),
    Lease6(Lease6Request, Reply<()>),
    Permit(Permit, Reply<()>),
    Report(Report, Reply<()>),
    Installed(Install, Reply<()>),
    Settle(Doubts, Verdict, Reply<Vec<Name>>),
    Note(Vec<Event>),
    Power(Name, Result<PowerState, Arc<str>>),
    Remember(&'static str, Vec<u8>, Reply<()>),
    Free(IpAddr, Reply<Option<Freed>>),
    Host(BTreeSet<IpAddr>),
    Loaders(BTreeMap<Box<str>, Entry>),
    Tick,
    Ping(Reply<()>),
    Networks(Vec<(Cidr, Ipv4Addr)>),
    Close,
}

impl Command {
    /// How much work it is, in leases and events.
    fn weight(&self) -> usize {
        match self {
            Command::Lease(requests, _) => requests.len(),
            Command::Note(events) => events.len(),
            _ => 1,
        }
    }
}

impl Keeper {
    /// Starts the keeper on what a state directory held. It ends when the last handle is gone.
    pub fn spawn(store: Store, mut saved: Saved, server: Server) -> (Keeper, std::thread::JoinHandle<()>) {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let table = table_of(&saved, server);
        let next = saved.next_event.max(1);
        let (announce, latest) = watch::channel(next - 1);
        let tables = Arc::new(ArcSwap::from_pointee(table.clone()));
        let damaged: Vec<Damage> = saved.damaged.iter().filter(|damage| damage.lasts()).cloned().collect();
        let remarks = saved.remarks.iter().cloned().chain(saved.damaged.iter().map(Damage::to_string));
        let remarks: Vec<String> = remarks.collect();
        let (store_state, storage) = watch::channel(Storage { trouble: None, damaged: sentences(&damaged) });
        let journal = Arc::new(Mutex::new(VecDeque::from(std::mem::take(&mut saved.events))));
        let tally = Arc::new(Tally::default());
        let writing = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            writing: writing.clone(),
            queue,
            tables: tables.clone(),
            journal: journal.clone(),
            latest,
            tally: tally.clone(),
            echoes: Arc::default(),
            reboots: Reboots::default(),
            storage,
        };
        let mut run = Run {
            store,
            storage: store_state,
            damaged,
            table,
            tables,
            journal,
            announce,
            next,
            hush: Hush::default(),
            loops: Loops::default(),
            tally,
            reboots: keeper.reboots.clone(),
            batch: Batch::default(),
            replies: Vec::new(),
            clock: now(),
            clashes: BTreeSet::new(),
            writing,
            closed: false,
        };
        if saved.new_site && saved.serial == 0 {
            run.batch.notes.push((trust::NOTE.into(), run.table.trust.note()));
        }
        for remark in remarks {
            tracing::warn!("{remark}");
            run.batch.events.push((run.next, Event::new(now(), Stage::Daemon, remark)));
            run.next += 1;
        }
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || run.run(requests))
            .expect("a thread can be started when the daemon starts");
        (keeper, thread)
    }

    pub fn table(&self) -> Arc<Table> {
        self.tables.load_full()
    }

    pub fn tables(&self) -> Arc<ArcSwap<Table>> {
        self.tables.clone()
    }

    /// Sees how it stands with the state directory.
    pub fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.clone()
    }

    /// Adopts a revision, when the keeper has time for it: nobody would ask again for one that was refused.
    pub async fn adopt(&self, proposal: Proposal) -> Result<Adopted, KeeperError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Adopt(Box::new(proposal), reply);
        self.queue.send(command).await.map_err(|_| KeeperError::Busy)?;
        answer.await.unwrap_or(Err(KeeperError::Busy))
    }

    /// Makes leases; `done` is told their addresses on the keeper's thread when they are stored and
    /// published, or here and now that it has too much to do.
    pub fn lease(
        &self,
        requests: Vec<LeaseRequest>,
        done: impl FnOnce(Result<Vec<Option<Ipv4Addr>>, KeeperError>) + Send + 'static,
    ) {
        let command = Command::Lease(requests, Box::new(done));
        if let Err(refused) = self.queue.try_send(command)
            && let Command::Lease(_, done) = refused.into_inner()
        {
            done(Err(KeeperError::Busy));
        }
    }

    pub async fn lease6(&self, request: Lease6Request) -> Result<(), KeeperError> {
        self.ask(|reply| Command::Lease6(request, reply)).await
    }

    pub async fn permit(&self, permit: Permit) -> Result<(), KeeperError> {
        self.ask(|reply| Command::Permit(permit, reply)).await
    }

    pub async fn report(&self, report: Report) -> Result<(), KeeperError> {
        self.ask(|reply| Command::Report(report, reply)).await
    }

    /// Stores a note of the daemon's own under a name, instead of an earlier one.
    pub async fn remember(&self, name: &'static str, note: Vec<u8>) -> Result<(), KeeperError> {
        self.ask(|reply| Command::Remember(name, note, reply)).await
    }

    /// Ends whatever keeps an address from others, as an operator wants it; `None` if nothing did.
    pub async fn free(&self, address: IpAddr) -> Result<Option<Freed>, KeeperError> {
        self.ask(|reply| Command::Free(address, reply)).await
    }

    /// Says which addresses this host has now; never waits. What is lost is said again by the next look.
    pub fn host(&self, addresses: BTreeSet<IpAddr>) {
        let _ = self.queue.try_send(Command::Host(addresses));
    }

    /// From now on these boot programs are served, by their names.
    pub fn loaders(&self, found: BTreeMap<Box<str>, Entry>) {
        // What is lost under load is found again at the next look.
        let _ = self.queue.try_send(Command::Loaders(found));
    }

    /// Whether the keeper still takes requests and answers.
    pub async fn ping(&self) -> bool {
        // A full queue is one that the keeper works on; that it ended is another matter.
        let busy = !self.queue.is_closed() && self.queue.capacity() == 0;
        busy || self.ask(Command::Ping).await.is_ok()
    }

    /// Since when it has been writing to the disk, if it does that now.
    pub fn writes_since(&self) -> Option<Time> {
        Some(self.writing.load(Ordering::Acquire)).filter(|since| *since != 0).map(Time)
    }

    /// Returns when the keeper has ended, which it does by [`Keeper::close`] or by a panic.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// Ends the keeper when everything before is stored.
    pub async fn close(&self) {
        let _ = self.queue.send(Command::Close).await;
    }

    /// Says which networks we have an address on besides the first.
    pub async fn networks(&self, others: Vec<(Cidr, Ipv4Addr)>) {
        let _ = self.queue.send(Command::Networks(others)).await;
    }

    /// Says that time went by: maintenance windows open and close.
    pub fn tick(&self) {
        let _ = self.queue.try_send(Command::Tick);
    }

    /// Settles doubtful installations; the answer names them.
    pub async fn settle_doubts(&self, doubts: Doubts, verdict: Verdict) -> Result<Vec<Name>, KeeperError> {
        self.ask(|reply| Command::Settle(doubts, verdict, reply)).await
    }

    /// Records an installation that was not ours, so that a deployment which is about to appear
    /// finds it. What is recorded already stays.
    pub async fn installed(&self, install: Install) -> Result<(), KeeperError> {
        self.ask(|reply| Command::Installed(install, reply)).await
    }

    /// Tells what happened; never waits. Under a flood events are lost before answers are.
    pub fn note(&self, event: Event) {
        self.note_all(vec![event]);
    }

    /// The same for many.
    pub fn note_all(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        events.iter().for_each(|event| self.tally.event(event.stage));
        events.iter().for_each(|event| self.note_reboot(event));
        let count = events.len() as u64;
        if self.queue.try_send(Command::Note(events)).is_err() {
            self.tally.lost(count);
        }
    }

    /// A machine that is told to boot its disk after it got its answers has not reported.
    fn note_reboot(&self, event: &Event) {
        let (Stage::LocalBoot, Some(name)) = (event.stage, &event.deployment) else { return };
        let table = self.tables.load();
        let spent = table.install_of(name).filter(|install| install.stage == InstallStage::Spent);
        if let Some(install) = spent {
            lock(&self.reboots).insert(name.clone(), (install.epoch, event.at));
        }
    }

    /// Tells what a machine's controller told of its power, or why it told nothing; never waits. What
    /// is lost because too much happens at once is told by the next reading.
    pub fn power(&self, machine: Name, state: Result<PowerState, Arc<str>>) {
        let _ = self.queue.try_send(Command::Power(machine, state));
    }

    /// Whether a fetch is one that was told a moment ago; then it is only counted.
    pub fn is_echo(&self, stage: Stage, address: IpAddr, text: &str) -> bool {
        let echo = self.echoes.hear(stage, address, text, now());
        if echo {
            self.tally.event(stage);
        }
        echo
    }

    /// What was counted since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Events after `sequence`, oldest first, at most `limit`; of one machine if `mac` is given. With
    /// the number of the oldest event that is kept, or of the next one where none is.
    pub fn events(&self, sequence: u64, mac: Option<Mac>, limit: usize) -> (u64, Vec<(u64, Event)>) {
        let journal = self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let oldest = journal.front().map_or(*self.latest.borrow() + 1, |(number, _)| *number);
        let first = journal.partition_point(|(number, _)| *number <= sequence);
        let wanted = |event: &Event| mac.is_none() || event.mac == mac;
        (oldest, journal.range(first..).filter(|(_, event)| wanted(event)).take(limit).cloned().collect())
    }

    /// Sees the number of the newest event.
    pub fn latest(&self) -> watch::Receiver<u64> {
        self.latest.clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, KeeperError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(command(reply)).map_err(|_| KeeperError::Busy)?;
        answer.await.unwrap_or(Err(KeeperError::Busy))
    }
}

/// The table as it was when the daemon stopped; what is desired comes with the first revision.
fn table_of(saved: &Saved, server: Server) -> Table {
    let guarding = saved.damaged.iter().filter(|damage| damage.guards_disks());
    let tenant = |(deployment, machine): &(Name, Name)| (machine.clone(), deployment.clone());
    let mut table = Table {
        lineage: saved.lineage.as_str().into(),
        serial: saved.serial,
        token_key: saved.token_key,
        installs: saved.installs.iter().cloned().collect(),
        assignments: saved.assignments.iter().cloned().collect(),
        tenants: saved.assignments.iter().map(tenant).collect(),
        trust: trust_of(saved),
        served: saved.served.iter().map(|(name, one)| (name.clone(), Arc::new(one.clone()))).collect(),
        protected: saved.protected.iter().cloned().collect(),
        learned: saved.cards.iter().cloned().collect(),
        contested: contest::of_note(saved.notes.get(contest::NOTE).map(Vec::as_slice)),
        longest: saved.notes.get(longest::NOTE).and_then(|note| Longest::of_note(note)),
        used_plans: saved.used.iter().map(|(id, serial)| (Arc::<str>::from(id.as_str()), *serial)).collect(),
        damaged: guarding.flat_map(Damage::subjects).collect(),
        leases: Leases::restore(saved.leases.iter().cloned()),
        leases6: Leases6::restore(saved.leases6.iter().cloned()),
        memo: Some(Arc::default()),
        ..Table::new(server)
    };
    if saved.restored {
        table.begin_restored();
    }
    table
}

/// A state whose serial was never raised has adopted nothing: it is new.
fn trust_of(saved: &Saved) -> Trust {
    let note = saved.notes.get(trust::NOTE).map(Vec::as_slice);
    let is_new = saved.serial == 0;
    match note {
        None if is_new && saved.new_site => Trust::default(),
        note => Trust::of_note(note, is_new),
    }
}

/// The keeper's own side.
struct Run {
    store: Store,
    storage: watch::Sender<Storage>,
    /// Records that are not believed, until somebody settles them.
    damaged: Vec<Damage>,
    table: Table,
    tables: Arc<ArcSwap<Table>>,
    journal: Arc<Mutex<VecDeque<(u64, Event)>>>,
    announce: watch::Sender<u64>,
    next: u64,
    hush: Hush,
    loops: Loops,
    tally: Arc<Tally>,
    reboots: Reboots,
    batch: Batch,
    /// Answers that wait for the commit; each is told how it ended.
    replies: Vec<Done>,
    /// What time it was when the clock was last looked at.
    clock: Time,
    /// Deployments that were told to have an address of this host.
    clashes: BTreeSet<(Name, IpAddr)>,
    /// When the commit began that is under way, in milliseconds; 0 without one.
    writing: Arc<AtomicU64>,
    closed: bool,
}

impl Run {
    fn run(&mut self, mut requests: mpsc::Receiver<Command>) {
        while !self.closed
            && let Some(command) = requests.blocking_recv()
        {
            let before = (self.table.clone(), self.next);
            let mut weight = command.weight();
            self.handle(command, now());
            while weight < BATCH_MAX
                && let Ok(command) = requests.try_recv()
            {
                weight += command.weight();
                self.handle(command, now());
            }
            let reboots = self.take_reboots();
            if !self.finish(before) {
                lock(&self.reboots).extend(reboots);
            }
        }
    }

    /// Puts the machines that booted again into the batch.
    fn take_reboots(&mut self) -> BTreeMap<Name, (u64, Time)> {
        let reboots = std::mem::take(&mut *lock(&self.reboots));
        for (name, (epoch, at)) in &reboots {
            let same = self.table.install_of(name).is_some_and(|install| install.epoch == *epoch);
            if same && let Some(next) = self.table.rebooted(name, *at) {
                let before = std::mem::replace(&mut self.table, next);
                self.installs_after(&before.installs);
            }
        }
        reboots
    }

    /// Makes the batch last, shows it, and tells who waits. When it can't be written, nothing
    /// of it happened: events and their numbers are taken back with the rest.
    fn finish(&mut self, before: (Table, u64)) -> bool {
        let batch = std::mem::take(&mut self.batch);
        self.writing.store(now().0, Ordering::Release);
        let outcome = if batch.is_empty() { Ok(()) } else { self.store.commit(&batch) };
        self.writing.store(0, Ordering::Release);
        let outcome = outcome.map_err(cause);
        match &outcome {
            Ok(()) => {
                self.tables.store(Arc::new(self.table.clone()));
                self.settled(&batch);
                self.publish(batch.events);
            }
            Err(why) => {
                self.stores(Some(why.clone()));
                (self.table, self.next) = before;
            }
        }
        for reply in self.replies.drain(..) {
            reply(outcome.clone().map_err(KeeperError::Store));
        }
        outcome.is_ok()
    }

    /// Forgets damage that something was put in the place of.
    fn settled(&mut self, batch: &Batch) {
        if self.damaged.is_empty() {
            return;
        }
        let table = &self.table;
        let is_open = |one: &Damage| one.subjects().any(|name| table.damaged.contains(&name));
        let before = self.damaged.len();
        self.damaged.retain(|one| if one.guards_disks() { is_open(one) } else { !one.is_replaced_by(batch) });
        if self.damaged.len() != before {
            let damaged = sentences(&self.damaged);
            self.storage.send_modify(|storage| storage.damaged = damaged);
        }
    }

    /// Says once that batches can't be written, or can again. A batch that is written proves only that
    /// it fitted; `Store::probe` tells when the trouble is over.
    fn stores(&mut self, trouble: Option<String>) {
        let trouble = trouble.map(|why| Arc::<str>::from(format!("can't store: {why}")));
        let known = self.storage.borrow().trouble.clone();
        match (&known, &trouble) {
            (None, None) => return,
            (Some((known, _)), Some(why)) if known == why => return,
            (_, Some(why)) => tracing::error!("{why}; nothing of this batch was done, and it is tried again"),
            (Some((why, since)), None) => {
                tracing::info!("the state can be written again (since {since}: {why})")
            }
        }
        let since = known.map_or_else(now, |(_, since)| since);
        self.storage.send_modify(|storage| storage.trouble = trouble.map(|why| (why, since)));
    }

    fn publish(&mut self, events: Vec<(u64, Event)>) {
        if events.is_empty() {
            return;
        }
        let mut journal = self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        journal.extend(events);
        let excess = journal.len().saturating_sub(EVENTS_MAX as usize);
        journal.drain(..excess);
        drop(journal);
        self.announce.send_replace(self.next - 1);
    }

    fn handle(&mut self, command: Command, now: Time) {
        match command {
            Command::Adopt(proposal, reply) => self.adopt(*proposal, now, reply),
            Command::Lease(requests, done) => self.lease(&requests, done),
            Command::Lease6(request, reply) => {
                let changed = self.table.lease6(&request);
                self.batch.leases6.extend(changed);
                self.later(reply, ());
            }
            Command::Permit(permit, reply) => {
                let before = self.table.installs.clone();
                let taken = self.table.take_step(&permit, now);
                self.installs_after(&before);
                self.settle(taken.map_err(|stale| stale.to_string()), reply);
            }
            Command::Report(report, reply) => self.report(&report, now, reply),
            Command::Installed(install, reply) => {
                let known = self.table.install_on(&install.machine, &install.deployment).is_some();
                if !known {
                    let before = self.table.installs.clone();
                    let epoch = before.next_epoch();
                    self.table.record_new(Install { epoch, ..install });
                    self.installs_after(&before);
                }
                self.later(reply, ());
            }
            Command::Settle(doubts, verdict, reply) => self.settle_doubts(&doubts, verdict, now, reply),
            Command::Note(events) => events.into_iter().for_each(|event| self.note(event)),
            Command::Power(machine, state) => self.power(&machine, state, now),
            Command::Remember(name, note, reply) => {
                self.batch.notes.push((name.into(), note));
                self.later(reply, ());
            }
            Command::Free(address, reply) => self.free(address, now, reply),
            Command::Host(addresses) => {
                self.table.host = Arc::new(addresses);
                self.warn_of_clashes(now);
            }
            Command::Loaders(loaders) => {
                let text = "boot programs were installed or upgraded: they are served as they are now";
                self.note(Event::new(now, Stage::Daemon, text));
                let server = Server { loaders, ..(*self.table.server).clone() };
                self.table.server = Arc::new(server);
            }
            Command::Tick => {
                self.table.tick(now);
                self.watch_clock(now);
                if self.storage.borrow().trouble.is_some() {
                    self.writing.store(now.0, Ordering::Release);
                    let tried = self.store.probe();
                    self.writing.store(0, Ordering::Release);
                    self.stores(tried.err().map(cause));
                }
            }
            Command::Ping(reply) => self.later(reply, ()),
            Command::Networks(others) if others != self.table.server.others => {
                Arc::make_mut(&mut self.table.server).others = others;
                // What was rendered names our addresses.
                self.table.memo = Some(Arc::default());
            }
            Command::Networks(_) => {}
            Command::Close => self.closed = true,
        }
    }

    fn adopt(&mut self, proposal: Proposal, now: Time, reply: Reply<Adopted>) {
        let Proposal { desired, kept, secrets, consent, expected, plan: saved_plan } = proposal;
        let plan = plan::diff(&desired, &self.table);
        if expected.is_some_and(|expected| expected != (plan.lineage.clone(), plan.serial)) {
            return self.later(reply, Adopted::Stale(plan));
        }
        // What is served as before the start was judged when it was adopted.
        let holds = match plan.from.is_empty() && kept.is_none() {
            true => Vec::new(),
            false => plan::hold(&plan, &desired.safety, &consent),
        };
        if !holds.is_empty() {
            return self.later(reply, Adopted::Held(plan, holds));
        }
        let next = Table { secrets, ..self.table.adopt(desired) };
        let former = std::mem::replace(&mut self.table, next);
        self.table.tick(now);
        self.limit_leases(&former, now);
        self.contests_after(&former.contested);
        self.warn_of_clashes(now);
        self.table.date_doubts(now);
        self.installs_after(&former.installs);
        self.settle_source(kept.as_deref());
        self.tell_doubts(&former, now);
        self.learn(&former.learned);
        self.batch.kept = kept;
        // A batch may hold several revisions: what the former ones changed is in it already.
        let lists = Lists::between(&former, &self.table);
        self.batch.lists.get_or_insert_default().extend(lists);
        self.batch.serial = Some(self.table.serial);
        if let Some(id) = saved_plan {
            self.use_up(id, plan.serial);
        }
        self.later(reply, Adopted::Applied(plan));
    }

    /// The clock may have been ahead when the leases of a subnet that is new here were stored.
    fn limit_leases(&mut self, former: &Table, now: Time) {
        // What an earlier version promised is not known, and stays.
        if self.table.longest.is_some() {
            let is_new = |subnet: &Name| !former.desired.subnets.contains_key(subnet);
            let changed = self.table.limit_leases(now, &is_new);
            self.store_leases(changed);
        }
        if self.table.note_longest(now)
            && let Some(longest) = self.table.longest
        {
            self.batch.notes.push((longest::NOTE.into(), longest.note()));
        }
    }

    /// Stores which marks nobody is believed by, where that is not as before.
    fn contests_after(&mut self, former: &imbl::OrdMap<Name, Contest>) {
        if !self.table.contested.ptr_eq(former) && self.table.contested != *former {
            self.batch.notes.push((contest::NOTE.into(), contest::note(&self.table.contested)));
        }
    }

    fn free(&mut self, address: IpAddr, now: Time, reply: Reply<Option<Freed>>) {
        let freed = self.table.free_address(address, now).map(|(freed, changed)| {
            self.store_leases(changed);
            freed
        });
        if let Some(Freed { mac, state, until, .. }) = freed {
            let text = format!("{address}, {state} ({mac}) until {until}, was freed by an operator");
            self.note(Event {
                mac: Some(mac),
                address: Some(address),
                ..Event::new(now, Stage::Daemon, text)
            });
        }
        self.later(reply, freed);
    }

    fn store_leases(&mut self, changed: Changed) {
        self.batch.leases.extend(changed.leases);
        self.batch.leases6.extend(changed.leases6);
    }

    /// A clock that is set back must not leave leases behind that last until it would have been.
    fn watch_clock(&mut self, now: Time) {
        let before = std::mem::replace(&mut self.clock, now);
        if now >= before {
            return;
        }
        let changed = self.table.limit_leases(now, &|_| true);
        let text = format!(
            "the clock was set back by {} s: {} leases end earlier",
            before.since(now).as_seconds(),
            changed.leases.len() + changed.leases6.len()
        );
        self.store_leases(changed);
        self.note(Event::new(now, Stage::Daemon, text));
    }

    /// Tells once of each deployment whose address is one of this host.
    fn warn_of_clashes(&mut self, now: Time) {
        let clashes = self.table.host_clashes();
        let clashes: BTreeSet<(Name, IpAddr)> =
            clashes.into_iter().map(|(deployment, address)| (deployment.name.clone(), address)).collect();
        let before = std::mem::replace(&mut self.clashes, clashes);
        for (name, address) in self.clashes.difference(&before).cloned().collect::<Vec<_>>() {
            let text = format!(
                "{address} of deployment {name} is an address of this host: it is given to no machine; \
                 give the deployment another address"
            );
            tracing::warn!("{text}");
            let event = Event::new(now, Stage::Daemon, text);
            self.note(Event { address: Some(address), deployment: Some(name), ..event });
        }
    }

    /// The first revision of a source was adopted: what it asks for later is not doubtful.
    fn settle_source(&mut self, kept: Option<&Kept>) {
        let scope = self.table.desired.safety.scope.clone();
        let source = trust::source_in(&scope);
        // A tree that was applied by hand before the source was read is none of its revisions.
        let read = kept.is_some_and(|kept| match source {
            "" => !kept.source.is_empty(),
            _ => kept
                .source
                .split(' ')
                .any(|word| word.strip_prefix(&*scope).is_some_and(|revision| !revision.is_empty())),
        });
        if read && self.table.trust.settle(source) {
            self.batch.notes.push((trust::NOTE.into(), self.table.trust.note()));
            // Those that `begin_restored` made doubtful must last before the flag goes.
            self.batch.installs.extend(Installs::default().differences(&self.table.installs));
            self.batch.restored = Some(false);
        }
    }

    /// An event for the installations that became doubtful.
    fn tell_doubts(&mut self, former: &Table, now: Time) {
        let known: BTreeSet<&Name> = former.doubtful().collect();
        let new: Vec<String> =
            self.table.doubtful().filter(|name| !known.contains(name)).map(ToString::to_string).collect();
        if new.is_empty() {
            return;
        }
        let shown = new.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
        let more = if new.len() > 20 { format!(" and {} more", new.len() - 20) } else { String::new() };
        let text = format!(
            "{} installations are doubtful, their machines boot their disks: {shown}{more}; settle them with \
             `voldemortctl approve installs` or `voldemortctl adopt`",
            new.len()
        );
        self.note(Event::new(now, Stage::Daemon, text));
    }

    /// A saved plan is good once. The oldest are forgotten: the table's serial has left them behind.
    fn use_up(&mut self, id: Arc<str>, serial: u64) {
        self.batch.used.push((id.to_string(), Some(serial)));
        self.table.used_plans.insert(id, serial);
        if self.table.used_plans.len() > USED_MAX
            && let Some(oldest) = self.table.used_plans.iter().min_by_key(|(_, serial)| **serial)
        {
            let oldest = oldest.0.clone();
            self.table.used_plans.remove(&oldest);
            self.batch.used.push((oldest.to_string(), None));
        }
    }

    fn lease(&mut self, requests: &[LeaseRequest], done: Leased) {
        let mut addresses = Vec::with_capacity(requests.len());
        for request in requests {
            let LeaseOutcome { address, changed } = self.table.lease(request);
            self.batch.leases.extend(changed);
            addresses.push(address);
        }
        self.replies.push(Box::new(|outcome| done(outcome.map(|()| addresses))));
    }

    fn report(&mut self, report: &Report, now: Time, reply: Reply<()>) {
        let stage = match report.outcome {
            crate::table::Outcome::Progress => Stage::Progress,
            crate::table::Outcome::Completed => Stage::Completed,
            crate::table::Outcome::Failed => Stage::Failed,
        };
        let before = self.table.installs.clone();
        let taken = self.table.take_report(report, now).map_err(|stale| stale.to_string());
        self.installs_after(&before);
        if taken.is_ok() {
            let machine = self.table.assignments.get(&report.deployment);
            let machine = machine.and_then(|machine| self.table.desired.machines.get(machine));
            self.note(Event {
                mac: machine.and_then(|machine| self.table.active_mac(machine)),
                address: None,
                deployment: Some(report.deployment.clone()),
                ..Event::new(now, stage, report.note.clone())
            });
        }
        self.settle(taken, reply);
    }

    fn settle_doubts(&mut self, doubts: &Doubts, verdict: Verdict, now: Time, reply: Reply<Vec<Name>>) {
        let names = match self.table.doubts(doubts) {
            Ok(names) => names,
            Err(reason) => {
                let refused = move |_| drop(reply.send(Err(KeeperError::Refused(reason))));
                return self.replies.push(Box::new(refused));
            }
        };
        let before = self.table.installs.clone();
        self.table.settle_doubts(&names, verdict, now);
        self.installs_after(&before);
        let text = match verdict {
            Verdict::Install => "was doubtful; a person approved the installation",
            Verdict::Keep => "was doubtful; a person said that the machine has its system",
        };
        for name in &names {
            let machine = self.table.assignments.get(name);
            let machine = machine.and_then(|machine| self.table.desired.machines.get(machine));
            let mac = machine.and_then(|machine| self.table.active_mac(machine));
            self.note(Event { mac, deployment: Some(name.clone()), ..Event::new(now, Stage::Daemon, text) });
        }
        self.later(reply, names);
    }

    fn settle(&mut self, outcome: Result<(), String>, reply: Reply<()>) {
        match outcome {
            Ok(()) => self.later(reply, ()),
            Err(reason) => {
                self.replies.push(Box::new(move |_| drop(reply.send(Err(KeeperError::Refused(reason))))))
            }
        }
    }

    /// Takes what differs from `before` into the batch.
    fn installs_after(&mut self, before: &Installs) {
        let changed = before.differences(&self.table.installs);
        if !changed.is_empty() {
            self.batch.installs.extend(changed);
            self.batch.serial = Some(self.table.serial);
        }
    }

    fn note(&mut self, event: Event) {
        if self.hush.is_repeated(&event) {
            return;
        }
        let learned = self.table.learned.clone();
        let contested = self.table.contested.clone();
        let told = self.table.fold(&event);
        self.learn(&learned);
        self.contests_after(&contested);
        if let Some(told) = told {
            tracing::warn!("{}", told.text);
            self.note(told);
        }
        if self.hush.is_flood(&event) {
            self.tally.lost(1);
            if let Some(notice) = self.hush.notice(event.at) {
                self.note(notice);
            }
            return;
        }
        log(&event);
        let stuck = self.loops.see(&event);
        self.batch.events.push((self.next, event));
        self.next += 1;
        if let Some(stuck) = stuck {
            self.tally.event(Stage::Stuck);
            self.note(stuck);
        }
    }

    /// Stores which cards were learned, moved or forgotten since.
    fn learn(&mut self, before: &imbl::HashMap<Mac, Name>) {
        let now = &self.table.learned;
        if now.ptr_eq(before) {
            return;
        }
        let forgotten = before.keys().filter(|mac| !now.contains_key(*mac));
        self.batch.cards.extend(forgotten.map(|mac| (*mac, None)));
        let new = now.iter().filter(|(mac, machine)| before.get(*mac) != Some(*machine));
        self.batch.cards.extend(new.map(|(mac, machine)| (*mac, Some(machine.clone()))));
    }

    fn power(&mut self, machine: &Name, state: Result<PowerState, Arc<str>>, now: Time) {
        let before = self.table.power.get(machine).map(|reading| reading.state.clone());
        if !self.table.power_read(machine, state.clone(), now) {
            return;
        }
        match (before, state) {
            (Some(Ok(was)), Ok(is)) => tracing::info!("{machine} is {is}, and was {was}"),
            (_, Ok(is)) => tracing::info!("{machine} is {is}"),
            (_, Err(why)) => tracing::warn!("the power of {machine} is not known: {why}"),
        }
    }

    fn later<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        self.replies.push(Box::new(move |outcome| drop(reply.send(outcome.map(|()| value)))));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Why a batch could not be written, without the sentence that `KeeperError::Store` begins with too.
fn cause(error: StoreError) -> String {
    match error {
        StoreError::Write(cause) => cause,
        other => other.to_string(),
    }
}

/// What a person can do about it.
fn way_out(why: &str) -> &'static str {
    let known = [
        (
            "Read-only file system",
            "; make the file system of the state directory writable: this goes on by itself then. One that has to be \
             unmounted for a repair needs the daemon to be stopped before and started after it",
        ),
        (
            "No space left",
            "; make room on the file system of the state directory: this goes on by itself then",
        ),
        (
            "Disk quota exceeded",
            "; raise the quota of the state directory's user: this goes on by itself then",
        ),
        ("Input/output error", "; the disk of the state directory fails: see the kernel's log"),
    ];
    known.iter().find(|(cause, _)| why.contains(cause)).map_or("", |(_, way)| way)
}

fn sentences(damaged: &[Damage]) -> Arc<[String]> {
    damaged.iter().map(Damage::to_string).collect()
}

fn log(event: &Event) {
    let Event { stage, mac, address, deployment, text, .. } = event;
    let mac = mac.map(tracing::field::display);
    let address = address.map(tracing::field::display);
    let deployment = deployment.as_ref().map(tracing::field::display);
    match stage {
        Stage::Stuck => tracing::warn!(mac, address, deployment, "{stage}: {text}"),
        // One line each would be hundreds a second while a rack boots; the timeline has them.
        Stage::Offer | Stage::Ack | Stage::Silence => {
            tracing::debug!(mac, address, deployment, "{stage}: {text}")
        }
        _ => tracing::info!(mac, address, deployment, "{stage}: {text}"),
    }
}
