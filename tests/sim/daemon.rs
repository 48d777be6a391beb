//! The daemon without its sockets and threads: the protocols, and the engine that stores before anything is shown.
//! A crash leaves what was stored, and of the batch that was being stored all or nothing.

mod process;

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::Desired;
use voldemort::model::{Content, Name, Span, Time};
use voldemort::proto::converse::{self, FileRequest, Opened, ROUNDS, Step, Wanted};
use voldemort::proto::dhcp::{self, Decision, Draft, Link};
use voldemort::proto::dhcp6;
use voldemort::proto::tree::{Asker, Method, Refusal, RefusalReason};
use voldemort::state::command::Outcome;
use voldemort::state::effect::Effect;
use voldemort::state::outbox::Pending;
use voldemort::state::revision::Composition;
use voldemort::state::schedule::Pace;
use voldemort::state::{
    Adoption, Command, Doubts, Event, Install, InstallStage, Installs, Lease, LeaseRequest, LeaseState,
    Leases, Outbox, Record, Revision, Secrets, Server, SourceRevision, Stage, State, Verb, Verdict, trust,
};
use voldemort::store::faulty::{Faults, Found};
use voldemort::store::{Committed, Engine, Ledger, Saved};

use super::effects::Submission;
use super::inventory::SOURCES;
use super::medium::{End, Medium, Open};

#[derive(Clone)]
pub(crate) enum Body {
    Datagram(Link, Vec<u8>),
    Datagram6(dhcp6::Link, Vec<u8>),
    Fetch(Asker, String),
}

/// Something that was asked, and by whom.
#[derive(Clone)]
pub(crate) struct Question {
    pub client: usize,
    /// The client's own number for it.
    pub attempt: u64,
    /// When it was sent, in milliseconds.
    pub sent: u64,
    pub body: Body,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Datagram(Bytes),
    /// The same of DHCPv6.
    Datagram6(Bytes),
    /// A file, and what the daemon takes it for; empty where its bytes do not matter.
    File(Stage, Bytes),
    Refused,
    Accepted,
}

/// A process that runs.
struct Process {
    engine: Engine<Open>,
    published: State,
    /// What was stored last, and is to be published.
    stored: State,
    effects: Vec<Effect>,
    /// Questions that wait for the commit.
    waiting: Vec<(Question, Waiting)>,
    /// Questions whose commit is done.
    answered: Vec<(Question, Waiting)>,
    /// Commands that wait for the commit, or whose commit is done, with their outcomes.
    submitted: Vec<(Submission, Outcome)>,
    stored_submissions: Vec<(Submission, Outcome)>,
    /// Commands that could not be stored.
    unstored: Vec<Submission>,
    is_due: bool,
    /// Since when batches could not be stored, or when it was last tried whether they can, in milliseconds.
    troubled: Option<u64>,
    commands: u64,
}

/// What a question waits for.
enum Waiting {
    Lease { request: LeaseRequest, draft: Option<Box<Draft>>, address: Option<Ipv4Addr>, round: u8 },
    Lease6 { round: u8 },
    File(FileRequest, Result<(), Refusal>),
}

pub(crate) struct Daemon {
    /// What the records lie on while it is down.
    medium: Medium,
    process: Option<Process>,
    pub desired: Arc<Desired>,
    server: Server,
    /// How often it was started.
    pub generation: u64,
    /// What time it was last, in milliseconds.
    now: u64,
    /// What a start may find: what was stored last, and batches that failed since. Empty where anything may be.
    may: Vec<State>,
    /// How the records were found at the last start.
    pub found: Found,
    /// Whether records were damaged at the last start, or differ from all that it may find, unnoticed.
    pub is_damaged: bool,
    pub is_other: bool,
    /// How each state that it may have found differs from what it found.
    pub differences: Vec<String>,
    /// Commands that were applied by processes of before.
    commands: u64,
}

