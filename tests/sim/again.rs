//! A revision that is judged over one state and adopted over a later one. Whatever people wrote and whatever machines
//! did meanwhile: to judge the machines that changed again comes to what judging everything comes to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use voldemort::desired::{Deployment, Desired};
use voldemort::model::{FilePath, Name, Time};
use voldemort::plan::{self, Consent, Judgement, Proposal};
use voldemort::state::command::Outcome as Came;
use voldemort::state::{
    Applied, Command, Doubts, Event, Install, InstallStage, Outcome, Permit, PermitStep, Record, Report,
    Revision, Secrets, Server, SourceRevision, Stage, State, Verb, Verdict, apply,
};

use super::inventory::resolved;

/// Machines and deployments of a world.
const COUNT: usize = 5;
/// Sources that it comes from; the deployments belong to them by turns.
const SOURCES: [&str; 2] = ["lab", "rack"];

/// A machine, and the deployment of its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Whether the machine is in the manifests.
    is_known: bool,
    /// Whether the machine has its other name.
    is_renamed: bool,
    /// Whose network card it has, and whether that was replaced by a new one.
    card: (usize, bool),
    /// Whose UUID it has, and whether that is written down.
    uuid: (usize, bool),
    protect: Option<bool>,
    /// What the deployment is called by turns; `None`: there is none.
    name: Option<usize>,
    /// The machine it is pinned to; `None`: it chooses one.
    pinned: Option<usize>,
    number: u64,
    boot: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    places: Vec<Place>,
    /// The source whose revision it is.
    source: usize,
    /// Whether the thresholds allow nearly anything.
    is_loose: bool,
}

/// What people do to a world.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Know,
    RenameMachine,
    SwapCards,
    SwapUuids,
    ReplaceCard,
    WriteUuid,
    Source,
    Loosen,
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
    /// DHCP answered a card that is in no manifest as its machine.
    Show(u8),
    /// A webhook.
    Fetch,
}

/// What is found in the state directory at a start.
#[derive(Clone, Copy, Debug)]
enum Found {
    Whole,
    /// The record of this machine, or of its deployment, is damaged.
    Damaged(usize, bool),
    /// The installations of this machine contradict each other.
    Conflict(usize),
}

#[derive(Clone, Debug)]
struct Round {
    edits: Vec<(usize, Edit)>,
    /// Before the revision is judged, between that and the first look, and after it.
    acts: [Vec<(usize, Act)>; 3],
    /// Whether the daemon starts again first: what was served is not loaded then.
    starts: Option<Found>,
    /// Whether the revision before is adopted once more while this one is judged.
    is_overtaken: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let edit = prop_oneof![
        2 => Just(Edit::Know),
        2 => Just(Edit::RenameMachine),
        2 => Just(Edit::SwapCards),
        2 => Just(Edit::SwapUuids),
        2 => Just(Edit::ReplaceCard),
        2 => Just(Edit::WriteUuid),
        1 => Just(Edit::Source),
        1 => Just(Edit::Loosen),
        10 => common_edit(),
    ];
    let act = prop_oneof![
        5 => Just(Act::Start),
        4 => Just(Act::Spend),
        3 => Just(Act::Complete),
        1 => Just(Act::Fail),
        1 => Just(Act::Reboot),
        1 => Just(Act::Adopt),
        1 => Just(Act::Approve),
        2 => (0..3_u8).prop_map(Act::Show),
        1 => Just(Act::Fetch),
    ];
    let edits = prop::collection::vec((0..COUNT, edit), 0..5);
    let acts = move || prop::collection::vec((0..COUNT, act.clone()), 0..6);
    let acts = (acts(), acts(), acts()).prop_map(|(a, b, c)| [a, b, c]);
    let found = prop_oneof![
        Just(Found::Whole),
        (0..COUNT, prop::bool::ANY).prop_map(|(at, is_machine)| Found::Damaged(at, is_machine)),
        (0..COUNT).prop_map(Found::Conflict),
    ];
    let starts = prop::option::weighted(0.15, found);
    let round = (edits, acts, starts, prop::bool::weighted(0.05))
        .prop_map(|(edits, acts, starts, is_overtaken)| Round { edits, acts, starts, is_overtaken });
    prop::collection::vec(round, 1..8)
}

