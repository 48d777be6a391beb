//! The executors of effects, the sources that they read, and the senders of webhooks. Executors do as those of the
//! daemon do (`src/daemon/effect/runner.rs`): they look at the published outbox whenever something changed in it,
//! begin with one task of a subject at a time, and repeat their reports until these are stored.

use std::sync::Arc;

use voldemort::model::{Name, PowerState, Time};
use voldemort::state::Verb;
use voldemort::state::command::Outcome;
use voldemort::state::effect::Effect;
use voldemort::state::outbox::{EffectId, Pending, Progress, Task};
use voldemort::state::schedule::PowerAnswer;

use super::{Item, MINUTE, SECOND, World};
use crate::effects::Submission;
use crate::inventory::{SOURCES, desired, source_of};

/// A source of the inventory, outside of the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The numbers of all machines, as they were pushed last; those of the source's own machines count.
    pub(super) pushed: Vec<u64>,
    /// The same as it was read last.
    read: Vec<u64>,
    /// It can't be read until then.
    away: u64,
}

/// A task that an executor has.
pub(super) struct Attempt {
    pending: Arc<Pending>,
    /// What a source held when the look at it began; `None` if it is away, or while nobody looks.
    content: Option<Vec<u64>>,
}

impl Source {
    pub(super) fn new(numbers: &[u64]) -> Source {
        Source { pushed: numbers.to_vec(), read: numbers.to_vec(), away: 0 }
    }

    /// Whether the daemon has what was pushed last.
    pub(super) fn is_read(&self) -> bool {
        self.pushed == self.read
    }
}

fn source_name(number: usize) -> Name {
    SOURCES[number].parse().unwrap()
}

fn source_number(name: &Name) -> usize {
    SOURCES.iter().position(|own| *own == name.as_str()).expect("a source of the hall")
}

impl World {
    // --- webhooks and sources -----------------------------------------------------------------

    /// New numbers are pushed to the sources that have changed machines, and their webhooks are called.
    pub(super) fn push(&mut self) {
        for number in 0..SOURCES.len() {
            let source = &mut self.sources[number];
            let is_changed = |machine: usize| {
                source_of(machine as u32) == number && source.pushed[machine] != self.numbers[machine]
            };
            if (0..self.numbers.len()).any(is_changed) {
                source.pushed = self.numbers.clone();
                self.call(number);
            }
        }
    }

    /// Everything that was pushed is read at once, by a person's hand.
    pub(super) fn read_all(&mut self) {
        for source in &mut self.sources {
            source.pushed = self.numbers.clone();
            source.read = self.numbers.clone();
        }
        self.adopt();
    }

    /// The webhook of a source is called.
    pub(super) fn call(&mut self, number: usize) {
        if self.daemon.is_up() {
            let arrival = self.effects.arrival();
            self.open_calls.insert(arrival, number);
            self.submit(Submission::Call { source: source_name(number), arrival });
        } else {
            self.later(10 * SECOND, Item::Call { source: number });
        }
    }

    /// Somebody pushes what changes nothing, now and then.
    pub(super) fn call_now_and_then(&mut self, number: usize) {
        self.call(number);
        let wait = self.dice.between(20 * SECOND, 8 * MINUTE);
        self.later(wait, Item::Push { source: number });
    }

    /// A source can't be reached for a while, in some quarters of an hour.
    pub(super) fn lose_source(&mut self) {
        self.later(15 * MINUTE, Item::Away);
        if !self.dice.percent(self.trouble.away) {
            return;
        }
        let number = self.dice.below(SOURCES.len() as u64) as usize;
        let wait = self.dice.between(MINUTE, 30 * MINUTE);
        self.sources[number].away = self.now + wait;
    }

    /// What a look found is adopted, if it is news. The other sources stay as they were read last.
    fn found(&mut self, number: usize, content: Vec<u64>) {
        let is_news = self.sources[number].read != content;
        self.sources[number].read = content;
        if is_news {
            self.tally.in_part += u64::from(!self.sources.iter().all(Source::is_read));
            self.adopt();
        }
    }

    /// The follower of a source that was away looks again by itself.
    pub(super) fn follow(&mut self, number: usize) {
        let source = &self.sources[number];
        match source.away > self.now || !self.daemon.is_up() {
            true => self.later(MINUTE, Item::Follow { source: number }),
            false => self.found(number, source.pushed.clone()),
        }
    }

    /// The numbers that the sources, as they were read last, have together are adopted, and machines that rest are
    /// started.
    fn adopt(&mut self) {
        let numbers: Vec<u64> = (0..self.numbers.len())
            .map(|machine| self.sources[source_of(machine as u32)].read[machine])
            .collect();
        self.daemon.adopt(desired(&numbers));
        self.wake();
    }

    // --- commands and their outcomes ------------------------------------------------------------

    fn submit(&mut self, submission: Submission) {
        self.daemon.submit(submission, self.now);
    }

    pub(super) fn submit_again(&mut self, submission: Submission) {
        let id = match &submission {
            Submission::Begun(id) | Submission::End(id, _) => *id,
            Submission::Call { .. } | Submission::Cancel(_) => return,
        };
        if self.attempts.contains_key(&id) {
            self.submit(submission);
        }
    }

    /// A batch could not be stored: senders of webhooks get 503, and executors report again.
    pub(super) fn refused(&mut self) {
        let generation = self.daemon.generation;
        for submission in self.daemon.unstored() {
            match submission {
                Submission::Call { source, arrival } => {
                    self.open_calls.remove(&arrival);
                    self.later(10 * SECOND, Item::Call { source: source_number(&source) });
                }
                Submission::Begun(_) | Submission::End(..) => {
                    self.later(SECOND, Item::Submit { generation, submission });
                }
                Submission::Cancel(_) => {}
            }
        }
    }

