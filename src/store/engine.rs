//! The state over its ledger: commands are carried out in memory, then a batch of them is made durable at
//! once, or taken back as a whole. The daemon's keeper and the simulation run this very code.

use super::{Ledger, LedgerError};
use crate::model::Time;
use crate::state::command::Outcome;
use crate::state::effect::Effect;
use crate::state::{Applied, Command, Event, Record, State, apply};

/// A state and the ledger that it lasts in.
#[derive(Debug)]
pub struct Engine<L> {
    ledger: L,
    state: State,
    /// The state before the batch that is being gathered.
    before: Option<State>,
    applied: Applied,
}

/// A batch that is durable.
#[derive(Debug, Default)]
pub struct Committed {
    pub records: Vec<Record>,
    pub events: Vec<(u64, Event)>,
    /// To be carried out now.
    pub effects: Vec<Effect>,
}

impl<L: Ledger> Engine<L> {
    /// A state as `ledger` held it.
    pub fn new(ledger: L, state: State) -> Engine<L> {
        Engine { ledger, state, before: None, applied: Applied::default() }
    }

    /// The state, with what the batch brought that is not durable yet.
    pub fn table(&self) -> &State {
        &self.state
    }

    pub fn ledger(&self) -> &L {
        &self.ledger
    }

    pub fn ledger_mut(&mut self) -> &mut L {
        &mut self.ledger
    }

    /// What is left when the process dies.
    pub fn into_ledger(self) -> L {
        self.ledger
    }

    /// Carries a command out. Nobody may hear of it before [`Engine::commit`].
    pub fn apply(&mut self, command: Command, now: Time) -> Outcome {
        if self.before.is_none() {
            self.before = Some(self.state.clone());
        }
        apply(&mut self.state, command, now, &mut self.applied)
    }

    /// Makes the batch durable. `number` gives its events their numbers, and may leave some out.
    ///
    /// # Errors
    ///
    /// If the ledger can't be written: then nothing of the batch happened.
    pub fn commit(
        &mut self,
        number: impl FnOnce(Vec<Event>) -> Vec<(u64, Event)>,
    ) -> Result<Committed, LedgerError> {
        let Applied { records, events, effects } = std::mem::take(&mut self.applied);
        let before = self.before.take();
        let events = number(events);
        let next_event = events.last().map_or(0, |(number, _)| number + 1);
        let written = match records.is_empty() {
            true => Ok(()),
            false => self.ledger.append(&records, next_event),
        };
        match written {
            Ok(()) => Ok(Committed { records, events, effects }),
            Err(error) => {
                self.state = before.unwrap_or_else(|| self.state.clone());
                Err(error)
            }
        }
    }
}
