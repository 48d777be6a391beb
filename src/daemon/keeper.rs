//! The only writer of the state: one thread, one queue, and no knowledge of what the commands mean. Each is
//! applied ([`apply`]); what must last is on disk before the new state is published and before any caller
//! has its answer; many commands share a commit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::counters::Counters;
use super::effect::Executors;
use super::neighbour_table::NeighbourTable;
use super::now;
use super::storage::{Health, Storage};
use super::throttle::FetchDedup;
use super::timeline::{Reader, Timeline};
use crate::model::{Name, Time};
use crate::state::command::Outcome;
use crate::state::{Command, Event, Server, Stage, State, Verb, trust};
use crate::store::{Committed, Damage, Engine, Ledger, LedgerError, Saved, Store};

/// Commands that wait for the keeper at most; more are refused, so that a storm can't eat memory.
const QUEUE_MAX: usize = 16_384;
/// Leases, events and other commands that share one commit at most, about.
const BATCH_MAX: usize = 2_048;
/// How often it is tried at most whether a ledger can be written again.
const PROBE: Duration = Duration::from_secs(1);
/// Longest wait of a request for what is being restored.
const RESTORE: Duration = Duration::from_secs(10);

/// A way to the keeper and to what it publishes; cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    queue: mpsc::Sender<Job>,
    published: Arc<ArcSwap<State>>,
    timeline: Reader,
    counters: Arc<Counters>,
    pub(super) dedup: Arc<FetchDedup>,
    pub(super) neighbours: NeighbourTable,
    writing: Arc<AtomicU64>,
    urgent: Urgent,
    storage: watch::Receiver<Storage>,
    outbox: watch::Receiver<()>,
    /// Whether what is served is known; right after a start it may have to be read first.
    restored: watch::Sender<bool>,
}

/// Commands that are never dropped: the newest of each machine or deployment, until it is stored.
type Urgent = Arc<Mutex<BTreeMap<Name, Command>>>;

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

/// Called with what became of a command once that is durable and published, or with why it is not.
type Done = Box<dyn FnOnce(Result<Outcome, KeeperError>) + Send>;

/// Makes a command of the state as it is then; `None` where there is nothing to be done.
type Decide = Box<dyn FnOnce(&State) -> Option<Command> + Send>;

enum Job {
    Apply(Command, Option<Done>),
    Decide(Decide, Done),
    Close,
}

