//! Orders to switch machines: a person gives one, or a machine is to install and is off.

use std::sync::Arc;

use super::super::command::Outcome;
use super::super::effect::{Effect, TaskOutcome};
use super::super::outbox::{Pending, Task};
use super::super::power_order::{PATIENCE, PowerEnd, PowerOrder, TURN};
use super::super::{Event, Stage, State};
use super::{Applied, effect};
use crate::model::{Caller, Name, PowerAction, PowerState, PowerStep, Span, Time};

/// A person, or a program of one, wants a machine's power to be so.
pub(super) fn order(
    state: &mut State,
    machine: Name,
    action: PowerAction,
    reason: Arc<str>,
    by: Caller,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    if let Some(why) = state.refuses_power(&machine, action) {
        return Outcome::Refused(why);
    }
    let pending: Vec<Arc<Pending>> = state.power_orders(&machine).cloned().collect();
    for one in pending {
        let same = matches!(&one.task, Task::Power { order, .. } if order.action == action);
        // One that waits for its turn is as good as another one.
        if same && one.sent.is_none() && state.wants(&one.task) {
            return Outcome::Ordered(one);
        }
        replace(state, &one, &by, now, out);
    }
    Outcome::Ordered(cause(state, machine, action, reason, by, now, out))
}

fn cause(
    state: &mut State,
    machine: Name,
    action: PowerAction,
    reason: Arc<str>,
    by: Caller,
    now: Time,
    out: &mut Applied,
) -> Arc<Pending> {
    let ahead = state.lasting.outbox.switching() as u64;
    let until = now + PATIENCE + Span(TURN.0.saturating_mul(ahead));
    let order = PowerOrder { action, reason, epoch: state.power_epoch(&machine), until };
    let task = Task::Power { machine: machine.clone(), order };
    let text = format!("{by} orders to {task}");
    let pending = effect::put(&mut state.lasting.outbox, task, by, now, out);
    say(state, &machine, text, now, out);
    pending
}

/// The last word counts.
fn replace(state: &mut State, pending: &Pending, by: &Caller, now: Time, out: &mut Applied) {
    effect::end(state, pending, TaskOutcome::Cancelled, out);
    let text = format!("the order to {} is replaced by one of {by}", pending.task);
    say(state, pending.task.subject(), text, now, out);
    out.effects.push(Effect::Stop(pending.id));
}

/// How a task about a machine's power ended, for people.
pub(super) fn ended(
    state: &mut State,
    pending: &Pending,
    why: Option<Arc<str>>,
    now: Time,
    out: &mut Applied,
) {
    let task = &pending.task;
    if task.kind().is_power() {
        let what: Arc<str> = task.to_string().into();
        let end = PowerEnd { id: pending.id, what, at: now, why: why.clone() };
        state.observed.power_log.ends.insert(task.subject().clone(), end.into());
        if why.is_none() {
            let text = format!("done: {task}, caused by {}", pending.cause());
            say(state, task.subject(), text, now, out);
        }
    }
}

/// A machine that was not switched on because it is not to install now (its window closed, others took the places of the
/// wave, a person holds it) is switched on when it is to install again. An order that failed is not given again.
pub(super) fn given_up(state: &mut State, pending: &Pending) {
    let Task::Power { machine, order } = &pending.task else { return };
    let was_switched = pending.sent.is_some_and(|sent| sent.step == PowerStep::On);
    let is_due = state.wants(&pending.task) && state.delays(&pending.task).is_none();
    if order.action != PowerAction::Install || was_switched || is_due {
        return;
    }
    let switched_on = &mut state.observed.power_log.switched_on;
    if switched_on.get(machine) == Some(&order.epoch) {
        switched_on.remove(machine);
    }
}

/// Machines that are looked at in one go: many must not hold up leases.
const LOOKED_AT: usize = 512;

/// Switches machines on that are to install, or to boot for a claim, and are off: no more installations than the waves have
/// room for.
pub(super) fn switch_on(state: &mut State, now: Time, out: &mut Applied) {
    let log = &state.observed.power_log;
    let names: Vec<Name> =
        state.observed.schedule.switched(log.looked_at.as_ref()).take(LOOKED_AT).cloned().collect();
    state.observed.power_log.looked_at = names.last().filter(|_| names.len() == LOOKED_AT).cloned();
    let mut wanted = Vec::new();
    for machine in names {
        if !is_to_start(state, &machine) {
            continue;
        }
        match is_off(state, &machine) {
            true => wanted.push(machine),
            false => hasten(state, &machine, now),
        }
    }
    if wanted.is_empty() {
        return;
    }
    let mut room = state.wave_room();
    for machine in wanted {
        let installs = state.is_to_install(&machine);
        let is_again = installs && state.starts_again(&machine);
        if is_again && room == Some(0) {
            continue;
        }
        let what = if installs { "install" } else { "boot from the network" };
        let reason = format!("it is to {what}, and has power-on = true").into();
        let epoch = state.power_epoch(&machine);
        state.observed.power_log.switched_on.insert(machine.clone(), epoch);
        cause(state, machine, PowerAction::Install, reason, Caller::DAEMON, now, out);
        room = room.map(|room| room - usize::from(is_again));
    }
}

/// Whether a machine is to install now, or to boot for its claim, and was not switched on for that yet.
fn is_to_start(state: &State, machine: &Name) -> bool {
    (state.is_to_install(machine) || state.is_to_boot(machine))
        && state.observed.power_log.switched_on.get(machine) != Some(&state.power_epoch(machine))
        && state.refuses_power(machine, PowerAction::Install).is_none()
        && state.power_orders(machine).next().is_none()
}

fn is_off(state: &State, machine: &Name) -> bool {
    match state.observed.power.get(machine).map(|reading| &reading.state) {
        Some(Ok(state)) => *state == PowerState::Off,
        // One that can't be read may be on: a packet does no harm.
        _ => {
            let machine = state.desired.machines.get(machine);
            let power = machine.and_then(|machine| machine.power.as_ref());
            power.is_some_and(|power| !power.kind.can_read())
        }
    }
}

/// Readings are minutes apart. A machine that is given to somebody may have been switched off since the last one, or be
/// about to go off: it is read sooner for a while.
const EARLY: Span = Span::seconds(10);
const EARLY_MAX: u32 = 12;

fn hasten(state: &mut State, machine: &Name, now: Time) {
    let epoch = state.power_epoch(machine);
    let known = state.observed.power_log.hastened.get(machine).filter(|(of, _)| *of == epoch);
    let times = known.map_or(0, |(_, times)| *times);
    if times < EARLY_MAX && Arc::make_mut(&mut state.observed.schedule).hasten(machine, now + EARLY) {
        state.observed.power_log.hastened.insert(machine.clone(), (epoch, times + 1));
    }
}

/// An event of a machine that nothing was seen of: it is not observed.
pub(super) fn say(state: &State, machine: &Name, text: String, now: Time, out: &mut Applied) {
    let mac = state.desired.machines.get(machine).and_then(|machine| state.active_mac(machine));
    out.events.push(Event { mac, ..Event::new(now, Stage::Daemon, text) });
}
