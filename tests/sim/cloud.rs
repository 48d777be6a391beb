//! Machines as a cloud, in one thread: claims, releases and wipes over machines with an agent and controllers of the
//! simulation's own. Messages are lost, doubled and late; agents and machines die at each step; controllers lie, are
//! slow or dead; the daemon dies between any two steps of its work, and its clock jumps; revisions come and go. Its disk
//! is full, tears what is written to it, and is slow.
//!
//! `SIM_SEED`, `SIM_RUNS` and `SIM_METAL` make other and larger ones.

mod hall;
mod machines;
mod metal;
mod people;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use voldemort::desired::{Deployment, Desired};
use voldemort::model::{By, Caller, Name, Role, Time, Token};
use voldemort::state::command::Outcome;
use voldemort::state::effect::Effect;
use voldemort::state::outbox::{EffectId, Pending};
use voldemort::state::prototype::LoadedPrototypes;
use voldemort::state::{Adoption, Command, PermitStep, Secrets, Server, State, Verb};
use voldemort::store::Ledger;
use voldemort::store::engine::{Committed, Engine};
use voldemort::store::faulty::Faults;

use super::dice::Dice;
use super::medium::{End, Medium, Open};
use super::number;
use hall::inventory;
use metal::{Content, Controller, Metal, Runs};
use rules::Rules;

const START: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const MAX_WIPES: u32 = 12;

enum Item {
    /// A machine asks the network what to boot.
    Boot {
        machine: usize,
        boot: u64,
    },
    /// The agent on a machine asks what to do, or has done it.
    Agent {
        machine: usize,
        boot: u64,
        did: Did,
    },
    /// The installer on a machine goes on.
    Install {
        machine: usize,
        boot: u64,
        step: u8,
    },
    /// A message arrives, perhaps not for the first time.
    Arrive(Command),
    Commit {
        generation: u64,
    },
    /// A controller is done with a task.
    Controlled {
        id: EffectId,
        machine: usize,
        acts: bool,
    },
    Person,
    Tick,
    Revision,
    Restart,
    /// Something goes wrong with the disk, and ends.
    Disk,
    DiskWell,
}

#[derive(Clone, Copy, PartialEq)]
enum Did {
    Nothing,
    Wiped,
    Verified,
}

struct Cloud {
    now: u64,
    /// What the daemon's clock is ahead, in milliseconds, to and fro.
    skew: i64,
    serial: u64,
    steps: u64,
    queue: BTreeMap<(u64, u64), Item>,
    dice: Dice,
    /// Whether anything goes wrong.
    is_trouble: bool,
    generation: u64,
    engine: Option<Engine<Open>>,
    medium: Medium,
    desired: Arc<Desired>,
    all: Arc<Desired>,
    metal: Vec<Metal>,
    by_name: BTreeMap<Name, usize>,
    /// Commands of the batch that is not stored.
    batch: Vec<(Command, Outcome)>,
    is_planned: bool,
    /// Messages of before, to be sent again.
    past: Vec<Command>,
    started: BTreeSet<EffectId>,
    rules: Rules,
    /// What claims were made from, as their stored manifests would say it.
    prototypes: BTreeMap<Arc<str>, Arc<Deployment>>,
    crashes: u64,
    /// How long a write takes at most, in milliseconds, and how many failed.
    slow: u64,
    unstored: u64,
}

fn caller(number: u64) -> Caller {
    let name = format!("user{number}").parse().unwrap();
    Caller { by: By::Token(Token::Named(name)), role: Role::Admin }
}