    /// The outcome of a command whose records are stored.
    pub(super) fn acknowledged(&mut self, submission: Submission, outcome: &Outcome) {
        let is_refused = matches!(outcome, Outcome::Refused(_));
        match submission {
            Submission::Call { source, arrival } => {
                self.open_calls.remove(&arrival);
                self.effects.call_acknowledged(&source, arrival);
            }
            Submission::Begun(id) if is_refused => self.finish(id),
            Submission::Begun(id) => self.begin(id),
            Submission::End(id, _) if is_refused => self.finish(id),
            Submission::End(id, Verb::Progress(_, Progress::Failed(_))) => {
                self.effects.may_repeat(id);
                let wait = self.dice.between(SECOND, MINUTE);
                let (generation, submission) = (self.daemon.generation, Submission::Begun(id));
                self.later(wait, Item::Submit { generation, submission });
            }
            Submission::End(id, _) => {
                self.tally.effects += 1;
                self.effects.ended(id);
                self.finish(id);
            }
            Submission::Cancel(id) => {
                if matches!(outcome, Outcome::Cancelled(Some(_))) {
                    self.tally.cancelled += 1;
                    self.effects.ended(id);
                }
                assert!(!self.attempts.contains_key(&id), "the executor of effect {id} does not stop");
            }
        }
    }

    // --- executors ------------------------------------------------------------------------------

    pub(super) fn hand_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Log(..) | Effect::Count(..) => {}
            Effect::Start(_) => self.look_at_outbox(),
            Effect::Stop(id) => self.finish(*id),
        }
    }

    /// An executor has nothing to do with a task any more.
    fn finish(&mut self, id: EffectId) {
        self.attempts.remove(&id);
        self.look_at_outbox();
    }

    /// Executors begin with what is published.
    pub(super) fn look_at_outbox(&mut self) {
        let Some(state) = self.daemon.state() else { return };
        self.effects.check(state);
        let waiting: Vec<Arc<Pending>> = state.outbox().iter().cloned().collect();
        for pending in waiting {
            let (id, kind) = (pending.id, pending.task.kind());
            let is_same = |other: &Attempt| {
                other.pending.task.kind() == kind && other.pending.task.subject() == pending.task.subject()
            };
            if !self.attempts.contains_key(&id) && !self.attempts.values().any(is_same) {
                self.attempts.insert(id, Attempt { pending, content: None });
                match kind.is_stored() {
                    true => self.submit(Submission::Begun(id)),
                    false => self.begin(id),
                }
            }
        }
    }

    /// The work begins. One in a hundred never ends, until a person cancels it.
    fn begin(&mut self, id: EffectId) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let durable = self.daemon.durable().expect("it runs");
        self.effects.works(&attempt.pending, durable);
        if let Task::Fetch { source } = &attempt.pending.task {
            let source = &self.sources[source_number(source)];
            attempt.content = (source.away <= self.now).then(|| source.pushed.clone());
        }
        if !self.dice.percent(self.trouble.hang) {
            let (wait, generation) = (self.dice.between(SECOND / 2, 20 * SECOND), self.daemon.generation);
            self.later(wait, Item::Worked { generation, id });
        }
    }

    /// The work is done, and is to be reported; the daemon may die before that.
    pub(super) fn worked(&mut self, id: EffectId) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (task, content) = (attempt.pending.task.clone(), attempt.content.take());
        let has_failed = self.dice.percent(self.trouble.hang);
        if self.dice.percent(self.trouble.crash) {
            return self.crash(super::AFTER_WORK);
        }
        let verb = match task {
            _ if has_failed => Verb::Progress(id, Progress::Failed("it ended unexpectedly".into())),
            Task::Restart { .. } | Task::PowerOff { .. } | Task::Power { .. } => {
                unreachable!("no machine is released here")
            }
            Task::ReadPower { .. } => {
                let state = match self.dice.percent(90) {
                    true => Ok(PowerState::On),
                    false => Err("it does not answer".into()),
                };
                Verb::Power(id, PowerAnswer { state, ..PowerAnswer::none() })
            }
            Task::Fetch { source } => {
                let number = source_number(&source);
                match content {
                    Some(content) => {
                        self.found(number, content);
                        Verb::Progress(id, Progress::Done)
                    }
                    None => {
                        self.later(MINUTE, Item::Follow { source: number });
                        Verb::Progress(id, Progress::GivenUp("the source is away".into()))
                    }
                }
            }
        };
        self.submit(Submission::End(id, verb));
    }

    /// The daemon dies, and its executors with it. Who has no answer calls again.
    pub(super) fn end_executors(&mut self) {
        for id in std::mem::take(&mut self.attempts).into_keys() {
            self.effects.may_repeat(id);
        }
        for source in std::mem::take(&mut self.open_calls).into_values() {
            self.later(10 * SECOND, Item::Call { source });
        }
    }

    /// A person cancels what takes too long, and sometimes anything.
    pub(super) fn cancel_some(&mut self) {
        self.later(5 * MINUTE, Item::Cancel);
        let Some(state) = self.daemon.state() else { return };
        let pending: Vec<Arc<Pending>> = state.outbox().iter().cloned().collect();
        for pending in pending {
            if pending.stuck(Time(self.now)).is_some() || self.dice.percent(3) {
                self.effects.cancels(&pending);
                self.submit(Submission::Cancel(pending.id));
            }
        }
    }

    /// The daemon's clock ticks.
    pub(super) fn tick(&mut self) {
        self.later(10 * SECOND, Item::Tick);
        self.daemon.tick(self.now);
    }
}
