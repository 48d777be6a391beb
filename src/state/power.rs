//! The known power state of machines. It is read again after every start: nothing of it is stored.

use std::sync::Arc;

use super::State;
use crate::desired::Machine;
use crate::model::{Name, PowerReading, PowerState, Time};

impl State {
    /// Applies a reading of a machine's controller, or the reason why there is none. True if that changes
    /// something.
    pub fn power_read(&mut self, machine: &Name, state: Result<PowerState, Arc<str>>, now: Time) -> bool {
        // A word that comes late may be of a machine that is gone.
        if self.desired.machines.get(machine).is_none_or(|machine| machine.power.is_none()) {
            return false;
        }
        let next = PowerReading::next(self.observed.power.get(machine), state, now);
        next.is_some_and(|next| {
            self.observed.power.insert(machine.clone(), next);
            true
        })
    }

    /// The last known power of a machine.
    pub fn power_of(&self, machine: &Machine) -> Option<&PowerReading> {
        self.observed.power.get(&machine.name).filter(|_| machine.power.is_some())
    }
}
