//! The power of machines: whose controller is asked next, and what one said.

use std::sync::Arc;

use super::super::State;
use super::super::command::Outcome;
use super::super::effect::{Level, TaskOutcome};
use super::super::outbox::{EffectId, Task};
use super::super::schedule::PowerAnswer;
use super::{Applied, effect};
use crate::model::{Caller, Name, PowerState, Time};

/// A management controller said how a machine's power is, or could not be asked.
pub(super) fn apply(
    state: &mut State,
    id: EffectId,
    answer: PowerAnswer,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    // The manifest or the secret may have changed while the controller was asked.
    catch_up(state, now);
    let Some(pending) = state.lasting.outbox.get(id).cloned() else { return effect::over(id) };
    let Task::ReadPower { machine } = &pending.task else { return effect::over(id) };
    let outcome = if answer.state.is_ok() { TaskOutcome::Done } else { TaskOutcome::Failed };
    effect::end(state, &pending, outcome, out);
    Arc::make_mut(&mut state.observed.schedule).hear(machine, id, &answer, now);
    say(state, machine, answer.state, now, out);
    ask(state, now, out);
    Outcome::Done
}

/// A controller said how a machine's power is while an order is carried out on it.
pub(super) fn seen(
    state: &mut State,
    machine: &Name,
    power: PowerState,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    say(state, machine, Ok(power), now, out);
    Outcome::Done
}

fn say(state: &mut State, machine: &Name, power: Result<PowerState, Arc<str>>, now: Time, out: &mut Applied) {
    let before = state.observed.power.get(machine).map(|reading| reading.state.clone());
    if state.power_read(machine, power.clone(), now) {
        match (before, power) {
            (Some(Ok(was)), Ok(is)) => out.log(Level::Info, format!("{machine} is {is}, and was {was}")),
            (_, Ok(is)) => out.log(Level::Info, format!("{machine} is {is}")),
            (_, Err(why)) => {
                out.log(Level::Warn, format!("the power state of {machine} is unknown: {why}"));
            }
        }
    }
}

/// Has the controllers asked whose turn it is.
pub(super) fn ask_due(state: &mut State, now: Time, out: &mut Applied) {
    catch_up(state, now);
    ask(state, now, out);
}

/// The clock was set back: what is due then would be due in a long time.
pub(super) fn clock_set_back(state: &mut State, now: Time) {
    if !state.observed.schedule.is_empty() {
        Arc::make_mut(&mut state.observed.schedule).begin_anew(now);
    }
}

fn catch_up(state: &mut State, now: Time) {
    if state.observed.schedule.is_behind(&state.desired.machines, &state.secrets) {
        let schedule = Arc::make_mut(&mut state.observed.schedule);
        let revoked = schedule.catch_up(&state.desired.machines, &state.secrets, now);
        revoked.into_iter().for_each(|id| drop(state.lasting.outbox.remove(id)));
    }
}

fn ask(state: &mut State, now: Time, out: &mut Applied) {
    if state.observed.schedule.is_due(now) {
        let outbox = &mut state.lasting.outbox;
        let begin = |machine| effect::cause(outbox, Task::ReadPower { machine }, Caller::DAEMON, now, out);
        Arc::make_mut(&mut state.observed.schedule).take_due(now, begin);
    }
}
