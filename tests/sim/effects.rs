//! What has to hold of effects, as seen from outside of the daemon, through all its deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use voldemort::model::{Caller, Name, Time};
use voldemort::state::outbox::{EffectId, Pending, Progress, Task, TaskKind};
use voldemort::state::{Command, State, Verb};

/// A command whose sender waits for the outcome and is no client of DHCP or of the boot files.
#[derive(Clone, Debug)]
pub(crate) enum Submission {
    /// A webhook says that a source has changed. The number says when it arrived.
    Call { source: Name, arrival: u64 },
    /// An executor is about to begin with a task.
    Begun(EffectId),
    /// An executor reports the end of an attempt by this verb.
    End(EffectId, Verb),
    /// A person cancels an effect.
    Cancel(EffectId),
}

impl Submission {
    pub(crate) fn command(&self) -> Command {
        match self {
            Submission::Call { source, .. } => {
                Command { by: Caller::WEBHOOK, verb: Verb::Fetch(source.clone()) }
            }
            Submission::Begun(id) => Command::daemon(Verb::Progress(*id, Progress::Begun)),
            Submission::End(_, verb) => Command::daemon(verb.clone()),
            Submission::Cancel(id) => Command::daemon(Verb::Cancel(*id)),
        }
    }
}

/// What was promised of effects, and what executors did.
#[derive(Default)]
pub(crate) struct Effects {
    /// Grows with everything that happens here.
    order: u64,
    /// Of each source the latest acknowledged call that no look has begun after: when it arrived.
    calls: BTreeMap<Name, u64>,
    /// When a person last cancelled a look at a source: calls of before may stay without one.
    cancelled: BTreeMap<Name, u64>,
    /// What each number of a stored effect stands for.
    known: BTreeMap<EffectId, (Task, Option<Caller>, Time)>,
    /// Stored effects of which the end, or the cancellation, was acknowledged.
    over: BTreeSet<EffectId>,
    /// How often each effect was worked on, and how often that may be.
    works: BTreeMap<EffectId, (u32, u32)>,
}

impl Effects {
    /// Something arrives; a number that is higher than that of all before.
    pub(crate) fn arrival(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// The sender of a call has its acknowledgement: a look begins that is later than the call.
    pub(crate) fn call_acknowledged(&mut self, source: &Name, arrival: u64) {
        if self.cancelled.get(source).is_none_or(|at| *at < arrival) {
            let latest = self.calls.entry(source.clone()).or_default();
            *latest = arrival.max(*latest);
        }
    }

    /// A person is about to cancel an effect. Whether that is stored is seen later, perhaps after a crash.
    pub(crate) fn cancels(&mut self, pending: &Pending) {
        let at = self.arrival();
        if let Task::Fetch { source } = &pending.task {
            self.calls.remove(source);
            self.cancelled.insert(source.clone(), at);
        }
    }

    /// The end of an effect is acknowledged, by a report or by a person: it never begins again.
    pub(crate) fn ended(&mut self, id: EffectId) {
        if self.known.contains_key(&id) {
            self.over.insert(id);
        }
    }

    /// An executor begins to work. `durable` is what would be found after a crash.
    pub(crate) fn works(&mut self, pending: &Pending, durable: &State) {
        let id = pending.id;
        if pending.task.kind().is_stored() {
            let begun = durable.outbox().get(id).and_then(|stored| stored.begun);
            assert!(begun.is_some(), "effect {id} is worked on and a crash would not know that it began");
        }
        assert!(!self.over.contains(&id), "effect {id} is worked on after its end was acknowledged");
        let (works, allowed) = self.works.entry(id).or_insert((0, 1));
        *works += 1;
        assert!(works <= allowed, "effect {id} is worked on {works} times, without a crash between");
        if let Task::Fetch { source } = &pending.task {
            self.calls.remove(source);
        }
    }

    /// An attempt failed, or the daemon died in the middle of it: it may be made once more.
    pub(crate) fn may_repeat(&mut self, id: EffectId) {
        if let Some((works, allowed)) = self.works.get_mut(&id) {
            *allowed = *works + 1;
        }
    }

    /// A state that is published: its numbers stand for what they always did.
    pub(crate) fn check(&mut self, published: &State) {
        for pending in published.outbox().iter().filter(|pending| pending.task.kind().is_stored()) {
            let Pending { id, task, by, since, .. } = &**pending;
            let own = (task.clone(), by.clone(), *since);
            let known = self.known.entry(*id).or_insert_with(|| own.clone());
            assert_eq!(*known, own, "effect {id} is another one now");
            assert!(!self.over.contains(id), "effect {id} is pending after its end was acknowledged");
            let is_found = published.outbox().about(task.subject()).any(|one| one.id == *id);
            assert!(is_found, "effect {id} is not found by what it is about");
        }
        self.check_calls(published);
    }

    /// What a start finds in the outbox: nothing of the kinds that are not stored.
    pub(crate) fn started(&mut self, state: &State) {
        let other = state.outbox().iter().find(|pending| !pending.task.kind().is_stored());
        assert!(other.is_none(), "a restart brought back {other:?}");
        self.works.retain(|id, _| self.known.contains_key(id));
        self.check(state);
    }

    /// Records are lost, or a backup was restored: what was promised before does not count.
    pub(crate) fn forget(&mut self) {
        *self = Effects { order: self.order, ..Effects::default() };
    }

    /// Every acknowledged call had its look, or has an effect that will bring one.
    pub(crate) fn check_calls(&self, state: &State) {
        for source in self.calls.keys() {
            let waits = |pending: &Arc<Pending>| pending.task.subject() == source;
            assert!(
                state.outbox().of(TaskKind::Fetch).any(waits),
                "a call for source {source} was acknowledged, and nobody looks"
            );
        }
    }
}
