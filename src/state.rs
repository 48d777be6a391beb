//! The live state as a value: what is desired, and what is known of the machines. Changing it
//! yields a new one; unchanged parts are shared, so a change among 100,000 entries copies little.

pub mod agent_boot;
mod api_token;
pub mod apply;
pub mod boot_once;
pub mod budget;
pub mod certificate;
pub mod claim;
mod claim_start;
pub mod command;
pub mod conflict;
pub mod contest;
mod disk_choice;
pub mod drift;
pub mod effect;
pub mod event;
pub mod gate;
pub mod guard;
mod index;
pub mod install;
pub mod installs;
pub mod learned;
pub mod lease;
pub mod lease6;
pub mod life;
pub mod lifecycle;
pub mod lineage;
pub mod loader;
pub mod longest;
pub mod looping;
pub mod memo;
pub mod outbox;
mod parts;
mod phase;
pub mod power;
pub mod power_order;
pub mod prototype;
pub mod queue;
pub mod ran;
pub mod record;
pub mod rename;
pub mod revision;
pub mod schedule;
pub mod secrets;
pub mod serials;
pub mod served;
mod server;
mod source_status;
pub mod tenancy;
pub mod token;
pub mod trust;
pub mod upkeep;
pub mod user_data;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::desired::{Deployment, Desired, Machine, Subnet};
use crate::model::{ClientArch, Identity, Mac, Name, Time, net6};

use parts::{Derived, Observed};

pub use api_token::ApiToken;
pub use apply::adopt::Adoption;
pub use apply::{Applied, apply};
pub use claim::Claim;
pub use command::{Command, Verb};
pub use contest::Contest;
pub use drift::{Aspect, Drift, DriftKind};
pub use event::{Event, Stage};
pub use guard::{Guards, Thresholds};
pub use install::{Duty, Install, InstallStage, NextBoot, Outcome, Permit, PermitStep, Progress, Report};
pub use installs::Installs;
pub use lease::{Lease, LeaseAction, LeaseRequest, LeaseState, Leases, Supply};
pub use lease6::{Lease6, Lease6Action, Lease6Request, Leases6};
pub use life::Life;
pub use outbox::Outbox;
pub use parts::Lasting;
pub use record::Record;
pub use revision::{Composition, PartialApply, Revision, SourceRevision};
pub use secrets::Secrets;
pub use serials::Serials;
pub use served::Served;
pub use server::{Server, host};
pub use source_status::SourceStatus;
pub use tenancy::Tenancy;
pub use token::{Purpose, TokenKey};
pub use trust::{Doubts, Trust, Verdict};

/// Everything the protocols answer from. Its fields are private to this room: commands change it ([`apply()`]), and
/// everybody else reads.
#[derive(Clone, Debug)]
pub struct State {
    server: Arc<Server>,
    host: Arc<BTreeSet<IpAddr>>,
    desired: Arc<Desired>,
    secrets: Arc<Secrets>,
    lasting: Lasting,
    observed: Observed,
    derived: Derived,
}

/// What a machine last said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub first: Time,
    pub last: Time,
    pub arch: Option<ClientArch>,
    /// Whether the last DHCP message came from iPXE.
    pub ipxe: bool,
    pub address: Option<IpAddr>,
}

impl State {
    /// Whether an address is one of this host, served or not.
    pub fn is_of_this_host(&self, address: IpAddr) -> bool {
        let served = match address {
            IpAddr::V4(address) => self.server.is_own(address),
            IpAddr::V6(_) => false,
        };
        served || self.host.contains(&address)
    }

    pub fn machine(&self, mac: Mac) -> Option<&Arc<Machine>> {
        let name = self.desired.macs.get(&mac).or_else(|| self.lasting.learned.get(&mac))?;
        self.desired.machines.get(name)
    }

    /// The machine for this hardware address: the one that has it in its manifest, else the first that
    /// matches one of `marks` (the best first), else the one last seen with it (the kernel of a machine
    /// does not show the UUID that its firmware showed).
    pub fn identify(&self, mac: Mac, marks: impl IntoIterator<Item = Identity>) -> Option<&Arc<Machine>> {
        let known = self.desired.macs.get(&mac).and_then(|name| self.desired.machines.get(name));
        known.or_else(|| {
            let name = marks.into_iter().find_map(|mark| self.desired.identified(&mark));
            let name = name.filter(|name| !self.lasting.contested.contains_key(*name));
            self.desired.machines.get(name.or_else(|| self.lasting.learned.get(&mac))?)
        })
    }

