use std::collections::BTreeMap;

use super::super::effect::{Effect, TaskOutcome};
use super::super::outbox::{Progress, Task, TaskKind};
use super::super::{Applied, Command, Server, State, Verb, apply};
use super::*;
use crate::desired::Desired;
use crate::model::{Caller, Origin};
use crate::state::command::Outcome;

fn machine(name: &str, url: &str) -> (Name, Arc<Machine>) {
    let name: Name = name.parse().unwrap();
    let credentials = Some("bmc".parse().unwrap());
    let power = Power {
        kind: PowerKind::Redfish,
        url: Some(url.into()),
        address: None,
        command: None,
        credentials,
        fingerprint: None,
    };
    let origin = Origin { file: "a.toml".into(), line: 1, column: 1 };
    let machine = Machine {
        name: name.clone(),
        macs: Vec::new(),
        ids: Vec::new(),
        labels: BTreeMap::new(),
        protect: None,
        options: Default::default(),
        power: Some(power),
        power_on: false,
        loader: Vec::new(),
        origin,
    };
    (name, Arc::new(machine))
}

/// A state with these machines, and its clock.
struct Hall {
    state: State,
    now: Time,
    started: Vec<(EffectId, Name)>,
}

impl Hall {
    fn new(pace: Pace, machines: impl IntoIterator<Item = (Name, Arc<Machine>)>) -> Hall {
        let state = State::new(Server::stand_in([10, 0, 0, 1].into())).with_pace(pace);
        let mut hall = Hall { state, now: Time(1_000_000), started: Vec::new() };
        hall.machines(machines);
        hall.secret("root:calvin");
        hall
    }

    fn machines(&mut self, machines: impl IntoIterator<Item = (Name, Arc<Machine>)>) {
        let machines = machines.into_iter().collect();
        self.state.desired = Arc::new(Desired { machines, ..Desired::default() });
    }

    fn secret(&mut self, text: &str) {
        self.state.secrets = Arc::new(Secrets::Known([("bmc".to_owned(), text.to_owned())].into()));
    }

    fn act(&mut self, verb: Verb) -> (Outcome, Applied) {
        let mut out = Applied::default();
        let outcome = apply(&mut self.state, Command::daemon(verb), self.now, &mut out);
        assert!(out.records.is_empty(), "nothing of it is stored: {:?}", out.records);
        for effect in &out.effects {
            if let Effect::Start(pending) = effect {
                assert_eq!(pending.task.kind(), TaskKind::ReadPower);
                self.started.push((pending.id, pending.task.subject().clone()));
            }
        }
        (outcome, out)
    }

    /// Time goes by; the machines whose reading begins then.
    fn after(&mut self, span: Span) -> Vec<String> {
        self.now = self.now + span;
        let before = self.started.len();
        self.act(Verb::Tick);
        self.started[before..].iter().map(|(_, name)| name.to_string()).collect()
    }

    /// The controller of a machine answers.
    fn answer(&mut self, name: &str, state: Result<PowerState, &str>, is_login: bool) -> Outcome {
        let (id, _) = self.started.iter().rev().find(|(_, own)| own.as_str() == name).unwrap();
        let state = state.map_err(Arc::from);
        self.act(Verb::Power(*id, PowerAnswer { state, is_login, system: None })).0
    }

    /// How many seconds pass until a machine is read again.
    fn until_read(&mut self, name: &str) -> u64 {
        let (began, step) = (self.now, Span::seconds(1));
        while !self.after(step).iter().any(|one| one == name) {
            assert!(self.now.since(began) < Span::seconds(20_000), "{name} is never read again");
        }
        self.now.since(began).as_seconds()
    }
}

fn near(seconds: u64, wanted: u64) {
    assert!((wanted * 9 / 10..=wanted * 11 / 10 + 1).contains(&seconds), "{seconds} s, not {wanted} s");
}

fn many(count: usize) -> impl Iterator<Item = (Name, Arc<Machine>)> {
    (0..count).map(|n| machine(&format!("m{n:05}"), &format!("https://10.0.{}.{}", n / 250, n % 250 + 1)))
}

#[test]
fn failures_double_the_pause_to_a_quarter_of_an_hour() {
    let mut hall = Hall::new(Pace::default(), [machine("m", "https://10.0.0.1")]);
    assert_eq!(hall.after(Span(0)), ["m"]);
    for wanted in [120, 240, 480, 900, 900] {
        assert_eq!(hall.answer("m", Err("no route"), false), Outcome::Done);
        near(hall.until_read("m"), wanted);
    }
    hall.answer("m", Ok(PowerState::On), false);
    near(hall.until_read("m"), 120);
    assert_eq!(Pace::default().pause(u32::MAX, false), Span::seconds(900));
}

#[test]
fn a_wrong_password_waits_for_another_one() {
    let mut hall = Hall::new(Pace::default(), [machine("m", "https://10.0.0.1")]);
    hall.after(Span(0));
    hall.answer("m", Err("401"), true);
    assert!(hall.after(Span::seconds(3000)).is_empty());
    hall.secret("root:calvin");
    assert!(hall.after(Span::seconds(1)).is_empty(), "the same password is none that was mended");
    hall.secret("root:other");
    assert_eq!(hall.after(Span::seconds(1)), ["m"]);
    // It was mended while the old one was being tried.
    hall.secret("root:third");
    hall.answer("m", Err("401"), true);
    assert_eq!(hall.started.len(), 3, "at once");
    hall.answer("m", Ok(PowerState::Off), false);
    near(hall.until_read("m"), 120);
}

