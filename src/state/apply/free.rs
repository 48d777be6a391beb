//! An operator ends whatever keeps an address from others.

use std::net::IpAddr;

use super::super::command::Outcome;
use super::super::upkeep::Freed;
use super::super::{Event, Stage, State};
use super::{Applied, observe};
use crate::model::Time;

pub(super) fn apply(state: &mut State, address: IpAddr, now: Time, out: &mut Applied) -> Outcome {
    let freed = state.free_address(address, now).map(|(freed, changed)| {
        out.leases(changed);
        freed
    });
    if let Some(Freed { mac, state: former, until, .. }) = freed {
        let text = format!("{address}, {former} ({mac}) until {until}, was freed by an operator");
        let event = Event::new(now, Stage::Daemon, text);
        observe::observe(state, Event { mac: Some(mac), address: Some(address), ..event }, out);
    }
    Outcome::Freed(freed)
}