    /// The subnet that an address is in: the one with the longest prefix.
    pub fn subnet_at(&self, address: IpAddr) -> Option<&Arc<Subnet>> {
        let subnets = self.desired.subnets.values();
        match address {
            IpAddr::V4(address) => subnets
                .filter(|subnet| subnet.contains(address))
                .max_by_key(|subnet| subnet.cidr.map(|cidr| cidr.length())),
            IpAddr::V6(address) => {
                let length = |subnet: &&Arc<Subnet>| subnet.ipv6.as_ref().map(|ipv6| ipv6.cidr.length());
                let is_in = |subnet: &&Arc<Subnet>| {
                    subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.cidr.contains(address))
                };
                subnets.filter(is_in).max_by_key(length)
            }
        }
    }

    /// Whether a card is a machine's.
    pub fn is_card_of(&self, mac: Mac, machine: &Machine) -> bool {
        machine.macs.contains(&mac) || self.lasting.learned.get(&mac) == Some(&machine.name)
    }

    /// The cards of a machine: those written down, then those it was known with by another mark.
    pub fn cards(&self, machine: &Machine) -> Vec<Mac> {
        let learned = (!machine.ids.is_empty()).then_some(&self.lasting.learned).into_iter().flatten();
        let mut learned: Vec<Mac> =
            learned.filter(|(_, owner)| **owner == machine.name).map(|(mac, _)| *mac).collect();
        learned.sort();
        learned.retain(|mac| !machine.macs.contains(mac));
        machine.macs.iter().copied().chain(learned).collect()
    }

    /// The deployment that a machine has.
    pub fn tenant(&self, machine: &Name) -> Option<&Arc<Deployment>> {
        self.deployment(self.derived.tenants.get(machine)?)
    }

    pub fn deployment_of(&self, mac: Mac) -> Option<&Arc<Deployment>> {
        self.tenant(&self.machine(mac)?.name)
    }

    /// The address a deployment's machine is to have when `mac` asks: the manifest's, else the
    /// one it leases now.
    pub fn address_of(&self, deployment: &Deployment, mac: Mac) -> Option<Ipv4Addr> {
        deployment.address.or_else(|| self.lasting.leases.address_of(mac))
    }

    /// The IPv6 address of a deployment's machine: the manifest's, else the one it leases now.
    pub fn address6_of(&self, deployment: &Deployment, mac: Mac) -> Option<Ipv6Addr> {
        deployment.address6.or_else(|| self.lasting.leases6.of(mac).map(|lease| lease.address))
    }

    /// The card behind an address: of the machine whose deployment has it fixed, else the one that leases
    /// it. Of several network cards, the one seen last.
    pub fn mac_at(&self, address: IpAddr) -> Option<Mac> {
        match address {
            IpAddr::V4(address) => {
                let fixed = self.desired.fixed_at(address).and_then(|owner| self.mac_of(owner));
                fixed.or_else(|| self.lasting.leases.mac_at(address))
            }
            IpAddr::V6(address) => self.mac_at6(address),
        }
    }

    /// As above; an address that a card made for itself identifies that card.
    fn mac_at6(&self, address: Ipv6Addr) -> Option<Mac> {
        let fixed = self.desired.fixed6_at(address).and_then(|owner| self.mac_of(owner));
        fixed.or_else(|| self.lasting.leases6.mac_at(address)).or_else(|| {
            let mac = net6::mac_in(address)?;
            self.is_own_address6(address, mac).then_some(mac)
        })
    }

    /// The network card of a deployment's machine that was seen last, else its first.
    fn mac_of(&self, deployment: &Name) -> Option<Mac> {
        let machine = self.desired.machines.get(self.lasting.assignments.get(deployment)?)?;
        self.active_mac(machine)
    }

    /// Whether a card makes itself this address in one of the inventory's IPv6 networks (SLAAC).
    pub fn is_own_address6(&self, address: Ipv6Addr, mac: Mac) -> bool {
        let networks = self.desired.subnets.values().filter_map(|subnet| subnet.ipv6.as_ref());
        networks.into_iter().any(|ipv6| ipv6.cidr.own_address(mac) == Some(address))
    }

    /// The network card of a machine that was seen last, else its first.
    pub fn active_mac(&self, machine: &Machine) -> Option<Mac> {
        let last = |mac: &&Mac| self.observed.seen.get(*mac).map(|seen| seen.last);
        let learned = (!machine.ids.is_empty()).then_some(&self.lasting.learned).into_iter().flatten();
        let learned = learned.filter(|(_, owner)| **owner == machine.name).map(|(mac, _)| mac);
        let seen = machine.macs.iter().chain(learned).filter(|mac| last(mac).is_some()).max_by_key(last);
        seen.or(machine.macs.first()).copied()
    }
}
