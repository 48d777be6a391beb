//! What the agent on a machine is to do next, of the state.

use serde_json::to_string;

use super::{Order, OrderedDisk, SignedOrder, Task};
use crate::model::{Idle, Name};
use crate::state::State;
use crate::state::agent_boot::AgentToken;
use crate::state::life::{Instruction, Life};
use crate::state::lifecycle::{DiskState, Known, Work};
use crate::state::outbox;

/// What an agent is to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Carry(Box<Order>),
    /// Nothing now.
    Wait,
    /// Its machine waits to be fenced: the agent says hello again, which is the proof that it runs.
    Hello,
    /// The epoch that it was started under is over.
    Over(String),
}

/// Why, for the console of a machine that hands over to its disk.
const DISCOVERED: &str = "the hardware is known now; the machine's own disk is booted";

/// What the agent with this session is to do on its machine.
pub fn next(state: &State, machine: &Name, session: &AgentToken) -> Next {
    upon(state, machine, session, state.instruction(machine, session.epoch))
}

/// What the agent with this session would have to do if no person held its machine: how a wipe ended is a fact, also
/// where a person has held the machine since it began.
pub fn begun(state: &State, machine: &Name, session: &AgentToken) -> Next {
    upon(state, machine, session, state.ordered(machine, session.epoch))
}

fn upon(state: &State, machine: &Name, session: &AgentToken, instruction: Instruction) -> Next {
    let life = state.life(machine);
    let present = state.agent_epoch(machine);
    let last = life.map_or(0, |life| life.epoch);
    // One that carried its order out, or was only to look, ends in peace; any other is late.
    let is_present = session.epoch == present || present == 0 && session.epoch == last;
    if !is_present {
        return Next::Over(format!(
            "this agent was started under epoch {}, and the present one of machine {machine} is {}",
            session.epoch,
            present.max(last)
        ));
    }
    let Some(life) = life else { return Next::Hello };
    let task = match instruction {
        Instruction::Wait => return waits(life),
        Instruction::Wipe { level, disks } => {
            Task::Wipe { level: level.into(), disks: ordered(state, machine, life, &disks) }
        }
        Instruction::Verify { disks } => Task::Verify { disks: ordered(state, machine, life, &disks) },
        Instruction::Leave => match leave(state, machine, life, session.epoch) {
            Some(task) => task,
            None => return Next::Wait,
        },
    };
    let reason = match &life.order {
        Some(order) => order.reason.to_string(),
        None => DISCOVERED.to_owned(),
    };
    Next::Carry(Box::new(Order {
        id: format!("{}-{}", session.epoch, word(&task)),
        epoch: session.epoch,
        machine: machine.to_string(),
        boot_id: session.boot_id.clone().unwrap_or_default(),
        reason,
        task,
    }))
}

/// The order as it travels.
pub fn signed(state: &State, order: &Order) -> SignedOrder {
    let order = to_string(order).expect("an order is texts, numbers and lists");
    SignedOrder { signature: state.token_key().sign(&order), order }
}

/// The word of a task, as it stands in the order.
pub fn word(task: &Task) -> &'static str {
    match task {
        Task::Wipe { .. } => "wipe",
        Task::Verify { .. } => "verify",
        Task::Reboot => "reboot",
        Task::PowerOff => "power-off",
        Task::LocalDisk => "local-disk",
    }
}

fn waits(life: &Life) -> Next {
    let is_ready = |order: &crate::state::life::Order| {
        order.work == Work::Fencing && order.condition != crate::state::lifecycle::Condition::Failed
    };
    match &life.order {
        Some(order) if life.hold.is_none() && is_ready(order) => Next::Hello,
        _ => Next::Wait,
    }
}

/// Disks as the agent recognizes them.
fn ordered(state: &State, machine: &Name, life: &Life, ids: &[std::sync::Arc<str>]) -> Vec<OrderedDisk> {
    let facts = state.facts(machine);
    let one = |id: &std::sync::Arc<str>| {
        let bytes = life.disks.iter().find(|disk| disk.id == *id).map_or(0, |disk| disk.bytes);
        let fact = facts.and_then(|facts| facts.disks.iter().find(|disk| *disk.id == **id));
        OrderedDisk { id: id.to_string(), bytes, serial: fact.and_then(|disk| disk.serial.clone()) }
    };
    ids.iter().map(one).collect()
}

/// What an agent does that is done on its machine; `None`: it stays.
fn leave(state: &State, machine: &Name, life: &Life, epoch: u64) -> Option<Task> {
    let off = outbox::Task::PowerOff { machine: machine.clone(), epoch };
    if state.outbox().about(machine).any(|pending| pending.task == off) {
        return Some(Task::PowerOff);
    }
    if state.tenant(machine).is_some() {
        return Some(Task::Reboot);
    }
    // One without anything on its disks has nothing to boot: it waits here for what it is to become.
    let is_blank = !life.disks.is_empty() && life.disks.iter().all(|disk| disk.state == DiskState::Clean);
    let own_disk = (!is_blank).then_some(Task::LocalDisk);
    if life.known != Known::Accepted {
        return own_disk;
    }
    // Right after a start of the daemon it is not known yet what the subnet says.
    if state.desired().revision.is_empty() {
        return None;
    }
    match idle(state, machine, life) {
        Idle::Off => Some(Task::PowerOff),
        Idle::Wait => None,
        Idle::Reboot => own_disk,
    }
}

