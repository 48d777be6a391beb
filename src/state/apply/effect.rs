//! The life of an effect: it is caused, an executor begins with it, fails, tries again, and ends it, or a person
//! cancels it.

use std::sync::Arc;

use super::super::command::Outcome;
use super::super::effect::{Effect, Level, TaskOutcome};
use super::super::outbox::{self, EffectId, Pending, Progress, Task, Trouble};
use super::super::record::Record;
use super::super::schedule::PowerAnswer;
use super::super::{Event, Outbox, Stage, State};
use super::{Applied, claim_start, observe, power, power_order};
use crate::model::{Caller, Name, Time};

/// Puts a task into the outbox. When the command is answered, the task is durable.
pub(super) fn cause(outbox: &mut Outbox, task: Task, by: Caller, now: Time, out: &mut Applied) -> EffectId {
    put(outbox, task, by, now, out).id
}

/// The same where the entry is wanted.
pub(super) fn put(outbox: &mut Outbox, task: Task, by: Caller, now: Time, out: &mut Applied) -> Arc<Pending> {
    let pending = outbox.add(task, by.clone(), now);
    let id = pending.id;
    if pending.task.kind().is_stored() {
        out.log(Level::Info, format!("effect {id}, to {}, was caused by {by}", pending.task));
        out.records.push(Record::Effect(id, Some(pending.clone())));
        out.records.push(Record::Note(outbox::NOTE.into(), outbox.note()));
    }
    out.effects.push(Effect::Start(pending.clone()));
    pending
}

/// A source is to be read. A task that no executor has begun with sees what is in the source now; one that has
/// begun may have looked before. So there are two of a source at most: its executor begins one at a time. A task
/// that several wanted has the first of them as its cause.
pub(super) fn fetch(state: &mut State, source: Name, by: Caller, now: Time, out: &mut Applied) -> Outcome {
    let task = Task::Fetch { source };
    let waits = |pending: &Arc<Pending>| pending.begun.is_none() && pending.task == task;
    if !state.lasting.outbox.about(task.subject()).any(waits) {
        cause(&mut state.lasting.outbox, task, by, now, out);
    }
    Outcome::Done
}

/// An executor reports.
pub(super) fn progress(
    state: &mut State,
    id: EffectId,
    progress: Progress,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    let Some(pending) = state.lasting.outbox.get(id).cloned() else { return over(id) };
    let task = &pending.task;
    // A reading ends by its answer: without one, nothing was read.
    if let (Task::ReadPower { .. }, Progress::Done | Progress::GivenUp(_)) = (task, &progress) {
        return power::apply(state, id, PowerAnswer::none(), now, out);
    }
    match progress {
        Progress::Begun => {
            let begun = Arc::new(Pending { begun: Some(now), ..(*pending).clone() });
            if task.kind().is_stored() {
                out.records.push(Record::Effect(id, Some(begun.clone())));
            }
            state.lasting.outbox.put(begun);
        }
        Progress::Sent(sent) => {
            let next = Arc::new(Pending { sent: Some(sent), ..(*pending).clone() });
            out.records.push(Record::Effect(id, Some(next.clone())));
            out.log(Level::Info, format!("effect {id}, to {task}: {} is sent", sent.step));
            state.lasting.outbox.put(next);
        }
        Progress::NotSent(why, sent) => {
            let before = Arc::new(Pending { sent, ..(*pending).clone() });
            out.records.push(Record::Effect(id, Some(before.clone())));
            failed(state, &before, why, now, out);
        }
        Progress::Failed(why) => failed(state, &pending, why, now, out),
        Progress::Done => {
            end(state, &pending, TaskOutcome::Done, out);
            claim_start::switched(state, &pending);
            power_order::ended(state, &pending, None, now, out);
        }
        Progress::GivenUp(why) => {
            let text = format!("effect {id}, to {task}, caused by {}, is given up: {why}", pending.cause());
            say(state, task, text, now, out);
            power_order::given_up(state, &pending);
            end(state, &pending, TaskOutcome::GivenUp, out);
            power_order::ended(state, &pending, Some(why), now, out);
        }
    }
    Outcome::Done
}

/// An event about a task, which is one of the machine that it switches.
fn say(state: &mut State, task: &Task, text: String, now: Time, out: &mut Applied) {
    match task.kind().is_power() {
        true => power_order::say(state, task.subject(), text, now, out),
        false => observe::observe(state, Event::new(now, Stage::Daemon, text), out),
    }
}

/// An attempt failed, and another one is made.
fn failed(state: &mut State, pending: &Pending, why: Arc<str>, now: Time, out: &mut Applied) {
    let Pending { id, task, .. } = pending;
    let cause = pending.cause();
    let text = format!("effect {id}, to {task}, caused by {cause}, failed and is tried again: {why}");
    out.log(Level::Warn, text);
    out.count(task.kind(), TaskOutcome::Failed);
    let attempts = pending.trouble.as_ref().map_or(0, |trouble| trouble.attempts).saturating_add(1);
    let trouble = Some(Trouble { attempts, at: now, why });
    state.lasting.outbox.put(Arc::new(Pending { trouble, ..pending.clone() }));
}

/// A person does not want a task any more: no executor begins with it, and what one that has begun reports is
/// refused. A reading of power is caused again when it is due.
pub(super) fn cancel(state: &mut State, id: EffectId, by: Caller, now: Time, out: &mut Applied) -> Outcome {
    let Some(pending) = state.lasting.outbox.get(id).cloned() else { return Outcome::Cancelled(None) };
    end(state, &pending, TaskOutcome::Cancelled, out);
    if let Task::ReadPower { machine } = &pending.task {
        Arc::make_mut(&mut state.observed.schedule).skip(machine, id, now);
    }
    let text =
        format!("effect {id}, to {}, caused by {}, was cancelled by {by}", pending.task, pending.cause());
    say(state, &pending.task, text, now, out);
    power_order::ended(state, &pending, Some(format!("cancelled by {by}").into()), now, out);
    out.effects.push(Effect::Stop(id));
    Outcome::Cancelled(Some(pending))
}

/// Takes a task out of the outbox for good.
pub(super) fn end(state: &mut State, pending: &Pending, outcome: TaskOutcome, out: &mut Applied) {
    state.lasting.outbox.remove(pending.id);
    if pending.task.kind().is_stored() {
        out.records.push(Record::Effect(pending.id, None));
    }
    out.count(pending.task.kind(), outcome);
}

/// The answer to a report about an effect that has ended or was cancelled.
pub(super) fn over(id: EffectId) -> Outcome {
    Outcome::Refused(format!("effect {id} is not pending any more"))
}
