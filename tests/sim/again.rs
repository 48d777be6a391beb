//! A revision that is judged over one state and adopted over a later one. Whatever people wrote and whatever machines
//! did meanwhile: to judge the machines that changed again comes to what judging everything comes to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use voldemort::desired::Desired;
use voldemort::model::{Name, Time};
use voldemort::plan::{self, Consent, Judgement, Proposal};
use voldemort::state::command::Outcome as Came;
use voldemort::state::{
    Applied, Command, Doubts, Install, InstallStage, Outcome, Permit, PermitStep, Report, Revision, Secrets,
    Server, SourceRevision, State, Verb, Verdict, apply,
};

use super::inventory::resolved;

/// Machines and deployments of a world.
const COUNT: usize = 5;

/// A machine, and the deployment of its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Whether the machine has its other name.
    is_renamed: bool,
    /// The box: whose network card it has.
    card: usize,
    protect: Option<bool>,
    /// What the deployment is called by turns; `None`: there is none.
    name: Option<usize>,
    /// The machine it is pinned to; `None`: it chooses one.
    pinned: Option<usize>,
    number: u64,
    boot: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World(Vec<Place>);

/// What people do to a world.
#[derive(Clone, Copy, Debug)]
enum Edit {
    RenameMachine,
    SwapCards,
    Protect(Option<bool>),
    RenameDeployment,
    Remove,
    Bring,
    Choose,
    Pin,
    Exchange,
    Raise,
    Lower,
    Boot,
}

/// What happens to the deployment of a number.
#[derive(Clone, Copy, Debug)]
enum Act {
    Start,
    Spend,
    Complete,
    Fail,
    Reboot,
    Adopt,
    Approve,
}

#[derive(Clone, Debug)]
struct Round {
    edits: Vec<(usize, Edit)>,
    /// Before the revision is judged, between that and the first look, and after it.
    acts: [Vec<(usize, Act)>; 3],
    /// Whether the daemon starts again first: what was served is not loaded then.
    starts: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let edit = prop_oneof![
        Just(Edit::RenameMachine),
        Just(Edit::SwapCards),
        prop_oneof![Just(None), Just(Some(true)), Just(Some(false))].prop_map(Edit::Protect),
        Just(Edit::RenameDeployment),
        Just(Edit::Remove),
        Just(Edit::Bring),
        Just(Edit::Choose),
        Just(Edit::Pin),
        Just(Edit::Exchange),
        Just(Edit::Raise),
        Just(Edit::Raise),
        Just(Edit::Lower),
        Just(Edit::Boot),
    ];
    let act = prop_oneof![
        5 => Just(Act::Start),
        4 => Just(Act::Spend),
        3 => Just(Act::Complete),
        1 => Just(Act::Fail),
        1 => Just(Act::Reboot),
        1 => Just(Act::Adopt),
        1 => Just(Act::Approve),
    ];
    let edits = prop::collection::vec((0..COUNT, edit), 0..4);
    let acts = move || prop::collection::vec((0..COUNT, act.clone()), 0..6);
    let acts = (acts(), acts(), acts()).prop_map(|(a, b, c)| [a, b, c]);
    let starts = prop::bool::weighted(0.1);
    let round = (edits, acts, starts).prop_map(|(edits, acts, starts)| Round { edits, acts, starts });
    prop::collection::vec(round, 1..8)
}

impl World {
    fn new() -> World {
        let place = |number| Place {
            is_renamed: false,
            card: number,
            protect: None,
            name: Some(0),
            pinned: (number < 3).then_some(number),
            number: 1,
            boot: 0,
        };
        World((0..COUNT).map(place).collect())
    }

    fn machine(&self, number: usize) -> String {
        format!("{}{number}", if self.0[number].is_renamed { "rack" } else { "m" })
    }

    fn deployment(&self, number: usize) -> Option<Name> {
        let name = self.0[number].name?;
        Some(format!("{}{number}", ["web", "front"][name % 2]).parse().unwrap())
    }

    fn edited(&self, at: usize, edit: Edit) -> World {
        let mut next = self.clone();
        let other = (at + 1) % COUNT;
        match edit {
            Edit::RenameMachine => next.0[at].is_renamed ^= true,
            Edit::SwapCards => (next.0[at].card, next.0[other].card) = (self.0[other].card, self.0[at].card),
            Edit::Protect(protect) => next.0[at].protect = protect,
            Edit::RenameDeployment => next.0[at].name = self.0[at].name.map(|name| name ^ 1),
            Edit::Remove => next.0[at].name = None,
            Edit::Bring => next.0[at].name = next.0[at].name.or(Some(0)),
            Edit::Choose => next.0[at].pinned = None,
            Edit::Pin => next.0[at].pinned = Some(at),
            Edit::Exchange => {
                (next.0[at].pinned, next.0[other].pinned) = (self.0[other].pinned, self.0[at].pinned);
            }
            Edit::Raise => next.0[at].number += 1,
            Edit::Lower => next.0[at].number = (self.0[at].number - 1).max(1),
            Edit::Boot => next.0[at].boot ^= 1,
        }
        if next.is_possible() { next } else { self.clone() }
    }

