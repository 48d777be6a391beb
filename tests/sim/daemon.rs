//! The daemon without its sockets and threads: the pure rooms, and a keeper that stores before it
//! publishes, as `daemon::keeper` does. A crash leaves what was stored and nothing else.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::Desired;
use voldemort::model::{Content, Name, Time};
use voldemort::proto::dhcp::{self, Decision, Link};
use voldemort::proto::tree::{self, Answer, Asker, Method};
use voldemort::store::journal::frame;
use voldemort::store::record::{self, InstallRecord, ServedRecord};
use voldemort::table::{
    Event, Install, Installs, Lease, LeaseRequest, Leases, Permit, Report, Secrets, Served, Server, Stage,
    Table, Trust, Verdict,
};

/// How often a question is decided again over a newer table.
const ROUNDS: u8 = 3;

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

/// Of the journal.
const SALT: frame::Salt = [7; 16];

/// As on disk: the records that the real store writes.
#[derive(Clone, Default)]
pub struct Disk {
    /// Frames of the journal.
    leases: Vec<u8>,
    /// By machine: a list each.
    installs: BTreeMap<Name, Vec<u8>>,
    assignments: Vec<(Name, Name)>,
    served: Vec<(Name, Vec<u8>)>,
    trust: Trust,
}

#[derive(Default)]
struct Batch {
    leases: Vec<Lease>,
    installs: Vec<(Name, Arc<[Install]>)>,
    lists: bool,
    waiting: Vec<(Question, u8)>,
}

/// A process that runs.
struct Process {
    published: Table,
    next: Table,
    batch: Batch,
}

pub struct Daemon {
    disk: Disk,
    process: Option<Process>,
    pub desired: Arc<Desired>,
    server: Server,
    /// How often it was started.
    pub generation: u64,
}

