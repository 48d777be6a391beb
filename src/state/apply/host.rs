//! What this host is to its clients: its addresses, its networks, the boot programs that lie on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::super::command::Outcome;
use super::super::effect::Level;
use super::super::{Event, Server, Stage, State};
use super::{Applied, observe};
use crate::media::Entry;
use crate::model::{Cidr, Name, Time};

pub(super) fn addresses(
    state: &mut State,
    addresses: BTreeSet<IpAddr>,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    state.host = Arc::new(addresses);
    warn_of_clashes(state, now, out);
    Outcome::Done
}

/// Says once of each deployment whose address is one of this host.
pub(super) fn warn_of_clashes(state: &mut State, now: Time, out: &mut Applied) {
    let clashes = state.host_clashes();
    let clashes: BTreeSet<(Name, IpAddr)> =
        clashes.into_iter().map(|(deployment, address)| (deployment.name.clone(), address)).collect();
    if clashes == *state.derived.clashes {
        return;
    }
    let before = std::mem::replace(&mut state.derived.clashes, Arc::new(clashes));
    for (name, address) in state.derived.clashes.clone().difference(&before) {
        let text = format!(
            "{address} of deployment {name} is an address of this host and can't be given to a machine: \
             give the deployment another address"
        );
        out.log(Level::Warn, text.as_str());
        let event = Event::new(now, Stage::Daemon, text);
        let event = Event { address: Some(*address), deployment: Some(name.clone()), ..event };
        observe::observe(state, event, out);
    }
}

pub(super) fn networks(state: &mut State, others: Vec<(Cidr, Ipv4Addr)>) -> Outcome {
    if others != state.server.others {
        Arc::make_mut(&mut state.server).others = others;
        // Rendered texts contain the daemon's addresses.
        state.derived.memo = state.derived.memo.take().map(|_| Arc::default());
    }
    Outcome::Done
}

pub(super) fn loaders(
    state: &mut State,
    loaders: BTreeMap<Box<str>, Entry>,
    now: Time,
    out: &mut Applied,
) -> Outcome {
    let text = "boot programs were installed or upgraded: they are served as they are now";
    observe::observe(state, Event::new(now, Stage::Daemon, text), out);
    state.server = Arc::new(Server { loaders, ..(*state.server).clone() });
    Outcome::Done
}