impl Cloud {
    fn new(seed: u64, count: usize, medium: Medium) -> Cloud {
        let fails = matches!(medium, Medium::Disk(_));
        let desired = Arc::new(inventory(count));
        let mut dice = Dice::new(seed);
        let metal = desired.machines.values().enumerate().map(|(number, machine)| {
            let disks = match number % 40 {
                7 => 0,
                9 => 30,
                _ => 1 + number % 2,
            };
            // Two disks with one number, and a disk that another machine has as well.
            let id = |disk: usize| match number % 40 {
                11 => format!("twice-{number}"),
                13 => format!("shared-{}", number / 80),
                _ => format!("{number}-{disk}"),
            };
            let content = if dice.percent(15) { Content::Foreign } else { Content::Blank };
            let disks =
                (0..disks.max(usize::from(number % 40 == 11) * 2)).map(|disk| (id(disk).into(), content));
            let controller = match dice.below(10) {
                0 => Controller::Liar,
                1 => Controller::Slow,
                2 => Controller::Dead,
                _ => Controller::Good,
            };
            let (name, card) = (machine.name.clone(), machine.macs[0]);
            Metal { name, card, disks: disks.collect(), runs: Runs::Nothing, controller, boot: 0 }
        });
        let metal: Vec<Metal> = metal.collect();
        let by_name = metal.iter().enumerate().map(|(at, metal)| (metal.name.clone(), at)).collect();
        let mut cloud = Cloud {
            now: START,
            skew: 0,
            serial: 0,
            steps: 0,
            queue: BTreeMap::new(),
            dice,
            is_trouble: true,
            generation: 0,
            engine: None,
            medium,
            all: desired.clone(),
            desired,
            metal,
            by_name,
            batch: Vec::new(),
            is_planned: false,
            past: Vec::new(),
            started: BTreeSet::new(),
            rules: Rules::default(),
            prototypes: BTreeMap::new(),
            crashes: 0,
            slow: 20,
            unstored: 0,
        };
        cloud.start();
        if fails {
            cloud.later(20 * MINUTE, Item::Disk);
        }
        for machine in 0..cloud.metal.len() {
            // Somebody had our agent look at most of them.
            let wait = cloud.dice.below(30 * MINUTE);
            cloud.later(wait, Item::Agent { machine, boot: 0, did: Did::Nothing });
            cloud.metal[machine].runs = Runs::Agent(0);
        }
        cloud.later(MINUTE, Item::Person);
        cloud.later(MINUTE, Item::Tick);
        cloud.later(HOUR, Item::Revision);
        cloud
    }

    fn later(&mut self, wait: u64, item: Item) {
        self.serial += 1;
        self.queue.insert((self.now + wait, self.serial), item);
    }

    fn clock(&self) -> Time {
        Time(self.now.saturating_add_signed(self.skew))
    }

    fn state(&self) -> Option<Arc<State>> {
        self.engine.as_ref().map(Engine::durable)
    }

    /// The daemon starts over what its ledger holds.
    fn start(&mut self) {
        let (open, saved, _) = self.medium.open().unwrap();
        let state = saved.state(Server::stand_in([10, 0, 0, 1].into()));
        self.engine = Some(Engine::new(open, state));
        self.generation += 1;
        (self.is_planned, self.started) = (false, BTreeSet::new());
        self.load_prototypes();
        self.adopt();
        self.commit();
        // It may have died again meanwhile.
        let Some(state) = self.state() else { return };
        let open: Vec<Arc<Pending>> = state.outbox().iter().cloned().collect();
        open.into_iter().for_each(|pending| self.control(&pending));
    }

    /// Open claims run what they were made with, whatever their pools are now.
    fn load_prototypes(&mut self) {
        let now = self.clock();
        let Some(engine) = &mut self.engine else { return };
        let found = engine.state().missing_prototypes().into_iter();
        let prototypes = found.map(|(key, _)| (key.clone(), self.prototypes[&key].clone())).collect();
        let loaded = LoadedPrototypes { prototypes, secrets: Secrets::stand_in() };
        engine.apply(Command::daemon(Verb::Prototypes(loaded.into())), now);
    }

    fn crash(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        self.crashes += 1;
        let end = if self.crashes.is_multiple_of(2) { End::Killed } else { End::PowerCut };
        self.medium = engine.into_ledger().after(end, self.dice.below(u64::MAX));
        self.slow = 20;
        self.batch.clear();
        let wait = self.dice.between(SECOND, 5 * MINUTE);
        self.later(wait, Item::Restart);
    }

    fn adopt(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let adoption = Adoption::new(engine.state(), self.desired.clone(), Arc::new(Secrets::stand_in()));
        let now = Time(self.now.saturating_add_signed(self.skew));
        let outcome = engine.apply(Command::daemon(Verb::Adopt(Box::new(adoption))), now);
        assert_eq!(outcome, Outcome::Done);
    }