impl Keeper {
    /// Starts the keeper on what a state directory held. It ends by [`Keeper::close`], or when the last handle
    /// is gone.
    pub fn spawn(store: Store, mut saved: Saved, server: Server) -> (Keeper, std::thread::JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let first = first_commands(&saved);
        let mut state = saved.state(server);
        saved.events.iter().for_each(|(_, event)| state.recall(event));
        let counters = Arc::new(Counters::new(store.lost_events()));
        let events = std::mem::take(&mut saved.events);
        let (timeline, reader) = Timeline::new(events, saved.next_event.max(1), counters.clone());
        let lasting = saved.damaged.into_iter().filter(Damage::lasts).collect();
        let (health, storage) = Health::new(lasting);
        let engine = Engine::new(store, state);
        let (executors, outbox) = Executors::new(counters.clone());
        let keeper = Keeper {
            queue,
            published: Arc::new(ArcSwap::new(engine.durable())),
            timeline: reader,
            counters,
            dedup: Arc::default(),
            neighbours: NeighbourTable::default(),
            writing: Arc::default(),
            urgent: Urgent::default(),
            storage,
            outbox,
            restored: watch::Sender::new(true),
        };
        let mut run = Run {
            engine,
            health,
            published: keeper.published.clone(),
            timeline,
            executors,
            answers: Vec::new(),
            writing: keeper.writing.clone(),
            urgent: keeper.urgent.clone(),
            probed: None,
            closed: false,
        };
        for command in first {
            run.take(Job::Apply(command, None));
        }
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || run.run(jobs))
            .expect("a thread can be started when the daemon starts");
        (keeper, thread)
    }

    pub fn state(&self) -> Arc<State> {
        self.published.load_full()
    }

    pub fn published(&self) -> Arc<ArcSwap<State>> {
        self.published.clone()
    }

    /// Sees how it stands with the state directory.
    pub fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.clone()
    }

    /// Changes when something was put into the outbox of the state or cancelled.
    pub fn outbox(&self) -> watch::Receiver<()> {
        self.outbox.clone()
    }

    /// From now on it is not known what is served, until [`Keeper::has_restored`].
    pub fn restores(&self) {
        self.restored.send_replace(false);
    }

    /// What was served when the daemon stopped is served again, or what the sources hold now took its place.
    pub fn has_restored(&self) {
        self.restored.send_replace(true);
    }

    pub fn is_restored(&self) -> bool {
        *self.restored.borrow()
    }

    /// Waits until it is known what is served: before that nothing can be said not to be there. False where that
    /// takes long.
    pub async fn restored(&self) -> bool {
        let mut restored = self.restored.subscribe();
        let known = async { restored.wait_for(|is_restored| *is_restored).await.is_ok() };
        tokio::time::timeout(RESTORE, known).await.unwrap_or(false)
    }

    /// What happened, as far as it is durable.
    pub fn timeline(&self) -> &Reader {
        &self.timeline
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Has a command carried out. `done` is called on the keeper's thread, or here and now where the keeper
    /// has too much to do.
    pub fn submit(&self, command: Command, done: impl FnOnce(Result<Outcome, KeeperError>) + Send + 'static) {
        if let Err(refused) = self.queue.try_send(Job::Apply(command, Some(Box::new(done))))
            && let Job::Apply(_, Some(done)) = refused.into_inner()
        {
            done(Err(KeeperError::Busy));
        }
    }

    /// Sends a command whose result no caller waits for. False where the keeper has too much to do: then it
    /// is lost.
    pub fn post(&self, command: Command) -> bool {
        self.queue.try_send(Job::Apply(command, None)).is_ok()
    }

    /// The same where it must not be lost, and waits for a place if it has to.
    pub async fn post_surely(&self, command: Command) {
        let _ = self.queue.send(Job::Apply(command, None)).await;
    }

    /// Has a command carried out with the next batch, whatever that is. It stays until it is stored, in the
    /// place of an earlier one about the same machine or deployment.
    pub fn insist(&self, about: Name, command: Command) {
        lock(&self.urgent).insert(about, command);
    }

    /// Has a command carried out, and waits for the outcome.
    pub async fn ask(&self, command: Command) -> Result<Outcome, KeeperError> {
        let (reply, answer) = oneshot::channel();
        self.submit(command, move |outcome| drop(reply.send(outcome)));
        outcome_of(answer.await)
    }

    /// The same for a command that would not be repeated: it waits for a place if it has to.
    pub async fn ask_surely(&self, command: Command) -> Result<Outcome, KeeperError> {
        let (reply, answer) = oneshot::channel();
        let done: Done = Box::new(move |outcome| drop(reply.send(outcome)));
        let sent = self.queue.send(Job::Apply(command, Some(done))).await;
        sent.map_err(|_| KeeperError::Busy)?;
        outcome_of(answer.await)
    }

    /// Has a command made of the state and carried out at once, with nothing in between; `Nothing` where none was
    /// made. Everybody waits for it: for what can't be decided beside the keeper.
    pub async fn decide(
        &self,
        decide: impl FnOnce(&State) -> Option<Command> + Send + 'static,
    ) -> Result<Outcome, KeeperError> {
        let (reply, answer) = oneshot::channel();
        let done: Done = Box::new(move |outcome| drop(reply.send(outcome)));
        let sent = self.queue.send(Job::Decide(Box::new(decide), done)).await;
        sent.map_err(|_| KeeperError::Busy)?;
        outcome_of(answer.await)
    }

    /// Whether the keeper still takes commands and answers.
    pub async fn ping(&self) -> bool {
        // A full queue is one that the keeper works on; that it ended is another matter.
        let busy = !self.queue.is_closed() && self.queue.capacity() == 0;
        busy || self.ask(Command::daemon(Verb::Nothing)).await.is_ok()
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
        let _ = self.queue.send(Job::Close).await;
    }
}