impl Daemon {
    pub(crate) fn start(address: Ipv4Addr, desired: Arc<Desired>, medium: Medium) -> Daemon {
        let mut daemon = Daemon {
            medium,
            process: None,
            desired,
            server: Server::stand_in(address),
            generation: 0,
            now: 0,
            may: Vec::new(),
            found: Found::Whole,
            is_damaged: false,
            is_other: false,
            differences: Vec::new(),
            commands: 0,
        };
        assert!(daemon.restart() && daemon.is_adopted(), "the first start");
        daemon
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Commands that were applied so far.
    pub(crate) fn commands(&self) -> u64 {
        self.commands + self.process.as_ref().map_or(0, |process| process.commands)
    }

    /// The state that answers come from; none while it is down.
    pub(crate) fn state(&self) -> Option<&State> {
        self.process.as_ref().map(|process| &process.published)
    }

    /// Whether the inventory is what it serves: that could not be stored otherwise.
    pub(crate) fn is_adopted(&self) -> bool {
        self.state().is_some_and(|state| Arc::ptr_eq(state.desired(), &self.desired))
    }

    /// It is killed, or the power fails, in turn.
    pub(crate) fn crash(&mut self) {
        let end = if self.generation.is_multiple_of(2) { End::Killed } else { End::PowerCut };
        self.crash_by(end, self.generation.wrapping_mul(0x9e37_79b9));
    }

    pub(crate) fn crash_by(&mut self, end: End, chance: u64) {
        if let Some(process) = self.process.take() {
            self.commands += process.commands;
            self.medium = process.engine.into_ledger().after(end, chance);
        }
    }

    /// It dies, and is started again: all that was acknowledged is there.
    pub(crate) fn again(&mut self) {
        self.crash();
        assert!(self.restart(), "the disk can be read");
        let is_whole = self.found == Found::Whole && !self.is_damaged && !self.is_other;
        assert!(is_whole, "{:?}, {}: {:?}", self.found, self.is_damaged, self.differences);
    }

    /// What goes wrong with the disk from now on.
    pub(crate) fn set(&mut self, faults: Faults) {
        match &mut self.process {
            Some(process) => process.engine.ledger_mut().set(faults),
            None => self.medium.set(faults),
        }
    }

    /// How long it has written to the disk, in milliseconds.
    pub(crate) fn waited(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.engine.ledger().waited())
    }

    /// A backup.
    pub(crate) fn backup(&self) -> Medium {
        self.process.as_ref().map_or(self.medium.clone(), |process| process.engine.ledger().backup())
    }

    /// It goes on with a backup, or with nothing: a state that knows less than the machines.
    pub(crate) fn lose(&mut self, backup: Option<Medium>) {
        self.crash();
        self.medium = backup.unwrap_or(Medium::memory());
        self.may.clear();
        let (mut open, saved, _) = self.medium.open().expect("the disk can be read");
        let effects = saved.effects.iter().map(|pending| Record::Effect(pending.id, None));
        let records: Vec<Record> = effects.chain([Record::Restored(true)]).collect();
        open.append(&records, 0).expect("the disk has room");
        self.medium = open.after(End::Killed, 0);
        assert!(self.restart(), "a backup can be read");
    }

    /// A person agrees to whatever is doubtful, or says that the machines have their systems.
    pub(crate) fn settle(&mut self, verdict: Verdict) {
        let all = Doubts { all: true, ..Doubts::default() };
        if let Some(process) = &mut self.process {
            process.apply(Command::daemon(Verb::Settle(all, verdict)), 1);
        }
        self.commit(1);
    }

    /// The machines whose records are damaged have their systems, a person says.
    pub(crate) fn keep_damaged(&mut self) {
        let now = self.now;
        let Some(process) = &mut self.process else { return };
        let state = process.engine.state().clone();
        for name in state.damaged() {
            let machine = state.assignments().get(name).and_then(|name| state.desired().machines.get(name));
            if let Some((deployment, machine)) = state.desired().deployments.get(name).zip(machine) {
                let install = Install::new(machine, deployment, InstallStage::Installed, Time(now));
                process.apply(Command::daemon(Verb::Installed(Box::new(install))), now);
            }
        }
        self.commit(now);
    }