    /// Sends a command, which may be lost, late and doubled.
    fn send(&mut self, command: Command) {
        if self.is_trouble && matches!(command.verb, Verb::Agent(_) | Verb::Permit(_) | Verb::Report(_)) {
            if self.past.len() < 4000 {
                self.past.push(command.clone());
            } else {
                let at = self.dice.below(4000) as usize;
                self.past[at] = command.clone();
            }
            if self.dice.percent(10) {
                return;
            }
            if self.dice.percent(8) {
                let wait = self.dice.below(20 * MINUTE);
                self.later(wait, Item::Arrive(command.clone()));
            }
            if self.dice.percent(3) {
                let at = self.dice.below(self.past.len() as u64) as usize;
                let old = self.past[at].clone();
                self.later(SECOND, Item::Arrive(old));
            }
        }
        let wait = self.dice.below(2 * SECOND);
        self.later(wait, Item::Arrive(command));
    }

    fn arrive(&mut self, command: Command) {
        let now = self.clock();
        let Some(engine) = &mut self.engine else { return };
        let outcome = engine.apply(command.clone(), now);
        self.steps += 1;
        self.batch.push((command, outcome));
        if !self.is_planned {
            self.is_planned = true;
            let (wait, generation) = (self.dice.below(self.slow), self.generation);
            self.later(wait, Item::Commit { generation });
        }
    }

    /// The batch is stored, shown, and its effects begin; the daemon may die before, between and after.
    fn commit(&mut self) {
        self.is_planned = false;
        let dies = if self.is_trouble && self.steps > 100 && self.dice.below(1000) == 0 {
            self.dice.below(3)
        } else {
            9
        };
        if dies == 0 {
            return self.crash();
        }
        let Some(engine) = &mut self.engine else { return };
        let committed = engine.commit(|events| events.map(|event| (0, event)).collect());
        let state = engine.durable();
        let Ok(Committed { effects, .. }) = committed else { return self.not_stored() };
        let batch = std::mem::take(&mut self.batch);
        for (command, outcome) in &batch {
            if let (Verb::Wipe(machine, ..), Outcome::Done) = (&command.verb, outcome) {
                self.rules.ordered(machine);
            }
        }
        self.rules.stored(&state, self.now, |name| &self.metal[self.by_name[name]]);
        if dies == 1 {
            return self.crash();
        }
        batch.into_iter().for_each(|(command, outcome)| self.answered(command, &outcome));
        for effect in effects {
            if let Effect::Start(pending) = effect {
                self.control(&pending);
            }
        }
        if dies == 2 {
            self.crash();
        }
    }

    /// Nothing of the batch happened, for all that the daemon knows. What was written of it may be there after a crash.
    fn not_stored(&mut self) {
        self.unstored += 1;
        for (command, outcome) in std::mem::take(&mut self.batch) {
            match (&command.verb, outcome) {
                (Verb::Wipe(machine, ..), Outcome::Done) => self.rules.ordered(machine),
                // Executors say again how an effect ended.
                (Verb::Progress(..), _) => self.later(MINUTE, Item::Arrive(command)),
                _ => {}
            }
        }
    }

    /// The disk is full, fails from some write on, or is slow; for a while.
    fn fail(&mut self) {
        let faults = match self.dice.below(3) {
            0 => Faults { room: Some(self.dice.below(8192)), ..Faults::default() },
            1 => Faults { steps: Some(self.dice.below(40)), ..Faults::default() },
            _ => Faults { slow: 2 * SECOND, ..Faults::default() },
        };
        self.slow = if faults.slow > 0 { 30 * SECOND } else { 20 };
        if let Some(engine) = &mut self.engine {
            engine.ledger_mut().set(faults);
        }
        let wait = self.dice.between(MINUTE, 15 * MINUTE);
        self.later(wait, Item::DiskWell);
    }

    fn mend(&mut self) {
        self.slow = 20;
        if let Some(engine) = &mut self.engine {
            engine.ledger_mut().set(Faults::default());
            engine.ledger_mut().probe().unwrap();
        }
    }

    /// What an installer hears: the next answer is its.
    fn answered(&mut self, command: Command, outcome: &Outcome) {
        let (Verb::Permit(permit), Outcome::Done) = (command.verb, outcome) else { return };
        let Some(state) = self.state() else { return };
        let Some(machine) =
            state.assignments().get(&permit.deployment).and_then(|name| self.by_name.get(name))
        else {
            return;
        };
        let (machine, boot) = (*machine, self.metal[*machine].boot);
        let wait = self.dice.below(MINUTE);
        match permit.step {
            PermitStep::Start => self.later(wait, Item::Install { machine, boot, step: 1 }),
            PermitStep::Spend => self.later(wait, Item::Install { machine, boot, step: 2 }),
        }
    }

