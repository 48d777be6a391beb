//! Orders to switch machines over the state alone: how long one lasts, and when a rule gives one.

use std::sync::Arc;

use voldemort::model::{Name, PowerAction, PowerState, Span, Time};
use voldemort::state::command::Outcome as Answer;
use voldemort::state::outbox::{Pending, Progress, Task, TaskKind};
use voldemort::state::{
    Adoption, Applied, Command, Outcome, Permit, PermitStep, Report, Server, State, Verb, apply,
};

use super::loaded;

const HEAD: &str = "[subnet.lab]\ncidr = \"10.0.0.0/16\"\n[boot.b]\nkernel = \"vmlinuz\"\n\
                    cmdline = [\"url={{ answers_url }}\"]\n";
const START: Time = Time(1_000_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A machine with a controller.
fn machine(number: u16, more: &str) -> String {
    let [high, low] = number.to_be_bytes();
    format!(
        "[machine.m{number}]\nmac = \"52:54:00:00:{high:02x}:{low:02x}\"\n\
         power = {{ kind = \"redfish\", url = \"https://10.9.{high}.{low}\" }}\n{more}\n"
    )
}

/// The deployment of such a machine.
fn deployment(number: u16, redeploy: u64) -> String {
    format!(
        "[deployment.d{number}]\nmachine = \"m{number}\"\nsubnet = \"lab\"\nboot = \"b\"\ntemplate = \"preseed\"\n\
         address = \"10.0.1.{number}\"\nredeploy = {redeploy}\n"
    )
}

/// So many hours after the first midnight.
fn hour(hours: u64) -> Time {
    Time(hours * 3_600_000)
}

/// A daemon without a disk and without executors.
struct Site {
    state: State,
    now: Time,
}

impl Site {
    fn new(text: &str) -> Site {
        let state = State::new(Server::stand_in([10, 0, 0, 1].into()));
        let mut site = Site { state, now: START };
        site.adopt("", text);
        site
    }

    fn run(&mut self, verb: Verb) -> Answer {
        apply(&mut self.state, Command::daemon(verb), self.now, &mut Applied::default())
    }

    fn adopt(&mut self, safety: &str, text: &str) {
        let next = loaded::desired(&[
            ("voldemort.toml", &format!("format = 1\n[safety]\n{safety}")),
            ("a.toml", &format!("{HEAD}{text}")),
        ]);
        let adoption = Adoption::new(&self.state, next, self.state.secrets().clone());
        assert_eq!(self.run(Verb::Adopt(adoption.into())), Answer::Done);
    }

    fn permit(&mut self, deployment: &str, redeploy: u64, step: PermitStep) {
        let permit = Permit { deployment: name(deployment), redeploy, epoch: None, step };
        assert_eq!(self.run(Verb::Permit(permit)), Answer::Done);
    }

    /// A deployment is installed, from the first answer to the end.
    fn install(&mut self, deployment: &str, redeploy: u64) {
        self.permit(deployment, redeploy, PermitStep::Start);
        self.permit(deployment, redeploy, PermitStep::Spend);
        let (outcome, note) = (Outcome::Completed, String::new());
        let report = Report { deployment: name(deployment), redeploy, epoch: None, outcome, note };
        assert_eq!(self.run(Verb::Report(report)), Answer::Done);
    }

    fn is_off(&mut self, machine: &str) {
        assert_eq!(self.run(Verb::PowerSeen(name(machine), PowerState::Off)), Answer::Done);
    }

    /// The orders that are not done when the clock stands there.
    fn tick(&mut self, now: Time) -> Vec<Arc<Pending>> {
        self.now = now;
        assert_eq!(self.run(Verb::Tick), Answer::Done);
        self.state.outbox().of(TaskKind::Power).cloned().collect()
    }

    fn give_up(&mut self, pending: &Pending, why: &str) {
        assert_eq!(self.run(Verb::Progress(pending.id, Progress::GivenUp(why.into()))), Answer::Done);
    }

    fn order(&mut self, machine: &str, action: PowerAction) -> Arc<Pending> {
        match self.run(Verb::PowerOrder(name(machine), action, "for a test".into())) {
            Answer::Ordered(pending) => pending,
            other => panic!("{other:?}"),
        }
    }
}

fn until(pending: &Pending) -> Time {
    match &pending.task {
        Task::Power { order, .. } => order.until,
        other => panic!("{other}"),
    }
}

/// One machine a second is switched on: the last of many waits long, and has done nothing wrong by that.
#[test]
fn an_order_has_the_time_of_those_before_it() {
    let mut site = Site::new(&(1..=1000).map(|number| machine(number, "")).collect::<String>());
    let orders: Vec<_> =
        (1..=1000).map(|number| site.order(&format!("m{number}"), PowerAction::On)).collect();
    let last = orders.last().unwrap();
    assert_eq!((until(&orders[0]), until(last)), (START + Span::seconds(600), START + Span::seconds(1599)));
    assert_eq!(last.stuck(START + Span::seconds(700)), None);
    assert!(orders[0].stuck(START + Span::seconds(700)).is_some());
    assert!(last.stuck(START + Span::seconds(1599)).is_some());
    // What is done takes nobody's time.
    for pending in &orders {
        assert_eq!(site.run(Verb::Progress(pending.id, Progress::Done)), Answer::Done);
    }
    assert_eq!(until(&site.order("m7", PowerAction::On)), START + Span::seconds(600));
}

#[test]
fn a_machine_whose_turn_did_not_come_before_the_window_closed_is_switched_on_in_the_next_one() {
    let text = |redeploy| machine(1, "power-on = true") + &deployment(1, redeploy);
    let mut site = Site::new(&text(0));
    site.install("d1", 0);
    site.is_off("m1");
    assert!(site.tick(hour(12)).is_empty());
    site.adopt("windows = [\"daily 02:00-03:00\"]", &text(1));
    assert!(site.tick(hour(13)).is_empty());
    // Whatever an order came to in a night: it was held back in the first two.
    let mut night = |day: u64| {
        let orders = site.tick(hour(day * 24 + 2));
        assert_eq!(orders.len(), 1, "day {day}");
        assert_eq!(site.tick(hour(day * 24 + 2)), orders, "once");
        assert_eq!(site.tick(hour(day * 24 + 3)), orders);
        assert!(!site.state.wants(&orders[0].task), "day {day}");
        site.give_up(&orders[0], "it is not wanted any more");
        assert!(site.tick(hour(day * 24 + 12)).is_empty());
    };
    night(1);
    night(2);
    // A wrong password is tried once.
    let orders = site.tick(hour(3 * 24 + 2));
    site.give_up(&orders[0], "the password is wrong");
    assert!(site.tick(hour(3 * 24 + 2)).is_empty());
    assert!(site.tick(hour(4 * 24 + 2)).is_empty());
}

#[test]
fn a_machine_whose_place_another_one_took_is_switched_on_when_there_is_one_again() {
    let text = |redeploy| {
        [machine(1, "power-on = true"), machine(2, ""), deployment(1, redeploy), deployment(2, redeploy)]
            .concat()
    };
    let mut site = Site::new(&text(0));
    for deployment in ["d1", "d2"] {
        site.install(deployment, 0);
    }
    site.is_off("m1");
    site.adopt("max-in-flight = 1", &text(1));
    let orders = site.tick(hour(1));
    assert_eq!(orders.len(), 1);
    site.permit("d2", 1, PermitStep::Start);
    assert!(!site.state.wants(&orders[0].task), "the other one runs, and was faster");
    site.give_up(&orders[0], "it is not wanted any more");
    assert!(site.tick(hour(1)).is_empty());
    site.install("d2", 1);
    assert_eq!(site.tick(hour(1)).len(), 1);
}