    /// Reads what was stored and adopts the inventory. False where the disk does not let it start.
    pub(crate) fn restart(&mut self) -> bool {
        self.crash();
        let Ok((open, saved, found)) = self.medium.open() else { return false };
        self.generation += 1;
        let pace = Pace { interval: Span::seconds(600), ..Pace::default() };
        let saved = Saved { new_site: true, pace, ..saved };
        let is_new = saved.serial == 0 && !saved.restored;
        let state = saved.state(self.server.clone());
        (self.found, self.is_damaged) = (found, !saved.damaged.is_empty());
        let differ: Vec<String> = self.may.iter().map(|one| differences(one, &state)).collect();
        let is_one = differ.is_empty() || differ.iter().any(String::is_empty);
        self.is_other = found == Found::Whole && !self.is_damaged && !is_one;
        self.differences = differ;
        let note = state.trust().note();
        let mut process = Process {
            engine: Engine::new(open, state.clone()),
            published: state.clone(),
            stored: state.clone(),
            effects: Vec::new(),
            waiting: Vec::new(),
            answered: Vec::new(),
            submitted: Vec::new(),
            stored_submissions: Vec::new(),
            unstored: Vec::new(),
            is_due: false,
            troubled: None,
            commands: 0,
        };
        if is_new {
            process.apply(Command::daemon(Verb::Remember(trust::NOTE.into(), note)), 0);
        }
        if !self.is_other {
            self.may = vec![state];
        }
        self.process = Some(process);
        self.adopt_again();
        true
    }

    /// Adopts the inventory, stores that and shows it.
    pub(crate) fn adopt_again(&mut self) {
        if let Some(process) = &mut self.process {
            process.adopt(self.desired.clone(), self.now);
        }
        if self.commit(self.now) {
            self.publish_start();
        }
    }

    /// Takes over another revision, at once.
    pub(crate) fn adopt(&mut self, desired: Arc<Desired>) {
        self.desired = desired;
        if let Some(process) = &mut self.process {
            process.adopt(self.desired.clone(), self.now);
        }
    }

    /// The installations, as they are on disk.
    pub(crate) fn installs(&self) -> Installs {
        self.may.first().map_or_else(Installs::default, |stored| stored.installs().clone())
    }

    /// The latest installation of a deployment, as it is on disk.
    pub(crate) fn install(&self, name: &Name) -> Option<Install> {
        let installs = self.installs();
        let own = installs.named(name).filter(|install| install.deployment == *name);
        own.max_by_key(|install| install.epoch).cloned()
    }

    /// The answer, if it needs nothing to be stored first; else the keeper has it in its queue.
    pub(crate) fn ask(&mut self, question: &Question, now: u64) -> Option<Told> {
        self.now = now;
        let process = self.process.as_mut()?;
        match &question.body {
            Body::Datagram(link, bytes) => {
                let decision = dhcp::handle(&process.published, link, Time(now), bytes);
                process.decided(question, decision, now, 1)
            }
            Body::Datagram6(link, bytes) => process.datagram6(question, link, bytes, now, 1),
            Body::Fetch(asker, path) => process.file(question, FileRequest::default(), asker, path, now),
        }
    }

    /// Gives the keeper a command. Its outcome is among the stored ones when it may be known.
    pub(crate) fn submit(&mut self, submission: Submission, now: u64) {
        if let Some(process) = &mut self.process {
            let outcome = process.apply(submission.command(), now);
            process.submitted.push((submission, outcome));
        }
    }

    /// Commands with outcomes that may be known now.
    pub(crate) fn stored(&mut self) -> Vec<(Submission, Outcome)> {
        self.process.as_mut().map_or(Vec::new(), |process| std::mem::take(&mut process.stored_submissions))
    }

    /// Commands that could not be stored.
    pub(crate) fn unstored(&mut self) -> Vec<Submission> {
        self.process.as_mut().map_or(Vec::new(), |process| std::mem::take(&mut process.unstored))
    }

    /// What was stored last; none while it is down.
    pub(crate) fn durable(&self) -> Option<&State> {
        self.process.as_ref().map(|process| &process.stored)
    }

    /// Time goes by.
    pub(crate) fn tick(&mut self, now: u64) {
        if let Some(process) = &mut self.process {
            self.now = now;
            process.apply(Command::daemon(Verb::Tick), now);
        }
    }