    /// Two deployments can't have one machine.
    fn is_possible(&self) -> bool {
        let mut pins: Vec<usize> =
            self.0.iter().filter(|place| place.name.is_some()).filter_map(|place| place.pinned).collect();
        let count = pins.len();
        pins.sort_unstable();
        pins.dedup();
        pins.len() == count
    }

    fn desired(&self) -> Arc<Desired> {
        thread_local!(static KNOWN: RefCell<BTreeMap<World, Arc<Desired>>> = RefCell::default());
        KNOWN.with_borrow_mut(|known| known.entry(self.clone()).or_insert_with(|| self.resolve()).clone())
    }

    fn resolve(&self) -> Arc<Desired> {
        let mut text =
            "[subnet.lab]\ncidr = \"10.0.0.0/24\"\ndynamic = \"10.0.0.100-10.0.0.200\"\n".to_owned();
        for boot in 0..2 {
            text += &format!(
                "[boot.b{boot}]\nkernel = \"vmlinuz\"\ncmdline = [\"url={{{{ answers_url }}}}\", \"b={boot}\"]\n"
            );
        }
        for (number, place) in self.0.iter().enumerate() {
            let (machine, card) = (self.machine(number), place.card);
            text += &format!(
                "[machine.{machine}]\nmac = \"52:54:00:00:00:0{card}\"\nlabels = {{ size = \"s\" }}\n"
            );
            text += &place.protect.map_or_else(String::new, |protect| format!("protect = {protect}\n"));
            let Some(name) = self.deployment(number) else { continue };
            let on = match place.pinned {
                Some(on) => format!("machine = \"{}\"", self.machine(on)),
                None => "select = { size = \"s\" }".to_owned(),
            };
            let (redeploy, boot) = (place.number, place.boot);
            text += &format!(
                "[deployment.{name}]\n{on}\naddress = \"auto\"\nboot = \"b{boot}\"\ntemplate = \"preseed\"\n\
                 vars = {{ root-hash = \"x\" }}\nredeploy = {redeploy}\n"
            );
        }
        let mut desired = Desired::clone(&resolved(text));
        desired.safety.max_in_flight = Some(2);
        desired.safety.max_remove = 40;
        desired.safety.min_existing = 2;
        desired.safety.max_reinstall = Some(1);
        desired.into()
    }
}

fn act(table: &mut State, name: &Name, act: Act, now: Time) {
    let (redeploy, epoch) = match table.install_of(name) {
        Some(install) => (install.redeploy, install.epoch),
        None => (table.desired().deployments.get(name).map_or(1, |one| one.redeploy), 0),
    };
    let wanted = table.desired().deployments.get(name).map_or(redeploy, |one| one.redeploy);
    let (deployment, note) = (name.clone(), String::new());
    let permit = |step| Verb::Permit(Permit { deployment: name.clone(), redeploy: wanted, step });
    let report = |outcome| {
        let epoch = (epoch > 0).then_some(epoch);
        Verb::Report(Report { deployment: name.clone(), redeploy, epoch, outcome, note: note.clone() })
    };
    let doubts = || Doubts { deployments: vec![name.to_string()], ..Doubts::default() };
    let verb = match act {
        Act::Start => permit(PermitStep::Start),
        Act::Spend => permit(PermitStep::Spend),
        Act::Complete => report(Outcome::Completed),
        Act::Fail => report(Outcome::Failed),
        Act::Reboot => Verb::Reboot { deployment, epoch, at: now },
        Act::Adopt => {
            let machine =
                table.assignments().get(name).and_then(|machine| table.desired().machines.get(machine));
            let (Some(machine), Some(one)) = (machine, table.desired().deployments.get(name)) else { return };
            Verb::Installed(Install::new(machine, one, InstallStage::Installed, now).into())
        }
        Act::Approve => Verb::Settle(doubts(), Verdict::Install),
    };
    let _ = apply(table, Command::machine(verb), now, &mut Applied::default());
}

/// What a state has that an adoption decides; places in lists by the order of numbers.
fn shown(table: &State) -> Vec<String> {
    let mut lines: Vec<String> = table.installs().iter().map(|install| format!("{install:?}")).collect();
    lines.push(format!("next epoch {}", table.installs().next_epoch()));
    lines.push(format!("{:?}\n{:?}\n{:?}", table.assignments(), table.tenants(), table.served()));
    lines.push(format!("{:?} {:?} {:?}", table.protected(), table.damaged(), table.waves()));
    lines.push(format!("{:?} {}", table.desired().revision, table.serial()));
    let duty = |one: &Arc<voldemort::desired::Deployment>| format!("{}: {:?}", one.name, table.duty(one));
    lines.extend(table.desired().deployments.values().map(duty));
    lines
}

/// Adopts what was agreed to; the state afterwards with what is stored of it.
fn adopted(table: &State, judged: &Judgement, now: Time) -> Option<(State, String)> {
    let (mut next, mut out) = (table.clone(), Applied::default());
    let came = apply(&mut next, Command::daemon(Verb::Adopt(judged.adoption()?)), now, &mut out);
    assert_eq!(came, Came::Done);
    Some((next, format!("{:?}", out.records)))
}

