//! The permission to install over everything that people do to names: deployments are renamed, names are
//! taken back, machines exchanged, numbers lowered, the state directory is lost or an old backup is put
//! in its place. Each box is told to install only when a number was raised above all that it was
//! installed under, and no effect of before is carried out by a restored state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use voldemort::desired::Desired;
use voldemort::model::Name;
use voldemort::proto::tree::{Asker, Transport};
use voldemort::state::command::Outcome;
use voldemort::state::outbox::{Pending, Progress, TaskKind};
use voldemort::state::{Install, InstallStage, Purpose, Stage, Verb, Verdict};

use super::daemon::{Body, Daemon, Question, Told};
use super::effects::{Effects, Submission};
use super::inventory::{SOURCES, resolved};
use super::medium::Medium;

/// What each deployment is called by turns.
const NAMES: [[&str; 3]; 2] = [["web", "front", "shared"], ["db", "shared", "store"]];

/// The inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    names: [usize; 2],
    /// Whether each deployment is on the other one's box.
    exchanged: bool,
    numbers: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Script,
    Answers,
    Completed,
    /// By a URL of before.
    Late,
    Raise,
    Lower,
    Rename(usize),
    Exchange,
    /// The revision before.
    Revert,
    Restart,
    Backup,
    /// Back to the backup.
    Restore,
    /// The state directory is gone.
    Lose,
    Approve,
    Adopt,
    /// The webhook of a source is called.
    Call,
    /// An executor begins with an effect, and ends it or is still at work.
    Work(bool),
    Cancel,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        10 => Just(Step::Script),
        8 => Just(Step::Answers),
        4 => Just(Step::Completed),
        2 => Just(Step::Late),
        2 => Just(Step::Raise),
        1 => Just(Step::Lower),
        3 => (0usize..3).prop_map(Step::Rename),
        2 => Just(Step::Exchange),
        3 => Just(Step::Revert),
        1 => Just(Step::Restart),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
        1 => Just(Step::Lose),
        1 => Just(Step::Approve),
        1 => Just(Step::Adopt),
        3 => Just(Step::Call),
        3 => any::<bool>().prop_map(Step::Work),
        1 => Just(Step::Cancel),
    ];
    prop::collection::vec((0..2usize, step), 1..60)
}

impl World {
    fn name(&self, who: usize) -> &'static str {
        NAMES[who][self.names[who]]
    }

    fn box_of(&self, who: usize) -> usize {
        who ^ usize::from(self.exchanged)
    }

    /// Two deployments can't have one name.
    fn is_possible(&self) -> bool {
        self.name(0) != self.name(1)
    }

    fn desired(self) -> Arc<Desired> {
        thread_local!(static KNOWN: RefCell<BTreeMap<World, Arc<Desired>>> = RefCell::default());
        KNOWN.with_borrow_mut(|known| known.entry(self).or_insert_with(|| self.resolve()).clone())
    }

    fn resolve(&self) -> Arc<Desired> {
        let mut text = "[subnet.lab]\ncidr = \"10.0.0.0/24\"\n\
             [boot.debian]\nkernel = \"vmlinuz\"\ncmdline = [\"url={{ answers_url }}\"]\n"
            .to_owned();
        for who in 0..2 {
            let (name, on, number) = (self.name(who), self.box_of(who), self.numbers[who]);
            text += &format!(
                "[machine.m{on}]\nmac = \"52:54:00:00:00:0{on}\"\n\
                 [deployment.{name}]\nmachine = \"m{on}\"\naddress = \"10.0.0.1{on}\"\nboot = \"debian\"\n\
                 template = \"preseed\"\nvars = {{ root-hash = \"x\" }}\nredeploy = {number}\n"
            );
        }
        resolved(text)
    }
}

struct Play {
    daemon: Daemon,
    world: World,
    /// The revisions before.
    past: Vec<World>,
    backup: Option<Medium>,
    /// URLs that scripts had, by box.
    urls: Vec<String>,
    /// The highest number that each box was installed under.
    used: [Option<u64>; 2],
    /// Whether each deployment may install once: a person raised it, or it never did.
    raised: [bool; 2],
    effects: Effects,
}