    /// Whether the keeper has something to write.
    pub(crate) fn is_due(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_due)
    }

    /// The batch reaches the disk. Nobody heard of it before. False where it could not be stored: then nothing of
    /// it happened, and who waited hears nothing.
    pub(crate) fn commit(&mut self, now: u64) -> bool {
        let Some(process) = &mut self.process else { return false };
        if process.troubled.is_some_and(|since| since + 1000 < now) {
            process.troubled = process.engine.ledger_mut().probe().is_err().then_some(now);
        }
        process.is_due = false;
        let next = process.engine.state().clone();
        let number = |events: std::vec::Drain<Event>| events.map(|event| (0, event)).collect();
        match process.engine.commit(number) {
            Ok(Committed { effects, .. }) => {
                process.effects.extend(effects);
                process.answered.append(&mut process.waiting);
                process.stored_submissions.append(&mut process.submitted);
                process.stored = next.clone();
                // Without records nothing is written: what failed before may still lie there.
                if !process.engine.records().is_empty() {
                    self.may.clear();
                }
                match self.may.first_mut() {
                    Some(stored) => *stored = next,
                    None => self.may.push(next),
                }
                true
            }
            Err(_) => {
                process.troubled = process.troubled.or(Some(now));
                process.waiting.clear();
                process.unstored.extend(process.submitted.drain(..).map(|(submission, _)| submission));
                self.may.push(next);
                false
            }
        }
    }

    /// What was stored is shown.
    pub(crate) fn show(&mut self) {
        if let Some(process) = &mut self.process {
            process.published = process.stored.clone();
        }
    }

    /// The next effect of what was stored.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        let effects = &mut self.process.as_mut()?.effects;
        (!effects.is_empty()).then(|| effects.remove(0))
    }

    /// Who waited is answered over the state that is shown.
    pub(crate) fn replies(&mut self, now: u64) -> Vec<(Question, Told)> {
        let Some(process) = &mut self.process else { return Vec::new() };
        let answered = std::mem::take(&mut process.answered);
        let told = answered.into_iter().filter_map(|(question, waiting)| {
            let told = process.stored(&question, waiting, now)?;
            Some((question, told))
        });
        told.collect()
    }

    /// The new state is shown, effects are carried out, and who waited is answered.
    pub(crate) fn publish(&mut self, now: u64) -> Vec<(Question, Told)> {
        self.show();
        while self.effect().is_some() {}
        self.replies(now)
    }

    /// Shows what a start or an adopted revision brought.
    pub(crate) fn publish_start(&mut self) {
        self.publish(0);
    }

    /// The disk is full: nothing of the batch happened, and who waited hears nothing.
    pub(crate) fn fail(&mut self) {
        self.set(Faults { room: Some(0), ..Faults::default() });
        // There may be room for a little.
        if self.commit(self.now) {
            self.show();
        }
        self.set(Faults::default());
        if let Some(process) = &mut self.process {
            process.answered.clear();
        }
    }
}

/// What differs between what two states are to last with.
fn differences(one: &State, other: &State) -> String {
    let (one, other) = (one.lasting(), other.lasting());
    let stored = |leases: &Leases| -> Vec<Lease> {
        leases.iter().filter(|lease| lease.state != LeaseState::Offered).cloned().collect()
    };
    let mut found = Vec::new();
    let mut compare = |what: &str, is_same: bool| found.extend((!is_same).then(|| what.to_owned()));
    compare("installs", one.installs.iter().eq(other.installs.iter()));
    compare("assignments", one.assignments == other.assignments);
    compare("tenancies", one.tenancies == other.tenancies);
    compare("protected", one.protected == other.protected);
    compare("served", one.served == other.served);
    compare("learned", one.learned == other.learned);
    compare("contested", one.contested == other.contested);
    compare("used plans", one.used_plans == other.used_plans);
    compare("trust", one.trust == other.trust);
    compare("IPv6 leases", one.leases6.iter().eq(other.leases6.iter()));
    compare("revision", one.kept == other.kept);
    let effects = |outbox: &Outbox| -> Vec<Pending> {
        let stored = outbox.iter().filter(|pending| pending.task.kind().is_stored());
        stored.map(|pending| Pending { trouble: None, ..(**pending).clone() }).collect()
    };
    compare("effects", effects(&one.outbox) == effects(&other.outbox));
    let (one, other) = (stored(&one.leases), stored(&other.leases));
    let only = |one: &[Lease], other: &[Lease]| -> Vec<String> {
        one.iter().filter(|lease| !other.contains(lease)).map(|lease| format!("{lease:?}")).collect()
    };
    if one != other {
        found.push(format!("leases {:?} instead of {:?}", only(&other, &one), only(&one, &other)));
    }
    found.join(", ")
}