fn proposal(world: &World) -> Arc<Proposal> {
    let kept = Some(Arc::new(Revision::of_one(SourceRevision {
        settled: "dir@1".into(),
        ..SourceRevision::default()
    })));
    let secrets = Arc::new(Secrets::stand_in());
    let consent = Consent::default();
    Arc::new(Proposal { desired: world.desired(), kept, secrets, consent, expected: None, plan: None })
}

/// Both come to the same, and lead to the same.
fn compare(table: &State, again: &Judgement, whole: &Judgement, now: Time) -> Option<State> {
    let told = |judged: &Judgement| format!("{:#?}", judged.clone().verdict());
    assert_eq!(told(again), told(whole));
    match (adopted(table, again, now), adopted(table, whole, now)) {
        (Some((one, records)), Some((other, others))) => {
            assert_eq!(shown(&one), shown(&other));
            assert_eq!(records, others);
            Some(one)
        }
        (one, other) => {
            assert!(one.is_none() && other.is_none());
            None
        }
    }
}

fn play(rounds: Vec<Round>) {
    let mut world = World::new();
    let mut table = State::new(Server::stand_in(Ipv4Addr::new(10, 0, 0, 1)));
    let first = plan::judge(proposal(&world), &table);
    table = adopted(&table, &first, Time(1)).expect("a first revision is adopted").0;
    let mut clock = 1;
    for Round { edits, acts, starts } in rounds {
        let mut next = edits.iter().fold(world.clone(), |world, (at, edit)| world.edited(*at, *edit));
        if starts {
            let server = Server::stand_in(Ipv4Addr::new(10, 0, 0, 1));
            table = State::restored(server, table.lasting().clone());
        }
        let mut judged: Option<Judgement> = None;
        for acts in &acts {
            for (at, what) in acts {
                clock += 1;
                if let Some(name) = world.deployment(*at) {
                    act(&mut table, &name, *what, Time(clock));
                }
            }
            let whole = plan::judge(proposal(&next), &table);
            let again = match judged.take() {
                None => whole.clone(),
                Some(judged) => judged.again(&table),
            };
            compare(&table, &again, &whole, Time(clock));
            judged = Some(again);
        }
        let judged = judged.expect("it was judged");
        match adopted(&table, &judged, Time(clock)) {
            Some((adopted, _)) => table = adopted,
            // A daemon that just started has adopted nothing else.
            None if starts => {
                let (again, _) =
                    adopted(&table, &plan::judge(proposal(&world), &table), Time(clock)).unwrap();
                (table, next) = (again, world.clone());
            }
            None => next = world.clone(),
        }
        world = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::number("SIM_CASES", 100) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_changed_since_comes_to_what_everything_comes_to(rounds in rounds()) {
        play(rounds);
    }
}

/// Every machine of a large hall gets another command line while some of them install.
#[test]
fn only_machines_that_did_something_are_judged_again() {
    let (count, installing) = (300, 7);
    let hall = |word: &str| {
        let mut text = format!(
            "[subnet.lab]\ncidr = \"10.0.0.0/16\"\ndynamic = \"10.0.9.1-10.0.9.250\"\n\
             [boot.b]\nkernel = \"vmlinuz\"\ncmdline = [\"url={{{{ answers_url }}}}\", \"{word}\"]\n"
        );
        for number in 0..count {
            text += &format!(
                "[machine.m{number}]\nmac = \"52:54:00:00:{:02x}:{:02x}\"\n[deployment.d{number}]\n\
                 machine = \"m{number}\"\naddress = \"auto\"\nboot = \"b\"\ntemplate = \"preseed\"\n\
                 vars = {{ root-hash = \"x\" }}\n",
                number / 256,
                number % 256
            );
        }
        resolved(text)
    };
    let proposal = |desired| {
        let (secrets, consent) = (Arc::new(Secrets::stand_in()), Consent::default());
        Arc::new(Proposal { desired, kept: None, secrets, consent, expected: None, plan: None })
    };
    let empty = State::new(Server::stand_in(Ipv4Addr::new(10, 0, 0, 1)));
    let first = plan::judge(proposal(hall("one")), &empty);
    let mut table = adopted(&empty, &first, Time(1)).unwrap().0;
    let mut judged = plan::judge(proposal(hall("two")), &table);
    assert_eq!(judged.looked_at(), None, "all of them");
    for (round, step) in [Act::Start, Act::Spend, Act::Complete].into_iter().enumerate() {
        for number in 0..installing {
            let name = format!("d{}", number * 40).parse().unwrap();
            act(&mut table, &name, step, Time(2 + round as u64));
        }
        judged = judged.again(&table);
        assert_eq!(judged.looked_at(), Some(2 * installing), "each machine and its deployment");
    }
    compare(&table, &judged, &plan::judge(proposal(hall("two")), &table), Time(9)).unwrap();
    assert_eq!(judged.again(&table).looked_at(), Some(0), "nothing happened since");
}
