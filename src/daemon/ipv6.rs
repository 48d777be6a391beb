//! IPv6 on the served interfaces: follows the inventory and the host's addresses.
//!
//! Nothing is opened before the inventory has an `ipv6` for a wire that this host has an address
//! on: a host's global address may be reachable by half the world, and nobody asked for that. An
//! address that comes later is found within a second.

pub mod advert;
pub mod dhcp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::downloads::Downloads;
use super::keeper::Keeper;
use super::link::Interface;
use super::{Stop, now, stopped};
use crate::model::{Mode, Name};
use crate::proto::dhcp6::SERVER_PORT;
use crate::table::{Event, Stage, Table};

/// How often host and inventory are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One served network and what it is done with.
pub struct Six {
    pub keeper: Keeper,
    pub downloads: Downloads,
    pub networks: Vec<(Interface, watch::Receiver<Mode>)>,
}

/// An interface with our address on it that lies in an `ipv6` network of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Which of the networks.
    network: usize,
    address: Ipv6Addr,
    subnet: Name,
}

/// What is done at a place; it ends when this is dropped.
struct Serving {
    _stop: watch::Sender<bool>,
}

impl Six {
    /// Serves until `stop`.
    pub async fn run(self, mut stop: Stop) {
        let mut serving: BTreeMap<Place, Serving> = BTreeMap::new();
        let mut told = BTreeSet::new();
        let mut tasks = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
                _ = look.tick() => {}
            }
            let (places, lacking) = places(&self.keeper.table(), &self.networks);
            serving.retain(|place, _| places.contains(place));
            for place in places.into_iter().filter(|place| !serving.contains_key(place)).collect::<Vec<_>>() {
                match self.serve(&place, &mut tasks) {
                    Ok(started) => drop(serving.insert(place, started)),
                    Err(text) => self.tell(&mut told, text),
                }
            }
            for text in lacking {
                self.tell(&mut told, text);
            }
        }
        drop(serving);
        while tasks.join_next().await.is_some() {}
    }

    /// Says something once.
    fn tell(&self, told: &mut BTreeSet<String>, text: String) {
        if told.insert(text.clone()) {
            tracing::warn!("{text}");
            self.keeper.note(Event::new(now(), Stage::Daemon, text));
        }
    }

    fn serve(&self, place: &Place, tasks: &mut JoinSet<()>) -> Result<Serving, String> {
        let (interface, mode) = &self.networks[place.network];
        let address = place.address;
        let (stop, stopping) = watch::channel(false);
        let own = host_addresses(&interface.name);
        let dhcp = dhcp::Service::open(interface, address, own, mode.clone(), self.keeper.clone())
            .map_err(|error| format!("IPv6: DHCPv6 can't listen on [{address}]:{SERVER_PORT}: {error}"))?;
        let advert = advert::Sender::open(interface, place.subnet.clone(), mode.clone(), self.keeper.clone())
            .map_err(|error| format!("IPv6: no router advertisements on {}: {error}", interface.name))?;
        let served = self.downloads.serve(address.into(), &stopping, tasks);
        served.map_err(|error| format!("IPv6: {error}"))?;
        tasks.spawn(until(stopping.clone(), async move { ended("DHCPv6", dhcp.run().await) }));
        tasks.spawn(until(stopping, async move { ended("router advertisements", advert.run().await) }));
        let text = format!(
            "IPv6: DHCPv6, {} at [{address}] on {} (subnet {})",
            self.downloads.names(),
            interface.name,
            place.subnet
        );
        tracing::info!("{text}");
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
        Ok(Serving { _stop: stop })
    }
}

async fn until(mut stop: Stop, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped(&mut stop) => {}
    }
}

fn ended(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "IPv6: {what} ended");
    }
}

/// Where there is something to serve, one place for each interface, and what hinders the rest.
fn places(table: &Table, networks: &[(Interface, watch::Receiver<Mode>)]) -> (BTreeSet<Place>, Vec<String>) {
    let mut places = BTreeSet::new();
    let mut lacking = Vec::new();
    for (network, (interface, mode)) in networks.iter().enumerate() {
        if *mode.borrow() == Mode::Off {
            continue;
        }
        let mut found: Option<Place> = None;
        let mut own = None;
        for subnet in table.desired.subnets.values() {
            let Some(ipv6) = &subnet.ipv6 else { continue };
            let own = own.get_or_insert_with(|| host_addresses(&interface.name));
            let address = own.iter().copied().find(|address| ipv6.cidr.contains(*address));
            match (address, &found) {
                (Some(address), None) => {
                    found = Some(Place { network, address, subnet: subnet.name.clone() });
                }
                (Some(_), Some(first)) => lacking.push(format!(
                    "IPv6: subnets {} and {} are both on {}: only the first is served there",
                    first.subnet, subnet.name, interface.name
                )),
                (None, _) if subnet.contains(interface.address) || subnet.cidr.is_none() && networks.len() == 1 => lacking.push(format!(
                    "IPv6: {} has no address in {} of subnet {}: give it one, as in `ip address add {}1/{} dev {}`",
                    interface.name,
                    ipv6.cidr,
                    subnet.name,
                    ipv6.cidr.network(),
                    ipv6.cidr.length(),
                    interface.name
                )),
                (None, _) => {}
            }
        }
        places.extend(found);
    }
    (places, lacking)
}

/// The IPv6 addresses of an interface, the link-local ones too.
fn host_addresses(interface: &str) -> Vec<Ipv6Addr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let here = all.filter(|entry| entry.interface_name == interface);
    here.filter_map(|entry| Some(entry.address?.as_sockaddr_in6()?.ip())).collect()
}
