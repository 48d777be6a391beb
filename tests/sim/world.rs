//! The clock, the network, the crashes, and what must hold through all of it.

mod clients;
mod executors;
mod keeper;
mod strangers;
mod strangers6;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use voldemort::model::Mac;
use voldemort::proto::dhcp::{Link, Mode};
use voldemort::state::InstallStage;
use voldemort::state::outbox::EffectId;
use voldemort::walk::Route;
use voldemort::walk::client::Reply;

use super::daemon::{Body, Daemon, Question, Told};
use super::dice::Dice;
use super::effects::{Effects, Submission};
use super::inventory::{SOURCES, TEMPLATES, first, mac, machine_name};
use super::machine::{self, Act, Errand, Machine};
use super::medium::Medium;
use super::stranger::{self, Stranger};
use super::stranger6::{self, Stranger6};
use executors::{Attempt, Source};

/// Where the virtual clock begins, in milliseconds; nothing depends on it.
const START: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// A hall that is not done by then never will be.
const END: u64 = START + 24 * 60 * MINUTE;
/// When the numbers are raised.
const SECOND_WAVE: u64 = START + 2 * 60 * MINUTE;
const SERVER: &str = "http://10.0.0.1";
/// What goes wrong, in percent of the occasions.
#[derive(Clone, Copy)]
pub(crate) struct Trouble {
    /// Datagrams that are lost, that come twice, that are late by up to 3 seconds.
    pub loss: u64,
    pub copies: u64,
    pub late: u64,
    /// Commits at which the daemon dies, and at which the disk begins to fail.
    pub crash: u64,
    pub disk: u64,
    /// Failures of the disk that are lies: it says that it wrote, and did not.
    pub lies: u64,
    /// Machines that lose power while they install, and reports that are never made.
    pub power: u64,
    pub silent: u64,
    /// Work of executors that never ends, and that fails.
    pub hang: u64,
    /// Quarters of an hour in which a source goes away.
    pub away: u64,
}

impl Trouble {
    pub(crate) const NONE: Trouble = Trouble {
        loss: 0,
        copies: 0,
        late: 0,
        crash: 0,
        disk: 0,
        lies: 0,
        power: 0,
        silent: 0,
        hang: 0,
        away: 0,
    };
    pub(crate) const REAL: Trouble = Trouble {
        loss: 10,
        copies: 5,
        late: 5,
        crash: 1,
        disk: 1,
        lies: 0,
        power: 4,
        silent: 3,
        hang: 2,
        away: 20,
    };
    pub(crate) const LIES: Trouble = Trouble { lies: 40, ..Trouble::REAL };
}

/// Points at which the daemon may die: five in a batch, and when an executor has done its work.
const DEATHS: usize = 6;
/// The last of them.
const AFTER_WORK: usize = 5;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By where it died: before a batch was stored, before it was shown, before its effects, before an answer, after all;
    /// between an executor's work and the report of it.
    pub crashes: [u64; DEATHS],
    /// Starts that the disk did not allow, and batches that it did not store.
    pub refused: u64,
    pub failed: u64,
    /// Starts at which records were missing, and that said so.
    pub doubted: u64,
    /// Worlds that end since a disk that lies lost records and every trace of them.
    pub unnoticed: u64,
    pub lost: u64,
    /// Installations that ended with the power, to be asked for anew by a person.
    pub interrupted: u64,
    pub installed: u64,
    pub acknowledged: u64,
    pub acknowledged6: u64,
    /// Effects that were done or given up, and effects that a person cancelled.
    pub effects: u64,
    pub cancelled: u64,
    /// Revisions that were adopted while what another source has now was not known.
    pub in_part: u64,
    /// Events that were delivered, and commands that were applied: the steps.
    pub events: u64,
    pub commands: u64,
    /// Virtual time until the last machine was done.
    pub seconds: u64,
}