impl Play {
    fn new(medium: Medium) -> Play {
        let world = World { names: [0, 0], exchanged: false, numbers: [1, 1] };
        let mut daemon = Daemon::start(Ipv4Addr::new(10, 0, 0, 1), world.desired(), medium);
        daemon.publish_start();
        let (past, urls) = (Vec::new(), Vec::new());
        Play {
            daemon,
            world,
            past,
            backup: None,
            urls,
            used: [None; 2],
            raised: [true; 2],
            effects: Effects::default(),
        }
    }

    fn adopt(&mut self, world: World) {
        if !world.is_possible() || world.numbers.iter().any(|number| *number > 40) {
            return;
        }
        self.world = world;
        self.daemon.adopt(world.desired());
        self.daemon.commit(1);
        self.daemon.publish_start();
    }

    fn get(&mut self, on: usize, path: String) -> Option<Told> {
        let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 10 + on as u8), None, Transport::Http);
        let question = Question { client: on, attempt: 0, sent: 0, body: Body::Fetch(asker, path) };
        let mut told = self.daemon.ask(&question, 1);
        while self.daemon.is_due() {
            self.daemon.commit(1);
            told = self.daemon.publish(1).into_iter().map(|(_, told)| told).next().or(told);
        }
        told
    }

    fn url(&self, who: usize, purpose: Purpose, file: &str) -> String {
        let name: Name = self.world.name(who).parse().unwrap();
        let table = self.daemon.state().expect("it runs");
        let token = table.token(purpose, &table.desired().deployments[&name]);
        let kind = if purpose == Purpose::Answers { "answers" } else { "hooks" };
        format!("{kind}/{name}/{token}/{file}")
    }

    /// What was told; a box that may be destroyed now had its number raised.
    fn told(&mut self, on: usize, told: Option<Told>) {
        let who = usize::from(self.world.box_of(0) != on);
        let number = self.world.numbers[who];
        if let Some(Told::File(Stage::Script | Stage::Answers, _)) = &told {
            let used = self.used[on];
            // Answers of an installation under way may be asked for again.
            let again = matches!(&told, Some(Told::File(Stage::Answers, _))) && used == Some(number);
            let allowed = self.raised[who] && used.is_none_or(|used| used < number);
            assert!(again || allowed, "m{on} installs again: {:?}", self.world);
        }
        if let Some(Told::File(Stage::Answers, _)) = told {
            self.used[on] = Some(number);
            self.raised[who] = false;
        }
    }

    fn step(&mut self, who: usize, step: Step) {
        let on = self.world.box_of(who);
        let before = self.world;
        match step {
            Step::Script => {
                let told = self.get(on, format!("ipxe/52-54-00-00-00-0{on}.ipxe"));
                if let Some(Told::File(Stage::Script, _)) = &told {
                    self.urls.push(self.url(who, Purpose::Answers, "preseed.cfg"));
                    self.urls.push(self.url(who, Purpose::Hooks, "completed"));
                }
                self.told(on, told);
            }
            Step::Answers => {
                let url = self.url(who, Purpose::Answers, "preseed.cfg");
                let told = self.get(on, url);
                self.told(on, told);
            }
            Step::Completed => drop(self.get(on, self.url(who, Purpose::Hooks, "completed"))),
            Step::Late => {
                if let Some(url) = self.urls.get(self.urls.len() / 2).cloned() {
                    let told = self.get(on, url);
                    self.told(on, told);
                }
            }
            Step::Raise => {
                let mut next = before;
                // Above everything, as a person does who wants it installed.
                next.numbers[who] = before.numbers[0].max(before.numbers[1]).max(self.highest()) + 1;
                self.raised[who] = true;
                self.adopt(next);
            }
            Step::Lower => {
                let mut next = before;
                next.numbers[who] = (before.numbers[who] - 1).max(1);
                self.adopt(next);
            }
            Step::Rename(to) => {
                let mut next = before;
                next.names[who] = to;
                self.adopt(next);
            }
            Step::Exchange => self.adopt(World { exchanged: !before.exchanged, ..before }),
            Step::Revert => {
                if let Some(world) = self.past.pop() {
                    // Taking a lowered number back raises it.
                    for who in 0..2 {
                        self.raised[who] |= world.numbers[who] > before.numbers[who];
                    }
                    self.adopt(world);
                }
                return;
            }
            Step::Restart => {
                self.daemon.again();
                let state = self.daemon.state().expect("it runs");
                state.outbox().iter().for_each(|pending| self.effects.may_repeat(pending.id));
                self.effects.started(state);
            }
            Step::Backup => self.backup = Some(self.daemon.backup()),
            Step::Restore | Step::Lose => {
                let backup = if matches!(step, Step::Restore) { self.backup.clone() } else { None };
                self.daemon.lose(backup);
                self.daemon.publish_start();
                self.effects.forget();
                let left = self.daemon.state().expect("it runs").outbox().iter().count();
                assert_eq!(left, 0, "a restored state carries out no effect of before");
                // What is asked for now is doubtful, and only what is raised from here on is a permission:
                // the daemon can't know of numbers that were used and lowered again before.
                let table = self.daemon.state().expect("it runs");
                for on in 0..2 {
                    let who = usize::from(self.world.box_of(0) != on);
                    // Answers of an installation that the backup holds may be fetched once more. One of a former tenant
                    // that had only begun destroyed nothing, and its number is free for the present one.
                    let machine: Name = format!("m{on}").parse().unwrap();
                    let tenant = self.world.name(who);
                    let counts = |install: &&Install| {
                        install.stage != InstallStage::Started || install.deployment.as_str() == tenant
                    };
                    let held =
                        table.installs().on(&machine).iter().filter(counts).map(|install| install.redeploy);
                    self.used[on] = held.chain([self.world.numbers[who]]).max();
                }
                self.raised = [false; 2];
                self.past.clear();
                self.urls.clear();
            }
            Step::Approve => {
                let doubtful: Vec<Name> = self.daemon.state().expect("it runs").doubtful().cloned().collect();
                for who in 0..2 {
                    // A person's word stands for a raise.
                    if doubtful.iter().any(|name| name.as_str() == self.world.name(who)) {
                        self.used[self.world.box_of(who)] = None;
                        self.raised[who] = true;
                    }
                }
                self.daemon.settle(Verdict::Install);
                self.daemon.publish_start();
            }
            Step::Adopt => {
                self.daemon.settle(Verdict::Keep);
                self.daemon.publish_start();
            }
            Step::Call => {
                let (source, arrival) = (SOURCES[who].parse().unwrap(), self.effects.arrival());
                self.submit(Submission::Call { source, arrival });
            }
            Step::Work(ends) => self.work(who, ends),
            Step::Cancel => {
                if let Some(pending) = self.pending(who) {
                    self.effects.cancels(&pending);
                    self.submit(Submission::Cancel(pending.id));
                }
            }
        }
        if self.world != before {
            self.past.push(before);
        }
    }

    /// The effect of a source that is the first to be done.
    fn pending(&self, who: usize) -> Option<Arc<Pending>> {
        let mut pending = self.daemon.state()?.outbox().of(TaskKind::Fetch);
        pending.find(|pending| pending.task.subject().as_str() == SOURCES[who]).cloned()
    }

    /// A command whose outcome is waited for.
    fn submit(&mut self, submission: Submission) {
        self.daemon.submit(submission, 1);
        self.daemon.commit(1);
        self.daemon.publish_start();
        self.effects.check(self.daemon.state().expect("it runs"));
        for (submission, outcome) in self.daemon.stored() {
            assert!(!matches!(outcome, Outcome::Refused(_)), "{submission:?}: {outcome:?}");
            match submission {
                Submission::Call { source, arrival } => self.effects.call_acknowledged(&source, arrival),
                Submission::Begun(_) => {}
                Submission::End(id, _) | Submission::Cancel(id) => self.effects.ended(id),
            }
        }
    }

    /// An executor begins anew with an effect that it may have been at work on.
    fn work(&mut self, who: usize, ends: bool) {
        let Some(pending) = self.pending(who) else { return };
        self.effects.may_repeat(pending.id);
        self.submit(Submission::Begun(pending.id));
        self.effects.works(&pending, self.daemon.durable().expect("it runs"));
        if ends {
            self.submit(Submission::End(pending.id, Verb::Progress(pending.id, Progress::Done)));
        }
    }

    fn highest(&self) -> u64 {
        self.used.iter().flatten().copied().max().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::number("SIM_CASES", 600) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_box_installs_twice_for_one_permission(steps in steps()) {
        let mut play = Play::new(Medium::either(steps.len()));
        for (who, step) in steps {
            play.step(who, step);
        }
        play.effects.check_calls(play.daemon.state().expect("it runs"));
    }
}