/// An answer that never came means that the keeper ended.
fn outcome_of(
    answer: Result<Result<Outcome, KeeperError>, oneshot::error::RecvError>,
) -> Result<Outcome, KeeperError> {
    match answer.unwrap_or(Err(KeeperError::Busy))? {
        Outcome::Refused(why) => Err(KeeperError::Refused(why)),
        outcome => Ok(outcome),
    }
}

/// What follows from how the state directory was found.
fn first_commands(saved: &Saved) -> Vec<Command> {
    let remarks = saved.remarks.iter().cloned().chain(saved.damaged.iter().map(Damage::to_string));
    let remarks: Vec<String> = remarks.collect();
    remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    let events: Vec<Event> =
        remarks.into_iter().map(|remark| Event::new(now(), Stage::Daemon, remark)).collect();
    let is_new = saved.new_site && saved.serial == 0;
    let trust = is_new.then(|| Verb::Remember(trust::NOTE.into(), saved.trust().note()));
    let events = (!events.is_empty()).then_some(Verb::Observe(events));
    trust.into_iter().chain(events).map(Command::daemon).collect()
}

/// The keeper's own side.
struct Run {
    engine: Engine<Store>,
    health: Health,
    published: Arc<ArcSwap<State>>,
    timeline: Timeline,
    executors: Executors,
    /// Outcomes that wait for the commit.
    answers: Vec<(Done, Outcome)>,
    /// When the commit began that is under way, in milliseconds; 0 without one.
    writing: Arc<AtomicU64>,
    urgent: Urgent,
    /// When it was last tried whether the ledger can be written again.
    probed: Option<Instant>,
    closed: bool,
}

impl Run {
    fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        while !self.closed
            && let Some(job) = jobs.blocking_recv()
        {
            let mut weight = self.take(job);
            while weight < BATCH_MAX
                && let Ok(job) = jobs.try_recv()
            {
                weight += self.take(job);
            }
            let urgent = std::mem::take(&mut *lock(&self.urgent));
            for command in urgent.values() {
                self.engine.apply(command.clone(), now());
            }
            if !self.finish() {
                let mut waiting = lock(&self.urgent);
                for (about, command) in urgent {
                    waiting.entry(about).or_insert(command);
                }
            }
        }
    }

    /// Carries a job out in memory. Says how much work it was.
    fn take(&mut self, job: Job) -> usize {
        let (command, done) = match job {
            Job::Apply(command, done) => (command, done),
            Job::Decide(decide, done) => {
                let command = decide(self.engine.state());
                (command.unwrap_or(Command::daemon(Verb::Nothing)), Some(done))
            }
            Job::Close => {
                self.closed = true;
                return 1;
            }
        };
        let weight = command.verb.weight();
        let outcome = self.engine.apply(command, now());
        self.answers.extend(done.map(|done| (done, outcome)));
        weight
    }

    /// Makes the batch last, shows it, and answers who waits. When it can't be written, nothing of it
    /// happened: events and their numbers are taken back with the rest.
    fn finish(&mut self) -> bool {
        let position = self.timeline.position();
        let written = self.write();
        let outcome = match written {
            Ok(Committed { events, effects }) => {
                self.published.store(self.engine.durable());
                self.health.settled(self.engine.state(), self.engine.records());
                self.engine.ledger_mut().add_events(&events);
                self.timeline.publish(events);
                self.executors.hand_out(effects);
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.health.stores(Some(why.clone()));
                self.timeline.go_back(position);
                Err(KeeperError::Store(why))
            }
        };
        for (done, reached) in self.answers.drain(..) {
            done(outcome.clone().map(|()| reached));
        }
        outcome.is_ok()
    }

    fn write(&mut self) -> Result<Committed, LedgerError> {
        self.writing.store(now().0, Ordering::Release);
        // A batch that is written proves only that it fitted; a probe shows when the trouble is over.
        if self.health.is_troubled() && self.probed.is_none_or(|at| at.elapsed() > PROBE) {
            self.probed = Some(Instant::now());
            if self.engine.ledger_mut().probe().is_ok() {
                self.health.stores(None);
            }
        }
        let written = self.engine.commit(|events| self.timeline.number(events));
        self.writing.store(0, Ordering::Release);
        written
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