enum Item {
    Arrive(Question),
    Hear {
        client: usize,
        attempt: u64,
        sent: u64,
        generation: u64,
        told: Told,
    },
    Timer {
        client: usize,
        attempt: u64,
    },
    Commit {
        generation: u64,
    },
    Publish {
        generation: u64,
        dies: Option<usize>,
    },
    Restart,
    /// A revision that could not be stored is tried again.
    Adopt {
        generation: u64,
    },
    /// Somebody makes room on the disk.
    Mend,
    /// Somebody looks at what is doubtful, and at machines that are not what they are to be.
    Look,
    SecondWave,
    /// A webhook is called, once.
    Call {
        source: usize,
    },
    /// Somebody pushes to a source, and will do it again.
    Push {
        source: usize,
    },
    /// A source that was away is looked at again.
    Follow {
        source: usize,
    },
    /// A source goes away for a while, perhaps.
    Away,
    /// An executor submits a command, perhaps again.
    Submit {
        generation: u64,
        submission: Submission,
    },
    /// An executor has done its work.
    Worked {
        generation: u64,
        id: EffectId,
    },
    /// A person looks for effects to cancel.
    Cancel,
    /// The daemon's clock ticks.
    Tick,
}

enum Client {
    Machine(Box<Machine>),
    Stranger(Stranger),
    Stranger6(Stranger6),
}

pub(crate) struct World {
    now: u64,
    serial: u64,
    queue: BTreeMap<(u64, u64), Item>,
    dice: Dice,
    trouble: Trouble,
    daemon: Daemon,
    clients: Vec<Client>,
    by_mac: HashMap<Mac, usize>,
    /// Who believes to have which address, and until when.
    claims: BTreeMap<Ipv4Addr, (usize, u64)>,
    claims6: BTreeMap<Ipv6Addr, (usize, u64)>,
    effects: Effects,
    /// Calls of webhooks without an answer, by when they arrived.
    open_calls: BTreeMap<u64, usize>,
    /// What executors of the running daemon work on.
    attempts: BTreeMap<EffectId, Attempt>,
    sources: [Source; SOURCES.len()],
    commit_planned: bool,
    second_wave: bool,
    /// Whether the disk fails now, and whether it lied since the start.
    is_failing: bool,
    has_lied: bool,
    /// Whether the power failed since the last start.
    cut: bool,
    adoption_planned: bool,
    /// The numbers of the inventory, by machine.
    numbers: Vec<u64>,
    /// Answers of lives before this one may promise what is not known any more.
    lost_at: u64,
    tally: Tally,
}

impl World {
    /// A third as many strangers as machines come to the lab, and twenty to a far network with ten
    /// addresses.
    pub(crate) fn new(seed: u64, machines: u32, trouble: Trouble, medium: Medium) -> World {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let mut world = World {
            now: START,
            serial: 0,
            queue: BTreeMap::new(),
            dice: Dice::new(seed),
            trouble,
            daemon: Daemon::start(server, first(machines), medium),
            clients: Vec::new(),
            by_mac: HashMap::new(),
            claims: BTreeMap::new(),
            claims6: BTreeMap::new(),
            effects: Effects::default(),
            open_calls: BTreeMap::new(),
            attempts: BTreeMap::new(),
            sources: std::array::from_fn(|_| Source::new(&vec![1; machines as usize])),
            commit_planned: false,
            second_wave: false,
            is_failing: false,
            has_lied: false,
            cut: false,
            adoption_planned: false,
            numbers: vec![1; machines as usize],
            lost_at: 0,
            tally: Tally::default(),
        };
        for number in 0..machines {
            let route = Route::IPV4[world.dice.below(Route::IPV4.len() as u64) as usize];
            let (_, kind, _) = TEMPLATES[number as usize % TEMPLATES.len()];
            let name = machine_name(number).parse().unwrap();
            world.add(
                mac(0, number),
                Client::Machine(Box::new(Machine::new(name, mac(0, number), route, kind))),
            );
        }
        for number in 0..machines / 3 + 20 {
            let relay = (number < 20).then_some(Ipv4Addr::new(10, 9, 0, 1));
            world.add(mac(1, number), Client::Stranger(Stranger::new(mac(1, number), relay, server)));
        }
        for number in 0..machines / 6 + 20 {
            world.add(mac(2, number), Client::Stranger6(Stranger6::new(mac(2, number))));
        }
        let everybody = world.clients.len();
        for client in 0..everybody {
            let at = world.dice.below(5 * MINUTE);
            world.later(at, Item::Timer { client, attempt: 0 });
        }
        world.later(SECOND_WAVE - START, Item::SecondWave);
        world.begin_effects();
        world
    }

