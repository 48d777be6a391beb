//! One network being served, and the look for strangers on it.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Busy, Lessor};
use crate::daemon::conflict::{Conflict, Conflicts};
use crate::daemon::link::Interface;
use crate::daemon::now;
use crate::model::Mac;
use crate::proto::dhcp::Mode;
use crate::table::{Event, LeaseAction, LeaseRequest, Stage, Table};

pub(super) struct Place {
    pub(super) interface: Interface,
    pub(super) mode: watch::Receiver<Mode>,
    conflicts: Option<Conflicts>,
}

impl Place {
    /// Must be called inside the runtime.
    pub(super) fn open(interface: Interface, mode: watch::Receiver<Mode>) -> Place {
        let conflicts = Conflicts::open(&interface)
            .inspect_err(|error| {
                tracing::warn!("addresses are offered without a look who uses them: {error}")
            })
            .ok();
        Place { interface, mode, conflicts }
    }

    /// Asks the wire whether somebody else uses the address that is now on offer to `mac`, if it is
    /// not the one that the machine had before.
    pub(super) fn look(&self, table: &Table, mac: Mac, address: Ipv4Addr, now: Instant) {
        let Some(conflicts) = &self.conflicts else { return };
        let is_former = || table.leases.binding(mac).is_some_and(|lease| lease.address == address);
        if self.interface.cidr.contains(address) && !is_former() {
            conflicts.ask(address, mac, now);
        }
    }

    /// Puts addresses aside that somebody was found to use.
    pub(super) async fn conflicts<L: Lessor>(&self, tables: &ArcSwap<Table>, lessor: &L) -> io::Result<()> {
        let Some(conflicts) = &self.conflicts else { return std::future::pending().await };
        let mut proxies = BTreeSet::new();
        loop {
            let Conflict { address, offered_to, used_by } = conflicts.next().await?;
            if tables.load().leases.is_proxy(used_by, now()) {
                if proxies.insert(used_by) {
                    let text = format!(
                        "{used_by} on {} answers for many addresses, like a router with proxy ARP: its answers \
                         count no more, and addresses are lent without a look; switch proxy ARP off there",
                        self.interface.name
                    );
                    tracing::warn!("{text}");
                    let event = Event::new(now(), Stage::Daemon, text);
                    lessor.note(vec![Event { mac: Some(used_by), ..event }]);
                }
                continue;
            }
            let text = format!(
                "{address}, offered to {offered_to}, is used by {used_by}, who has no lease of it: \
                 the address rests for 24 hours"
            );
            tracing::warn!("{text}");
            let event = Event { address: Some(address.into()), ..Event::new(now(), Stage::Daemon, text) };
            lessor.note(vec![event]);
            let action = LeaseAction::Conflict { address };
            let request = LeaseRequest { mac: used_by, at: now(), client_id: None, hostname: None, action };
            lessor.lease(vec![request], move |outcome| {
                if let Err(Busy) = outcome {
                    tracing::warn!("{address} does not rest: the keeper is busy");
                }
            });
        }
    }
}
