//! The daemon without its sockets, threads and files: the protocols, and the engine that stores before
//! anything is shown. A crash leaves what was stored and nothing else.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::Desired;
use voldemort::model::{Content, Name, Time};
use voldemort::proto::converse::{self, FileRequest, Opened, ROUNDS, Step, Wanted};
use voldemort::proto::dhcp::{self, Decision, Draft, Link};
use voldemort::proto::tree::{Asker, Method, Refusal, RefusalReason};
use voldemort::state::command::Outcome;
use voldemort::state::{
    Adoption, Command, Doubts, Event, Install, Installs, LeaseRequest, Record, Revision, Secrets, Server,
    SourceRevision, Stage, State, Verb, Verdict, trust,
};
use voldemort::store::memory::Memory;
use voldemort::store::{Engine, Ledger, LedgerError, Saved};

#[derive(Clone)]
pub enum Body {
    Datagram(Link, Vec<u8>),
    Fetch(Asker, String),
}

/// Something that was asked, and by whom.
#[derive(Clone)]
pub struct Question {
    pub client: usize,
    /// The client's own number for it.
    pub attempt: u64,
    /// When it was sent, in milliseconds.
    pub sent: u64,
    pub body: Body,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub enum Told {
    Datagram(Bytes),
    /// A file, and what the daemon takes it for; empty where its bytes do not matter.
    File(Stage, Bytes),
    Refused,
    Accepted,
}

/// A ledger in memory that may be full. What it holds survives the process.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    memory: Memory,
    is_full: bool,
}

impl Ledger for Disk {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        match self.is_full {
            true => Err(LedgerError(std::io::ErrorKind::StorageFull.into())),
            false => self.memory.append(records, next_event),
        }
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// A process that runs.
struct Process {
    engine: Engine<Disk>,
    published: State,
    /// Questions that wait for the commit.
    waiting: Vec<(Question, Waiting)>,
    /// Whether the batch that is due holds an adoption.
    adopts: bool,
    is_due: bool,
}

/// What a question waits for.
enum Waiting {
    Lease { request: LeaseRequest, draft: Option<Box<Draft>>, address: Option<Ipv4Addr>, round: u8 },
    File(FileRequest, Result<(), Refusal>),
}

pub struct Daemon {
    disk: Disk,
    process: Option<Process>,
    pub desired: Arc<Desired>,
    server: Server,
    /// How often it was started.
    pub generation: u64,
    /// What time it was last, in milliseconds.
    now: u64,
}

impl Daemon {
    pub fn start(address: Ipv4Addr, desired: Arc<Desired>) -> Daemon {
        let server = Server::stand_in(address);
        let mut daemon =
            Daemon { disk: Disk::default(), process: None, desired, server, generation: 0, now: 0 };
        daemon.restart();
        daemon
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The state that answers come from; none while it is down.
    pub fn table(&self) -> Option<&State> {
        self.process.as_ref().map(|process| &process.published)
    }

    pub fn crash(&mut self) {
        if let Some(process) = self.process.take() {
            self.disk = process.engine.into_ledger();
        }
    }

    /// A backup.
    pub fn backup(&self) -> Disk {
        self.process.as_ref().map_or(&self.disk, |process| process.engine.ledger()).clone()
    }

    /// It goes on with a backup, or with nothing: a state that knows less than the machines.
    pub fn lose(&mut self, backup: Option<Disk>) {
        self.crash();
        self.disk = backup.unwrap_or_default();
        self.disk.append(&[Record::Restored(true)], 0).expect("the disk has room");
        self.restart();
    }

    /// A person agrees to whatever is doubtful, or says that the machines have their systems.
    pub fn settle(&mut self, verdict: Verdict) {
        let all = Doubts { all: true, ..Doubts::default() };
        if let Some(process) = &mut self.process {
            process.apply(Command::daemon(Verb::Settle(all, verdict)), 1);
        }
        self.commit();
    }

    /// Reads what was stored and adopts the inventory.
    pub fn restart(&mut self) {
        self.crash();
        self.generation += 1;
        let saved = Saved { new_site: true, ..self.disk.memory.saved() };
        let is_new = saved.serial == 0 && !saved.restored;
        let table = saved.table(self.server.clone());
        let note = table.trust().note();
        let engine = Engine::new(std::mem::take(&mut self.disk), table.clone());
        let mut process =
            Process { engine, published: table, waiting: Vec::new(), adopts: false, is_due: false };
        if is_new {
            process.apply(Command::daemon(Verb::Remember(trust::NOTE.into(), note)), 0);
        }
        process.adopt(self.desired.clone(), self.now);
        process.published = process.engine.table().clone();
        self.process = Some(process);
        self.commit();
    }

    /// Takes over another revision, at once.
    pub fn adopt(&mut self, desired: Arc<Desired>) {
        self.desired = desired;
        if let Some(process) = &mut self.process {
            process.adopt(self.desired.clone(), self.now);
        }
    }

    /// The installations, as they are on disk.
    pub fn installs(&self) -> Installs {
        let disk = self.process.as_ref().map_or(&self.disk, |process| process.engine.ledger());
        disk.memory.saved().installs.into_iter().collect()
    }

    /// The latest installation of a deployment, as it is on disk.
    pub fn install(&self, name: &Name) -> Option<Install> {
        let installs = self.installs();
        let own = installs.named(name).filter(|install| install.deployment == *name);
        own.max_by_key(|install| install.epoch).cloned()
    }

    /// The answer, if it needs nothing to be stored first; else the keeper has it in its queue.
    pub fn ask(&mut self, question: &Question, now: u64) -> Option<Told> {
        self.now = now;
        let process = self.process.as_mut()?;
        match &question.body {
            Body::Datagram(link, bytes) => {
                let decision = dhcp::handle(&process.published, link, Time(now), bytes);
                process.decided(question, decision, now, 1)
            }
            Body::Fetch(asker, path) => process.file(question, FileRequest::default(), asker, path, now),
        }
    }

    /// Whether the keeper has something to write.
    pub fn is_due(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_due)
    }

