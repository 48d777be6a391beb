//! A management controller said how a machine's power is.

use std::sync::Arc;

use super::super::State;
use super::super::command::Outcome;
use super::super::effect::Level;
use super::Applied;
use crate::model::{Name, PowerState, Time};

pub(super) fn apply(
    table: &mut State,
    machine: &Name,
    state: Result<PowerState, Arc<str>>,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    let before = table.observed.power.get(machine).map(|reading| reading.state.clone());
    if table.power_read(machine, state.clone(), now) {
        match (before, state) {
            (Some(Ok(was)), Ok(is)) => out.log(Level::Info, format!("{machine} is {is}, and was {was}")),
            (_, Ok(is)) => out.log(Level::Info, format!("{machine} is {is}")),
            (_, Err(why)) => {
                out.log(Level::Warn, format!("the power of {machine} is not known: {why}"));
            }
        }
    }
    Outcome::Done
}
