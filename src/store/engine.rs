//! The state over its ledger: commands are carried out in memory, then a batch of them is made durable at
//! once, or taken back as a whole. The daemon's keeper and the simulation run this very code.

use std::sync::Arc;

use super::{Ledger, LedgerError};
use crate::model::Time;
use crate::state::command::Outcome;
use crate::state::effect::Effect;
use crate::state::{Applied, Command, Event, Record, State, apply};

/// Buffers with room for more than this are given back: a revision fills them once, leases come in smaller batches.
const ROOM: usize = 8192;

/// A state and the ledger that it lasts in.
#[derive(Debug)]
pub struct Engine<L> {
    ledger: L,
    state: State,
    /// The state as it is durable: what a batch is taken back to.
    durable: Arc<State>,
    /// What the batch brought about. Its records stay until the next batch begins.
    applied: Applied,
    is_gathering: bool,
}

/// A batch that is durable.
#[derive(Debug, Default)]
pub struct Committed {
    pub events: Vec<(u64, Event)>,
    /// To be carried out now.
    pub effects: Vec<Effect>,
}

impl<L: Ledger> Engine<L> {
    /// A state as `ledger` held it.
    pub fn new(ledger: L, state: State) -> Engine<L> {
        let durable = Arc::new(state.clone());
        Engine { ledger, state, durable, applied: Applied::default(), is_gathering: false }
    }

    /// The state, with what the batch brought that is not durable yet.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state as it is durable, to be shown to everybody.
    pub fn durable(&self) -> Arc<State> {
        Arc::clone(&self.durable)
    }

    /// The records of the batch that was made durable last.
    pub fn records(&self) -> &[Record] {
        &self.applied.records
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

    /// Carries a command out. Its result must not be published before [`Engine::commit`].
    pub fn apply(&mut self, command: Command, now: Time) -> Outcome {
        if !self.is_gathering {
            self.is_gathering = true;
            self.applied.clear(ROOM);
        }
        apply(&mut self.state, command, now, &mut self.applied)
    }

    /// Makes the batch durable. `number` takes its events, gives them their numbers, and may leave some out.
    ///
    /// # Errors
    ///
    /// If the ledger can't be written: then nothing of the batch happened.
    pub fn commit(
        &mut self,
        number: impl FnOnce(std::vec::Drain<'_, Event>) -> Vec<(u64, Event)>,
    ) -> Result<Committed, LedgerError> {
        if !std::mem::take(&mut self.is_gathering) {
            self.applied.clear(ROOM);
        }
        let Applied { records, events, effects } = &mut self.applied;
        let (events, effects) = (number(events.drain(..)), std::mem::take(effects));
        let next_event = events.last().map_or(0, |(number, _)| number + 1);
        let written = match records.is_empty() {
            true => Ok(()),
            false => self.ledger.append(records, next_event),
        };
        match written {
            Ok(()) => {
                self.durable = Arc::new(self.state.clone());
                Ok(Committed { events, effects })
            }
            Err(error) => {
                self.state = State::clone(&self.durable);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