    fn begin_effects(&mut self) {
        for source in 0..SOURCES.len() {
            self.later(MINUTE, Item::Push { source });
        }
        self.later(10 * SECOND, Item::Tick);
        self.later(5 * MINUTE, Item::Cancel);
        self.later(5 * MINUTE, Item::Away);
    }

    fn add(&mut self, mac: Mac, client: Client) {
        self.by_mac.insert(mac, self.clients.len());
        self.clients.push(client);
    }

    fn later(&mut self, wait: u64, item: Item) {
        self.serial += 1;
        self.queue.insert((self.now + wait, self.serial), item);
    }

    /// Runs until every machine has what the inventory says.
    pub(crate) fn play(mut self) -> Tally {
        while let Some(((at, _), item)) = self.queue.pop_first() {
            assert!(at < END, "it never ends: {}", self.unfinished());
            self.now = at;
            self.tally.events += 1;
            self.happen(item);
            self.plan_commit();
            if self.tally.unnoticed > 0 || self.second_wave && self.is_done() {
                self.check_end();
                self.tally.seconds = (self.now - START) / SECOND;
                self.tally.commands = self.daemon.commands();
                return self.tally;
            }
        }
        panic!("nothing happens any more: {}", self.unfinished());
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Arrive(question) => {
                if let Some(told) = self.daemon.ask(&question, self.now) {
                    self.answer(question, told);
                }
            }
            Item::Hear { client, attempt, sent, generation, told } => {
                self.hear(client, attempt, sent, generation, &told);
            }
            Item::Timer { client, attempt } => self.timer(client, attempt),
            Item::Commit { generation } if generation == self.daemon.generation => self.commit(),
            Item::Publish { generation, dies } if generation == self.daemon.generation => self.publish(dies),
            Item::Adopt { generation } if generation == self.daemon.generation => self.adopt_again(),
            Item::Submit { generation, submission } if generation == self.daemon.generation => {
                self.submit_again(submission);
            }
            Item::Worked { generation, id } if generation == self.daemon.generation => self.worked(id),
            Item::Commit { .. }
            | Item::Publish { .. }
            | Item::Adopt { .. }
            | Item::Submit { .. }
            | Item::Worked { .. } => {}
            Item::Call { source } => self.call(source),
            Item::Push { source } => self.call_now_and_then(source),
            Item::Follow { source } => self.follow(source),
            Item::Away => self.lose_source(),
            Item::Cancel => self.cancel_some(),
            Item::Tick => self.tick(),
            Item::Mend => self.mend(),
            Item::Look => self.look(),
            Item::Restart => self.restart(),
            Item::SecondWave => self.raise(),
        }
    }

    // --- the network ------------------------------------------------------------------------

    fn link(&self) -> Link {
        Link {
            server: Ipv4Addr::new(10, 0, 0, 1),
            cidr: "10.0.0.0/16".parse().unwrap(),
            mode: Mode::Server,
            port: 67,
            source: "0.0.0.0:68".parse().unwrap(),
            broadcast: true,
        }
    }

    /// Carries something across; datagrams may be lost, doubled, late.
    fn carry(&mut self, datagram: bool, make: impl Fn() -> Item) {
        let copies = if datagram && self.dice.percent(self.trouble.copies) { 2 } else { 1 };
        for _ in 0..copies {
            if datagram && self.dice.percent(self.trouble.loss) {
                self.tally.lost += 1;
                continue;
            }
            let late = datagram && self.dice.percent(self.trouble.late);
            let wait = if late { self.dice.below(3 * SECOND) } else { self.dice.between(1, 20) };
            self.later(wait, make());
        }
    }

    fn answer(&mut self, question: Question, told: Told) {
        let datagram = is_datagram(&question.body);
        let generation = self.daemon.generation;
        let Question { client, attempt, sent, .. } = question;
        self.carry(datagram, || Item::Hear { client, attempt, sent, generation, told: told.clone() });
    }

    fn send(&mut self, client: usize, body: Body) {
        let attempt = self.attempt(client);
        let question = Question { client, attempt, sent: self.now, body };
        let datagram = is_datagram(&question.body);
        self.carry(datagram, || Item::Arrive(question.clone()));
        // Whoever gave its address back stays away until that can't arrive any more: a late RELEASE
        // would end the lease that it gets next, and no server could know.
        let gone = match &self.clients[client] {
            Client::Stranger(one) => one.state == stranger::State::Off,
            Client::Stranger6(one) => one.state == stranger6::State::Off,
            Client::Machine(_) => false,
        };
        let wait = if gone { 10 * SECOND } else { self.dice.between(2 * SECOND, 5 * SECOND) };
        self.later(wait, Item::Timer { client, attempt });
    }

    fn say(&mut self, client: usize, bytes: Vec<u8>, broadcast: bool) {
        let link = Link { broadcast, ..self.link() };
        self.send(client, Body::Datagram(link, bytes));
    }

    // --- the clients ------------------------------------------------------------------------

    fn attempt(&self, client: usize) -> u64 {
        match &self.clients[client] {
            Client::Machine(machine) => machine.attempt,
            Client::Stranger(stranger) => stranger.attempt,
            Client::Stranger6(stranger) => stranger.attempt,
        }
    }

    fn mac(&self, client: usize) -> Mac {
        match &self.clients[client] {
            Client::Machine(machine) => machine.mac,
            Client::Stranger(stranger) => stranger.mac,
            Client::Stranger6(stranger) => stranger.mac,
        }
    }

    // --- the end ----------------------------------------------------------------------------

    fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.clients.iter().filter_map(|client| match client {
            Client::Machine(machine) => Some(&**machine),
            Client::Stranger(_) | Client::Stranger6(_) => None,
        })
    }

    /// Whether a machine runs what the inventory asks for.
    fn is_installed(&self, machine: &Machine) -> bool {
        let wanted = self.daemon.desired.deployments[&machine.name].redeploy;
        machine.state == machine::State::Up && machine.installed == Some(wanted)
    }

    fn is_done(&self) -> bool {
        self.daemon.is_up()
            && self.sources.iter().all(Source::is_read)
            && self.machines().all(|machine| self.is_installed(machine))
    }

    /// Nothing that was promised is left out.
    fn check_end(&self) {
        if let Some(state) = self.daemon.state()
            && self.tally.unnoticed == 0
        {
            self.effects.check_calls(state);
        }
    }

    fn unfinished(&self) -> String {
        let left = self.machines().filter(|machine| !self.is_installed(machine)).map(|machine| {
            let Machine { name, route, state, installed, wipes, .. } = machine;
            format!(
                "{name} ({route}): {state:?}, {installed:?} of {wipes:?}, {:?}",
                self.daemon.install(name)
            )
        });
        left.collect::<Vec<_>>().join("\n")
    }
}

fn number(machine: &Machine) -> u32 {
    machine.name.as_str()[1..].parse().unwrap()
}

fn is_datagram(body: &Body) -> bool {
    use voldemort::proto::tree::Transport;
    match body {
        Body::Datagram(..) | Body::Datagram6(..) => true,
        Body::Fetch(asker, _) => asker.transport == Transport::Tftp,
    }
}