    fn step(&mut self) {
        let Some(((at, _), item)) = self.queue.pop_first() else { return };
        self.now = at;
        self.steps += 1;
        match item {
            Item::Boot { machine, boot } => self.boot(machine, boot),
            Item::Agent { machine, boot, did } => self.agent(machine, boot, did),
            Item::Install { machine, boot, step } => self.install(machine, boot, step),
            Item::Arrive(command) => self.arrive(command),
            Item::Commit { generation } if generation == self.generation => self.commit(),
            Item::Commit { .. } => {}
            Item::Controlled { id, machine, acts } => self.controlled(id, machine, acts),
            Item::Person => {
                if self.is_trouble {
                    self.person();
                }
                let wait = self.dice.below(40 * SECOND);
                self.later(wait, Item::Person);
            }
            Item::Tick => {
                self.arrive(Command::daemon(Verb::Tick));
                self.later(30 * SECOND, Item::Tick);
                if let Some(state) = self.state().filter(|_| self.steps.is_multiple_of(16)) {
                    self.rules.look(&state, &self.prototypes, |name| &self.metal[self.by_name[name]]);
                }
            }
            Item::Revision => {
                if self.is_trouble {
                    self.revise();
                }
                self.later(HOUR, Item::Revision);
            }
            Item::Disk => {
                if self.is_trouble {
                    self.fail();
                }
            }
            Item::DiskWell => {
                self.mend();
                let wait = self.dice.below(HOUR);
                self.later(wait, Item::Disk);
            }
            Item::Restart => {
                if self.engine.is_none() {
                    self.start();
                }
            }
        }
    }
}

fn play(seed: u64, count: usize, steps: u64, medium: Medium) -> Cloud {
    let mut cloud = Cloud::new(seed, count, medium);
    while cloud.steps < steps {
        cloud.step();
    }
    cloud.mend();
    cloud.settle();
    cloud
}

/// On a disk that fails: what could not be stored did not happen, and what was stored is there.
#[test]
fn a_failing_disk_gives_no_machine_to_two_and_has_none_wiped_without_a_cause() {
    let (first, runs) = (number("SIM_SEED", 1), number("SIM_RUNS", 2));
    for seed in first..first + runs {
        println!("SIM_SEED={seed} SIM_RUNS=1 cargo test --test sim failing_disk_gives");
        let began = std::time::Instant::now();
        let cloud = play(seed, 100, 30_000, Medium::disk(seed));
        let Cloud { steps, crashes, unstored, rules: Rules { granted, installs, wiped, .. }, .. } = cloud;
        println!(
            "{steps} steps in {:.1} s, {crashes} crashes, {unstored} writes failed, {granted} granted, {installs} \
             installed, {wiped} wiped",
            began.elapsed().as_secs_f64()
        );
        assert!(
            crashes > 0 && unstored > 10 && granted > 50 && installs > 10 && wiped > 50,
            "enough happened"
        );
    }
}

#[test]
fn machines_are_given_taken_back_and_wiped_and_none_is_lost() {
    let (first, runs, count) =
        (number("SIM_SEED", 1), number("SIM_RUNS", 4), number("SIM_METAL", 200) as usize);
    for seed in first..first + runs {
        println!("SIM_SEED={seed} SIM_RUNS=1 SIM_METAL={count} cargo test --test sim cloud");
        let began = std::time::Instant::now();
        // The first report of each machine is one, and enough has to happen besides.
        let cloud = play(seed, count, 60_000.max(60 * count as u64), Medium::memory());
        let Cloud { steps, crashes, rules: Rules { granted, installs, wiped, .. }, .. } = cloud;
        println!(
            "{steps} steps in {:.1} s, {crashes} crashes, {granted} granted, {installs} installed, {wiped} wiped",
            began.elapsed().as_secs_f64()
        );
        assert!(crashes > 0 && granted > 100 && installs > 20 && wiped > 100, "enough happened");
    }
}