/// Edits of all kinds that deployments see.
fn common_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
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
    ]
}

impl World {
    fn new() -> World {
        let place = |number| Place {
            is_known: true,
            is_renamed: false,
            card: (number, false),
            uuid: (number, number % 2 == 0),
            protect: None,
            name: Some(0),
            pinned: (number < 3).then_some(number),
            number: 1,
            boot: 0,
        };
        World { places: (0..COUNT).map(place).collect(), source: 0, is_loose: false }
    }

    fn machine(&self, number: usize) -> String {
        format!("{}{number}", if self.places[number].is_renamed { "rack" } else { "m" })
    }

    fn deployment(&self, number: usize) -> Option<Name> {
        let name = self.places[number].name?;
        Some(format!("{}{number}", ["web", "front"][name % 2]).parse().unwrap())
    }

    fn edited(&self, at: usize, edit: Edit) -> World {
        let mut next = self.clone();
        let other = (at + 1) % COUNT;
        match edit {
            Edit::Know => next.places[at].is_known ^= true,
            Edit::RenameMachine => next.places[at].is_renamed ^= true,
            Edit::SwapCards => {
                (next.places[at].card.0, next.places[other].card.0) =
                    (self.places[other].card.0, self.places[at].card.0);
            }
            Edit::SwapUuids => {
                (next.places[at].uuid.0, next.places[other].uuid.0) =
                    (self.places[other].uuid.0, self.places[at].uuid.0);
            }
            Edit::ReplaceCard => next.places[at].card.1 ^= true,
            Edit::WriteUuid => next.places[at].uuid.1 ^= true,
            Edit::Source => next.source = (self.source + 1) % SOURCES.len(),
            Edit::Loosen => next.is_loose ^= true,
            Edit::Protect(protect) => next.places[at].protect = protect,
            Edit::RenameDeployment => next.places[at].name = self.places[at].name.map(|name| name ^ 1),
            Edit::Remove => next.places[at].name = None,
            Edit::Bring => next.places[at].name = next.places[at].name.or(Some(0)),
            Edit::Choose => next.places[at].pinned = None,
            Edit::Pin => next.places[at].pinned = Some(at),
            Edit::Exchange => {
                (next.places[at].pinned, next.places[other].pinned) =
                    (self.places[other].pinned, self.places[at].pinned);
            }
            Edit::Raise => next.places[at].number += 1,
            Edit::Lower => next.places[at].number = (self.places[at].number - 1).max(1),
            Edit::Boot => next.places[at].boot ^= 1,
        }
        if next.is_possible() { next } else { self.clone() }
    }

