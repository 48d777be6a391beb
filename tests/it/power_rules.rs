//! Orders to switch machines over the state alone: how long one lasts, and when a rule gives one.

use std::sync::Arc;

use voldemort::model::{Name, PowerAction, Span, Time};
use voldemort::state::command::Outcome as Answer;
use voldemort::state::outbox::{Pending, Progress, Task};
use voldemort::state::{Adoption, Applied, Command, Server, State, Verb, apply};

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