    /// The batch reaches the disk. Nobody heard of it before.
    pub fn commit(&mut self) {
        if let Some(process) = &mut self.process {
            let numbered = |events: std::vec::Drain<Event>| events.map(|event| (0, event)).collect();
            process.engine.commit(numbered).expect("the disk has room");
            process.adopts = false;
        }
    }

    /// The new state is shown, and who waited is answered over it.
    pub fn publish(&mut self, now: u64) -> Vec<(Question, Told)> {
        let Some(process) = &mut self.process else { return Vec::new() };
        process.published = process.engine.table().clone();
        process.is_due = false;
        let waiting = std::mem::take(&mut process.waiting);
        let told = waiting.into_iter().filter_map(|(question, waiting)| {
            let told = process.stored(&question, waiting, now)?;
            Some((question, told))
        });
        told.collect()
    }

    /// Shows what a start or an adopted revision brought.
    pub fn publish_start(&mut self) {
        self.publish(0);
    }

    /// The disk is full: nothing of the batch happened, and who waited hears nothing.
    pub fn fail(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| !process.adopts) else { return };
        process.engine.ledger_mut().is_full = true;
        // Only where there is nothing to write it does not fail.
        let _ = process.engine.commit(|events| events.map(|event| (0, event)).collect());
        process.engine.ledger_mut().is_full = false;
        process.waiting.clear();
        process.is_due = false;
    }
}

impl Process {
    fn apply(&mut self, command: Command, now: u64) -> Outcome {
        self.is_due = true;
        self.engine.apply(command, Time(now))
    }

