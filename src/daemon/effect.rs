//! What follows from commands outside the state: what each effect is handed to. Nothing here may hold up the
//! keeper, which calls [`Executors::hand_out`].
//!
//! Lines of the log and counts are carried out at once. What takes time is an entry of the
//! [outbox](crate::state::outbox): its executor is a service under supervision that looks at the published state
//! whenever something new is there, so that an executor that is opened again, and a daemon after a crash, find what
//! is not done yet in the same way.

mod fetch;
mod log;
mod metrics;
pub mod power;
pub mod power_orders;
mod runner;

use std::sync::Arc;

use tokio::sync::watch;

use super::counters::Counters;
use crate::state::effect::Effect;

pub use fetch::Fetches;
pub use power::PowerReads;
pub use power_orders::PowerOrders;
pub use runner::{Executor, run};

/// The keeper's way to the executors.
pub struct Executors {
    counters: Arc<Counters>,
    outbox: watch::Sender<()>,
}

impl Executors {
    /// Also what executors wait for: it changes when something was put into the outbox or cancelled.
    pub fn new(counters: Arc<Counters>) -> (Executors, watch::Receiver<()>) {
        let (outbox, changes) = watch::channel(());
        (Executors { counters, outbox }, changes)
    }

    /// Hands out the effects of a batch that is durable and published. Never waits.
    pub fn hand_out(&self, effects: Vec<Effect>) {
        let mut has_changed = false;
        for effect in effects {
            match effect {
                Effect::Log(level, text) => log::write(level, &text),
                Effect::Count(kind, outcome) => metrics::count(&self.counters, kind, outcome),
                Effect::Start(_) | Effect::Stop(_) => has_changed = true,
            }
        }
        if has_changed {
            self.outbox.send_replace(());
        }
    }
}