#[test]
fn so_many_at_once_and_one_of_a_chassis() {
    let blades = (1..=3).map(|n| {
        machine(&format!("z-blade{n}"), &format!("https://10.9.9.9:8443/redfish/v1/Systems/Blade{n}"))
    });
    let pace = Pace { at_once: 8, ..Pace::default() };
    let mut hall = Hall::new(pace, many(20).chain(blades));
    hall.after(Span(0));
    hall.after(Span::seconds(60));
    assert_eq!(hall.started.len(), 8);
    // Each answer lets the next begin; nobody waits for a tick.
    let mut ended = 0;
    while ended < hall.started.len() {
        let name = hall.started[ended].1.to_string();
        hall.answer(&name, Ok(PowerState::On), false);
        ended += 1;
        let begun = hall.started[ended..].iter().filter(|(_, name)| name.as_str().starts_with("z-")).count();
        assert!(begun <= 1, "one request to a controller at a time");
        if ended == hall.started.len() {
            hall.after(Pace::default().busy);
        }
    }
    assert_eq!(ended, 23, "everybody had a turn once");
}

#[test]
fn who_goes_or_changes_while_being_read_is_not_believed() {
    let mut hall =
        Hall::new(Pace::default(), [machine("m", "https://10.0.0.1"), machine("n", "https://10.0.0.2")]);
    hall.after(Span::seconds(1));
    let old = hall.started.clone();
    hall.machines([machine("m", "https://10.0.0.3")]);
    assert_eq!(hall.after(Span::seconds(1)), ["m"], "another controller is asked at once");
    for (id, _) in old {
        let (outcome, _) =
            hall.act(Verb::Power(id, PowerAnswer { state: Ok(PowerState::On), ..PowerAnswer::none() }));
        assert!(matches!(outcome, Outcome::Refused(_)));
    }
    assert!(hall.state.power().is_empty());
    hall.answer("m", Ok(PowerState::Off), false);
    assert_eq!(hall.state.power().len(), 1);
    near(hall.until_read("m"), 120);
    // A reading that ends without an answer is a failed one.
    let (id, _) = hall.started.last().unwrap().clone();
    let (_, out) = hall.act(Verb::Progress(id, Progress::GivenUp("by mistake".into())));
    assert!(out.effects.contains(&Effect::Count(TaskKind::ReadPower, TaskOutcome::Failed)));
    near(hall.until_read("m"), 120);
}

#[test]
fn a_reading_that_is_cancelled_is_made_when_the_next_one_is_due() {
    let mut hall = Hall::new(Pace::default(), [machine("m", "https://10.0.0.1")]);
    hall.after(Span(0));
    hall.answer("m", Ok(PowerState::On), false);
    near(hall.until_read("m"), 120);
    let (id, _) = hall.started.last().unwrap().clone();
    assert_eq!(hall.state.outbox().get(id).unwrap().by, Some(Caller::DAEMON));
    let (outcome, out) = hall.act(Verb::Cancel(id));
    assert!(matches!(outcome, Outcome::Cancelled(Some(_))) && out.effects.contains(&Effect::Stop(id)));
    assert!(matches!(hall.answer("m", Ok(PowerState::Off), false), Outcome::Refused(_)));
    let known: Vec<_> = hall.state.power().values().map(|reading| reading.state.clone()).collect();
    assert_eq!(known, [Ok(PowerState::On)], "what is known of the machine stays");
    near(hall.until_read("m"), 120);
}

#[test]
fn a_machine_is_read_sooner_where_somebody_waits_for_it() {
    let mut hall = Hall::new(Pace::default(), [machine("m", "https://10.0.0.1")]);
    let name: Name = "m".parse().unwrap();
    hall.after(Span(0));
    let hasten = |hall: &mut Hall, seconds| {
        let by = hall.now + Span::seconds(seconds);
        Arc::make_mut(&mut hall.state.observed.schedule).hasten(&name, by)
    };
    assert!(!hasten(&mut hall, 10), "it is being read");
    hall.answer("m", Ok(PowerState::On), false);
    assert!(hasten(&mut hall, 10));
    assert!(!hasten(&mut hall, 10) && !hasten(&mut hall, 20), "it is read sooner already");
    near(hall.until_read("m"), 10);
    // A controller that fails is left in peace.
    hall.answer("m", Err("busy"), false);
    assert!(!hasten(&mut hall, 10));
    near(hall.until_read("m"), 120);
}

#[test]
fn a_large_site_is_taken_in_by_and_by_and_a_clock_that_is_set_back_stops_nothing() {
    let count = TAKEN_IN * 2 + 100;
    let pace = Pace { spread: Span(0), at_once: count, ..Pace::default() };
    let mut hall = Hall::new(pace, many(count));
    assert_eq!(hall.after(Span(0)).len(), TAKEN_IN);
    assert_eq!(hall.after(Span(1)).len(), TAKEN_IN);
    assert_eq!(hall.after(Span(1)).len(), 100);
    assert_eq!(hall.after(Span(1)).len(), 0);
    for (id, _) in hall.started.clone() {
        hall.act(Verb::Power(id, PowerAnswer { state: Ok(PowerState::On), ..PowerAnswer::none() }));
    }
    hall.now = Time(1000);
    assert_eq!(hall.after(Span(0)).len(), count, "all of them are due in the past and are read anew");
    assert!(hall.state.outbox().iter().all(|one| matches!(one.task, Task::ReadPower { .. })));
}