    fn adopt(&mut self, desired: Arc<Desired>, now: u64) {
        let kept = Revision::of_one(SourceRevision { settled: "dir@1".into(), ..SourceRevision::default() });
        let adoption = Adoption::new(self.engine.table(), desired, Arc::new(Secrets::stand_in()));
        let adoption = adoption.keeping(Some(Arc::new(kept)));
        assert_eq!(self.apply(Command::daemon(Verb::Adopt(Box::new(adoption))), now), Outcome::Done);
        self.adopts = true;
    }

    /// What follows from a decision about a datagram.
    fn decided(&mut self, question: &Question, decision: Decision, now: u64, round: u8) -> Option<Told> {
        match decision {
            Decision::Reply { bytes, events, .. } => {
                self.note(events, now);
                Some(Told::Datagram(bytes.into()))
            }
            Decision::NeedLease(request, draft) if round <= ROUNDS => {
                let verb = Verb::Lease(vec![request.clone()]);
                let address = match self.apply(Command::machine(verb), now) {
                    Outcome::Leased(addresses) => addresses[0],
                    other => panic!("a lease came to {other:?}"),
                };
                self.waiting.push((question.clone(), Waiting::Lease { request, draft, address, round }));
                None
            }
            Decision::NeedLease(..) | Decision::Silence(_) => None,
        }
    }

    fn file(
        &mut self,
        question: &Question,
        mut request: FileRequest,
        asker: &Asker,
        path: &str,
        now: u64,
    ) -> Option<Told> {
        match request.step(&self.published, asker, Wanted { method: Method::Get, path, note: "" }) {
            Step::Done(opened) => Some(self.opened(opened, asker, now)),
            Step::Identify => unreachable!("the cards of simulated machines are known"),
            Step::Store(verb) => {
                let stored = match self.apply(Command::machine(verb), now) {
                    Outcome::Refused(why) => Err(Refusal::new(RefusalReason::Gone, why)),
                    _ => Ok(()),
                };
                self.waiting.push((question.clone(), Waiting::File(request, stored)));
                None
            }
        }
    }

    /// What a question that waited is answered.
    fn stored(&mut self, question: &Question, waiting: Waiting, now: u64) -> Option<Told> {
        match (waiting, &question.body) {
            (Waiting::Lease { request, draft, address, round }, Body::Datagram(link, bytes)) => {
                let (at, table) = (request.at, &self.published);
                let decision = converse::leased(table, link, at, bytes, &request, draft, address);
                self.decided(question, decision, now, round + 1)
            }
            (Waiting::File(mut request, stored), Body::Fetch(asker, path)) => match request.stored(stored) {
                Some(opened) => Some(self.opened(opened, asker, now)),
                None => self.file(question, request, asker, path, now),
            },
            _ => unreachable!("a question stays what it is"),
        }
    }

    fn opened(&mut self, opened: Opened, asker: &Asker, now: u64) -> Told {
        let artifact = match opened {
            Opened::Serve(artifact) => artifact,
            Opened::Refuse(_) => return Told::Refused,
            Opened::Accepted(..) => return Told::Accepted,
        };
        let content = match &artifact.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::File { .. } => Bytes::new(),
        };
        let (address, deployment) = (Some(asker.address), artifact.deployment.clone());
        let event = Event::new(Time(now), artifact.stage, artifact.text.clone());
        self.note(vec![Event { mac: artifact.mac, address, deployment, ..event }], now);
        if let (Stage::LocalBoot, Some(name)) = (artifact.stage, artifact.deployment)
            && let Some(epoch) = self.published.install_of(&name).map(|install| install.epoch)
        {
            let verb = Verb::Reboot { deployment: name, epoch, at: Time(now) };
            self.apply(Command::machine(verb), now);
        }
        Told::File(artifact.stage, content)
    }

    /// Events alone are no reason to write.
    fn note(&mut self, events: Vec<Event>, now: u64) {
        self.engine.apply(Command::machine(Verb::Observe(events)), Time(now));
    }
}