impl Daemon {
    pub fn start(address: Ipv4Addr, desired: Arc<Desired>) -> Daemon {
        let server = Server::stand_in(address);
        let mut daemon = Daemon { disk: Disk::default(), process: None, desired, server, generation: 0 };
        daemon.restart();
        daemon
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The table that answers come from; none while it is down.
    pub fn table(&self) -> Option<&Table> {
        self.process.as_ref().map(|process| &process.published)
    }

    pub fn crash(&mut self) {
        self.process = None;
    }

    /// A backup.
    pub fn backup(&self) -> Disk {
        self.disk.clone()
    }

    /// It goes on with a backup, or with nothing: a state that knows less than the machines.
    pub fn lose(&mut self, backup: Option<Disk>) {
        self.crash();
        self.disk = backup.unwrap_or_default();
        self.start_with(Table::begin_restored);
    }

    /// A person agrees to whatever is doubtful, or says that the machines have their systems.
    pub fn settle(&mut self, verdict: Verdict) {
        let Some(process) = &mut self.process else { return };
        let names: Vec<Name> = process.next.doubtful().cloned().collect();
        let mut next = process.next.clone();
        next.settle_doubts(&names, verdict, Time(1));
        process.take_over(next);
        self.commit();
    }

    /// Reads what was stored and adopts the inventory.
    pub fn restart(&mut self) {
        self.start_with(|_| {});
    }

    fn start_with(&mut self, change: impl FnOnce(&mut Table)) {
        self.generation += 1;
        let mut leases = BTreeMap::new();
        frame::replay(&[frame::begin(&SALT, 1), self.disk.leases.clone()].concat(), &SALT, &mut leases)
            .unwrap();
        let tenant = |(deployment, machine): &(Name, Name)| (machine.clone(), deployment.clone());
        let table = Table {
            installs: self.installs(),
            served: self.served(),
            trust: self.disk.trust.clone(),
            assignments: self.disk.assignments.iter().cloned().collect(),
            tenants: self.disk.assignments.iter().map(tenant).collect(),
            leases: Leases::restore(leases.into_values()),
            secrets: Arc::new(Secrets::stand_in()),
            ..Table::new(self.server.clone())
        };
        let mut found = table.clone();
        change(&mut found);
        let mut next = found.adopt(self.desired.clone());
        next.trust.settle("");
        let mut process = Process { published: next.clone(), next: table, batch: Batch::default() };
        process.take_over(next);
        process.batch.lists = true;
        self.process = Some(process);
        self.commit();
    }

    /// Takes over another revision, at once.
    pub fn adopt(&mut self, desired: Arc<Desired>) {
        self.desired = desired;
        if let Some(process) = &mut self.process {
            let next = process.next.adopt(self.desired.clone());
            process.take_over(next);
            process.batch.lists = true;
        }
    }

    /// The installations, as they are on disk.
    pub fn installs(&self) -> Installs {
        let read = |bytes: &Vec<u8>| record::read::<Vec<InstallRecord>>(bytes).unwrap();
        let records = self.disk.installs.values().flat_map(read);
        records.map(|record| record.into_install(None).unwrap()).collect()
    }

    fn served(&self) -> voldemort::table::served::Record {
        let read = |bytes: &Vec<u8>| record::read::<ServedRecord>(bytes).unwrap().into_served().unwrap();
        self.disk.served.iter().map(|(name, bytes)| (name.clone(), Arc::new(read(bytes)))).collect()
    }

    /// The latest installation of a deployment, as it is on disk.
    pub fn install(&self, name: &Name) -> Option<Install> {
        let installs = self.installs();
        let own = installs.named(name).filter(|install| install.deployment == *name);
        own.max_by_key(|install| install.epoch).cloned()
    }

    /// The answer, if it needs nothing to be stored first; else the keeper has it in its queue.
    pub fn ask(&mut self, question: &Question, now: u64) -> Option<Told> {
        self.decide(question, now, 1)
    }

    fn decide(&mut self, question: &Question, now: u64, round: u8) -> Option<Told> {
        let process = self.process.as_mut()?;
        match &question.body {
            Body::Datagram(link, bytes) => match dhcp::handle(&process.published, link, Time(now), bytes) {
                Decision::Reply { bytes, events, .. } => {
                    events.into_iter().for_each(|event| process.note(event));
                    Some(Told::Datagram(bytes.into()))
                }
                Decision::Silence(_) => None,
                Decision::NeedLease(request, _) => {
                    process.lease(&request);
                    process.wait(question, round)
                }
            },
            Body::Fetch(asker, path) => {
                match tree::open(&process.published, asker, Method::Get, path, "") {
                    Answer::Serve(artifact) => {
                        let content = match &artifact.content {
                            Content::Bytes(bytes) => bytes.clone(),
                            Content::File { .. } => Bytes::new(),
                        };
                        process.note(Event {
                            mac: artifact.mac,
                            address: Some(asker.address),
                            deployment: artifact.deployment.clone(),
                            ..Event::new(Time(now), artifact.stage, artifact.text.clone())
                        });
                        Some(Told::File(artifact.stage, content))
                    }
                    Answer::Refuse(_) => Some(Told::Refused),
                    Answer::Permit(permit) => match process.permit(&permit, now) {
                        Ok(()) => process.wait(question, round),
                        Err(_) => Some(Told::Refused),
                    },
                    Answer::Identify => unreachable!("the cards of simulated machines are known"),
                    Answer::Report(report, _) => match process.report(&report, now) {
                        // The last round accepts: what it reports is stored by then.
                        Ok(()) if round > 1 => Some(Told::Accepted),
                        Ok(()) => process.wait(question, round),
                        Err(_) => Some(Told::Refused),
                    },
                }
            }
        }
    }

    /// Whether the keeper has something to write.
    pub fn is_due(&self) -> bool {
        let batch = self.process.as_ref().map(|process| &process.batch);
        batch.is_some_and(|batch| !batch.is_empty())
    }

    /// The batch reaches the disk. Nothing of it was told to anybody before.
    pub fn commit(&mut self) {
        let Some(process) = &self.process else { return };
        if !process.batch.leases.is_empty() {
            self.disk.leases.extend(frame::write(&SALT, 0, &process.batch.leases));
        }
        for (machine, list) in &process.batch.installs {
            let list: Vec<InstallRecord> = list.iter().map(InstallRecord::of).collect();
            self.disk.installs.insert(machine.clone(), record::write(&list));
        }
        if process.batch.lists {
            let pair = |(deployment, machine): (&Name, &Name)| (deployment.clone(), machine.clone());
            self.disk.trust = process.next.trust.clone();
            self.disk.assignments = process.next.assignments.iter().map(pair).collect();
            let served =
                |(name, one): (&Name, &Arc<Served>)| (name.clone(), record::write(&ServedRecord::of(one)));
            self.disk.served = process.next.served.iter().map(served).collect();
        }
    }

    /// The new table is shown, and who waited is answered over it.
    pub fn publish(&mut self, now: u64) -> Vec<(Question, Told)> {
        let Some(process) = &mut self.process else { return Vec::new() };
        process.published = process.next.clone();
        let waiting = std::mem::take(&mut process.batch).waiting;
        let told = waiting.into_iter().filter_map(|(question, round)| {
            let told = self.decide(&question, now, round + 1)?;
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
        let Some(process) = &mut self.process else { return };
        if !process.batch.lists {
            process.next = process.published.clone();
            process.batch = Batch::default();
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.installs.is_empty() && self.waiting.is_empty() && !self.lists
    }
}

impl Process {
    fn wait(&mut self, question: &Question, round: u8) -> Option<Told> {
        if round < ROUNDS {
            self.batch.waiting.push((question.clone(), round));
        }
        None
    }

    fn lease(&mut self, request: &LeaseRequest) {
        let outcome = self.next.lease(request);
        self.batch.leases.extend(outcome.changed);
    }

    fn permit(&mut self, permit: &Permit, now: u64) -> Result<(), String> {
        let next = self.next.permit(permit, Time(now)).map_err(|stale| stale.to_string())?;
        self.take_over(next);
        Ok(())
    }

    fn report(&mut self, report: &Report, now: u64) -> Result<(), String> {
        let next = self.next.report(report, Time(now)).map_err(|stale| stale.to_string())?;
        self.take_over(next);
        Ok(())
    }

    fn note(&mut self, event: Event) {
        self.next.fold(&event);
        if let (Stage::LocalBoot, Some(name)) = (event.stage, &event.deployment)
            && let Some(next) = self.next.rebooted(name, event.at)
        {
            self.take_over(next);
        }
    }

    fn take_over(&mut self, next: Table) {
        self.batch.installs.extend(self.next.installs.differences(&next.installs));
        self.next = next;
    }
}