    /// Two deployments can't have one machine, nor one of no manifest.
    fn is_possible(&self) -> bool {
        let is_placed = |place: &Place| place.pinned.is_none_or(|on| self.places[on].is_known);
        if !self.places.iter().all(|place| place.name.is_none() || is_placed(place)) {
            return false;
        }
        let mut pins: Vec<usize> = self
            .places
            .iter()
            .filter(|place| place.name.is_some())
            .filter_map(|place| place.pinned)
            .collect();
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
        for (number, place) in self.places.iter().enumerate() {
            if place.is_known {
                text += &self.machine_text(number);
            }
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
        desired.safety.max_remove = if self.is_loose { 90 } else { 40 };
        desired.safety.min_existing = 2;
        desired.safety.max_reinstall = Some(if self.is_loose { 4 } else { 1 });
        desired.safety.source = Some(SOURCES[self.source].parse().unwrap());
        for number in 0..COUNT {
            let Some(name) = self.deployment(number) else { continue };
            let mut own = Deployment::clone(&desired.deployments[&name]);
            let source = SOURCES[number % SOURCES.len()].parse().unwrap();
            own.origin.file = FilePath::new(Some(&source), &"a.toml".into());
            desired.deployments.insert(name, own.into());
        }
        desired.into()
    }

    fn machine_text(&self, number: usize) -> String {
        let (machine, place) = (self.machine(number), &self.places[number]);
        let mut text = format!("[machine.{machine}]\nlabels = {{ size = \"s\" }}\n");
        let card = place.card.0 + if place.card.1 { COUNT } else { 0 };
        text += &format!("mac = \"52:54:00:00:00:0{card}\"\n");
        if let (uuid, true) = place.uuid {
            text += &format!("uuid = \"4c4c4544-0042-3510-8056-b4c04f4e4d3{uuid}\"\n");
        }
        text + &place.protect.map_or_else(String::new, |protect| format!("protect = {protect}\n"))
    }
}

fn act(state: &mut State, name: &Name, what: Act, now: Time) {
    let (redeploy, epoch) = match state.install_of(name) {
        Some(install) => (install.redeploy, install.epoch),
        None => (state.desired().deployments.get(name).map_or(1, |one| one.redeploy), 0),
    };
    let wanted = state.desired().deployments.get(name).map_or(redeploy, |one| one.redeploy);
    let (deployment, note) = (name.clone(), String::new());
    let permit =
        |step| Verb::Permit(Permit { deployment: name.clone(), redeploy: wanted, epoch: None, step });
    let report = |outcome| {
        let epoch = (epoch > 0).then_some(epoch);
        Verb::Report(Report { deployment: name.clone(), redeploy, epoch, outcome, note: note.clone() })
    };
    let doubts = || Doubts { deployments: vec![name.to_string()], ..Doubts::default() };
    let verb = match what {
        Act::Start => permit(PermitStep::Start),
        Act::Spend => permit(PermitStep::Spend),
        Act::Complete => report(Outcome::Completed),
        Act::Fail => report(Outcome::Failed),
        Act::Reboot => Verb::Reboot { deployment, epoch, at: now },
        Act::Adopt => {
            let machine =
                state.assignments().get(name).and_then(|machine| state.desired().machines.get(machine));
            let (Some(machine), Some(one)) = (machine, state.desired().deployments.get(name)) else { return };
            Verb::Installed(Install::new(machine, one, InstallStage::Installed, now).into())
        }
        Act::Approve => Verb::Settle(doubts(), Verdict::Install),
        Act::Show(card) => {
            let (mac, deployment) = (Some(super::inventory::mac(9, card.into())), Some(deployment));
            Verb::Observe(vec![Event { mac, deployment, ..Event::new(now, Stage::Offer, "") }])
        }
        Act::Fetch => Verb::Fetch(name.clone()),
    };
    let (before, mut out) = (state.serial(), Applied::default());
    let _ = apply(state, Command::machine(verb), now, &mut out);
    // After a restart the serial is the one that was recorded last.
    let recorded = out.records.iter().filter_map(|record| match record {
        Record::Serial(serial) => Some(*serial),
        _ => None,
    });
    assert_eq!(recorded.last().unwrap_or(before), state.serial(), "{what:?}");
}

/// A daemon starts again over what is stored of a state, in which something may be wrong.
fn restarted(state: &State, world: &World, found: Found) -> State {
    let mut lasting = state.lasting().clone();
    match found {
        Found::Whole => {}
        Found::Damaged(at, true) => drop(lasting.damaged.insert(world.machine(at).parse().unwrap())),
        Found::Damaged(at, false) => lasting.damaged.extend(world.deployment(at)),
        Found::Conflict(at) => {
            let machine: Name = world.machine(at).parse().unwrap();
            let last = lasting.installs.on(&machine).last().cloned();
            let stage = InstallStage::Doubtful;
            last.into_iter().for_each(|last| {
                lasting.installs.put(Install { stage, conflict: true, digest: "".into(), ..last })
            });
        }
    }
    State::restored(Server::stand_in(Ipv4Addr::new(10, 0, 0, 1)), lasting)
}

/// What a state has that an adoption decides; places in lists by the order of numbers.
fn shown(state: &State) -> Vec<String> {
    let mut lines: Vec<String> = state.installs().iter().map(|install| format!("{install:?}")).collect();
    lines.push(format!("next epoch {}", state.installs().next_epoch()));
    lines.push(format!("{:?}\n{:?}\n{:?}", state.lasting().tenancies, state.tenants(), state.served()));
    lines.push(format!("{:?} {:?} {:?}", state.protected(), state.damaged(), state.waves()));
    lines.push(format!("{:?} {}", state.desired().revision, state.serial()));
    let mut learned: Vec<_> = state.lasting().learned.iter().collect();
    learned.sort();
    lines.push(format!("{learned:?} {:?} {:?}", state.contested(), state.guards()));
    lines.extend(state.outbox().iter().map(|pending| format!("{pending:?}")));
    let duty = |one: &Arc<voldemort::desired::Deployment>| format!("{}: {:?}", one.name, state.duty(one));
    lines.extend(state.desired().deployments.values().map(duty));
    lines
}

/// Adopts what was agreed to; the state afterwards with what is stored of it.
fn adopted(state: &State, judged: &Judgement, now: Time) -> Option<(State, String)> {
    let (mut next, mut out) = (state.clone(), Applied::default());
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
fn compare(state: &State, again: &Judgement, whole: &Judgement, now: Time) -> Option<State> {
    let told = |judged: &Judgement| format!("{:#?}", judged.clone().verdict());
    assert_eq!(told(again), told(whole));
    match (adopted(state, again, now), adopted(state, whole, now)) {
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

/// Where the keeper takes what was judged over an earlier state, it comes to what judging anew comes to.
fn compare_late(state: &State, late: &Judgement, whole: &Judgement, now: Time) {
    let Some(adoption) = late.adoption() else { return };
    let (mut next, mut out) = (state.clone(), Applied::default());
    if apply(&mut next, Command::daemon(Verb::Adopt(adoption)), now, &mut out) == Came::Done {
        let (other, records) = adopted(state, whole, now).expect("it may be adopted");
        assert_eq!(shown(&next), shown(&other));
        assert_eq!(format!("{:?}", out.records), records);
    }
}

fn play(rounds: Vec<Round>) {
    let mut world = World::new();
    let mut state = State::new(Server::stand_in(Ipv4Addr::new(10, 0, 0, 1)));
    let first = plan::judge(proposal(&world), &state);
    state = adopted(&state, &first, Time(1)).expect("a first revision is adopted").0;
    let mut clock = 1;
    for Round { edits, acts, starts, is_overtaken } in rounds {
        let mut next = edits.iter().fold(world.clone(), |world, (at, edit)| world.edited(*at, *edit));
        if let Some(found) = starts {
            state = restarted(&state, &world, found);
        }
        let mut judged: Option<Judgement> = None;
        for acts in &acts {
            for (at, what) in acts {
                clock += 1;
                if let Some(name) = world.deployment(*at) {
                    act(&mut state, &name, *what, Time(clock));
                }
            }
            if is_overtaken && judged.is_some() {
                let other = plan::judge(proposal(&world), &state);
                state = adopted(&state, &other, Time(clock)).map_or(state, |(adopted, _)| adopted);
            }
            let whole = plan::judge(proposal(&next), &state);
            let again = match judged.take() {
                None => whole.clone(),
                Some(judged) => {
                    compare_late(&state, &judged, &whole, Time(clock));
                    judged.again(&state)
                }
            };
            compare(&state, &again, &whole, Time(clock));
            judged = Some(again);
        }
        let judged = judged.expect("it was judged");
        match adopted(&state, &judged, Time(clock)) {
            Some((adopted, _)) => state = adopted,
            // A daemon that just started serves what it served before, without judging it.
            None if state.desired().revision.is_empty() => {
                let proposal = Proposal { kept: None, ..Proposal::clone(&proposal(&world)) };
                let judged = plan::judge(proposal.into(), &state);
                (state, next) = (adopted(&state, &judged, Time(clock)).unwrap().0, world.clone());
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
    let mut state = adopted(&empty, &first, Time(1)).unwrap().0;
    let mut judged = plan::judge(proposal(hall("two")), &state);
    assert_eq!(judged.looked_at(), None, "all of them");
    for (round, step) in [Act::Start, Act::Spend, Act::Complete].into_iter().enumerate() {
        for number in 0..installing {
            let name = format!("d{}", number * 40).parse().unwrap();
            act(&mut state, &name, step, Time(2 + round as u64));
        }
        judged = judged.again(&state);
        assert_eq!(judged.looked_at(), Some(2 * installing), "each machine and its deployment");
    }
    compare(&state, &judged, &plan::judge(proposal(hall("two")), &state), Time(9)).unwrap();
    assert_eq!(judged.again(&state).looked_at(), Some(0), "nothing happened since");
}