/// What the subnet says of machines that nobody has: the one that the machine was last seen in.
fn idle(state: &State, machine: &Name, life: &Life) -> Idle {
    let own = state.desired().machines.get(machine).and_then(|machine| state.active_mac(machine));
    let cards = own.into_iter().chain(life.cards.iter().copied());
    let address = cards.filter_map(|card| state.seen().get(&card)?.address).next();
    let subnet = address.and_then(|address| state.subnet_at(address));
    let subnet = subnet.or_else(|| state.desired().subnets.get(life.subnet.as_ref()?));
    subnet.map(|subnet| subnet.idle).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::api::agent::fit::tests::certificate;
    use crate::api::agent::hello::report;
    use crate::api::agent::{OrderResult, Report};
    use crate::model::{Caller, Mac, Time, WipeLevel};
    use crate::state::Server;
    use crate::state::life::{self, Disk, Said};
    use crate::state::lifecycle::Condition;

    const CARD: &str = "52:54:00:aa:00:01";

    fn card() -> Mac {
        CARD.parse().unwrap()
    }

    fn session(epoch: u64) -> AgentToken {
        AgentToken { card: card(), epoch, boot_id: Some("b1".into()) }
    }

    fn order_of(work: Work, epoch: u64) -> life::Order {
        life::Order {
            epoch,
            work,
            condition: Condition::Well,
            why: "".into(),
            level: WipeLevel::Clear,
            off: false,
            disks: (work != Work::Fencing).then(|| ["wwn:1".into()].into()),
            over_budget: false,
            consented: false,
            by: Caller::DAEMON,
            reason: "claim ci-1 was released".into(),
            since: Time(1),
            progress: 0,
            attempts: 0,
        }
    }

    /// A machine that was discovered, or carries an order out.
    fn state(order: Option<life::Order>, disk: DiskState) -> (State, Name) {
        let machine: Name = "m1".parse().unwrap();
        let life = Life {
            known: Known::Discovered,
            cards: [card()].into(),
            disks: [Disk { id: "wwn:1".into(), bytes: 4096, state: disk }].into(),
            reported: Some(Time(1)),
            epoch: order.as_ref().map_or(0, |order| order.epoch),
            order: order.map(Arc::new),
            ..Life::default()
        };
        let state = State::new(Server::stand_in(Ipv4Addr::LOCALHOST));
        let state = state.with_lasting(|lasting| drop(lasting.lives.insert(machine.clone(), life.into())));
        (state, machine)
    }

    fn task(next: Next) -> Task {
        match next {
            Next::Carry(order) => order.task,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_reaches_the_agent_of_its_epoch_and_no_other() {
        let (state, machine) = state(Some(order_of(Work::Wiping, 7)), DiskState::Dirty);
        let Next::Carry(order) = next(&state, &machine, &session(7)) else { panic!("an order") };
        assert_eq!((order.id.as_str(), order.epoch, order.boot_id.as_str()), ("7-wipe", 7, "b1"));
        let Task::Wipe { level, disks } = &order.task else { panic!("{order:?}") };
        assert_eq!(
            (level.known(), disks[0].id.as_str(), disks[0].bytes),
            (Some(WipeLevel::Clear), "wwn:1", 4096)
        );
        let key = state.token_key().agent_key();
        assert_eq!(signed(&state, &order).open(&key, "b1"), Ok(*order));
        for late in [0, 6, 8] {
            assert!(matches!(next(&state, &machine, &session(late)), Next::Over(_)), "{late}");
        }
    }

    #[test]
    fn a_machine_that_is_to_be_fenced_is_asked_to_show_itself() {
        let fencing = order_of(Work::Fencing, 7);
        let failed = life::Order { condition: Condition::Failed, ..fencing.clone() };
        let (ready, machine) = state(Some(fencing), DiskState::Dirty);
        assert_eq!(next(&ready, &machine, &session(7)), Next::Hello);
        let (waits, machine) = state(Some(failed), DiskState::Dirty);
        assert_eq!(next(&waits, &machine, &session(7)), Next::Wait);
    }

    #[test]
    fn a_strangers_machine_boots_its_own_disk_and_a_blank_one_waits() {
        let (used, machine) = state(None, DiskState::Dirty);
        assert_eq!(task(next(&used, &machine, &session(0))), Task::LocalDisk);
        let (blank, machine) = state(None, DiskState::Clean);
        assert_eq!(next(&blank, &machine, &session(0)), Next::Wait);
        assert!(matches!(next(&blank, &machine, &session(3)), Next::Over(_)));
    }

    #[test]
    fn an_accepted_machine_waits_until_a_revision_is_loaded() {
        let (state, machine) = state(None, DiskState::Clean);
        let state = state.with_lasting(|lasting| {
            let life = Life { known: Known::Accepted, ..Life::clone(&lasting.lives[&machine]) };
            lasting.lives.insert(machine.clone(), life.into());
        });
        assert!(state.desired().revision.is_empty());
        assert_eq!(next(&state, &machine, &session(0)), Next::Wait);
    }

    #[test]
    fn a_wipe_that_ends_while_a_person_holds_the_machine_counts() {
        let held = |work: Work| {
            let (state, machine) = state(Some(order_of(work, 7)), DiskState::Dirty);
            let state = state.with_lasting(|lasting| {
                let hold = life::Hold { by: Caller::DAEMON, reason: "its fan".into(), until: None };
                let life = Life { hold: Some(hold.into()), ..Life::clone(&lasting.lives[&machine]) };
                lasting.lives.insert(machine.clone(), life.into());
            });
            (state, machine)
        };
        let of = |id: &str, result: OrderResult| Report { order: id.into(), epoch: 7, result };
        let disk = OrderedDisk { id: "wwn:1".into(), bytes: 4096, serial: None };
        let right = certificate(&disk, WipeLevel::Clear);
        let text: Arc<str> = serde_json::to_string(&right).unwrap().into();
        let done = OrderResult::Done { certificate: Some(right) };
        let (wiping, machine) = held(Work::Wiping);
        assert_eq!(next(&wiping, &machine, &session(7)), Next::Wait);
        let said = report(&wiping, &machine, &session(7), &of("7-wipe", done.clone()));
        assert_eq!(said, Ok(Some(Said::Wiped(text))));
        let failed = OrderResult::Failed { why: "no answer".into(), certificate: None };
        let said = report(&wiping, &machine, &session(7), &of("7-wipe", failed));
        assert!(matches!(said, Ok(Some(Said::NotWiped(..)))), "{said:?}");
        // It does not go on, and nothing new begins.
        let running = OrderResult::Running { disks: Vec::new() };
        assert!(report(&wiping, &machine, &session(7), &of("7-wipe", running)).is_err());
        assert!(report(&wiping, &machine, &session(7), &of("6-wipe", done.clone())).is_err());
        let (verifying, machine) = held(Work::Verifying);
        assert_eq!(next(&verifying, &machine, &session(7)), Next::Wait);
        assert!(report(&verifying, &machine, &session(7), &of("7-verify", done)).is_err());
    }

    #[test]
    fn a_report_counts_for_the_present_order_alone() {
        let disk = OrderedDisk { id: "wwn:1".into(), bytes: 4096, serial: None };
        let right = certificate(&disk, WipeLevel::Clear);
        let text: Arc<str> = serde_json::to_string(&right).unwrap().into();
        let done = |id: &str| {
            let result = OrderResult::Done { certificate: Some(right.clone()) };
            Report { order: id.into(), epoch: 7, result }
        };
        let (wiping, machine) = state(Some(order_of(Work::Wiping, 7)), DiskState::Dirty);
        assert_eq!(report(&wiping, &machine, &session(7), &done("7-wipe")), Ok(Some(Said::Wiped(text))));
        assert!(report(&wiping, &machine, &session(7), &Report { epoch: 6, ..done("7-wipe") }).is_err());
        // Whoever says so has to show it: the order fails, and waits for a person.
        let none = Report { result: OrderResult::Done { certificate: None }, ..done("7-wipe") };
        let rejected = report(&wiping, &machine, &session(7), &none).unwrap_err();
        assert!(matches!(rejected.said, Some(Said::Failed(why)) if why.ends_with("there is no certificate")));
        let (verifying, _) = state(Some(order_of(Work::Verifying, 7)), DiskState::Dirty);
        // The answer to it was lost, and it is sent again.
        assert!(report(&verifying, &machine, &session(7), &done("7-wipe")).is_err());
        assert_eq!(
            report(&verifying, &machine, &session(7), &done("7-verify")),
            Ok(Some(Said::Verified(true)))
        );
        assert!(report(&verifying, &machine, &session(6), &done("6-verify")).is_err());
        let dirty = OrderResult::NotBlank { why: "a signature".into() };
        let found = Report { result: dirty, ..done("7-verify") };
        assert_eq!(report(&verifying, &machine, &session(7), &found), Ok(Some(Said::Verified(false))));
        let failed = OrderResult::Failed { why: "no answer".into(), certificate: None };
        let said = report(&wiping, &machine, &session(7), &Report { result: failed, ..done("7-wipe") });
        assert_eq!(
            said,
            Ok(Some(Said::NotWiped("our agent could not wipe it: no answer".into(), "".into())))
        );
    }
}
