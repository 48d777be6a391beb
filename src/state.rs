//! The live table as a value: what is desired, and what is known of the machines. Changing it
//! yields a new one; unchanged parts are shared, so a change among 100,000 entries copies little.

pub mod apply;
pub mod command;
pub mod contest;
pub mod drift;
pub mod effect;
pub mod event;
pub mod gate;
pub mod install;
pub mod installs;
mod kept;
pub mod lease;
pub mod lease6;
pub mod lineage;
pub mod loader;
pub mod longest;
pub mod looping;
pub mod memo;
mod phase;
pub mod power;
pub mod record;
pub mod rename;
pub mod secrets;
pub mod served;
pub mod token;
pub mod trust;
pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use crate::desired::{Deployment, Desired, Machine};
use crate::media::Entry;
use crate::model::content::FileId;
use crate::model::{Cidr, ClientArch, Identity, Mac, Name, PowerReading, Time, net6};

pub use apply::adopt::Adoption;
pub use apply::{Applied, Stale, apply};
pub use command::{Command, Verb};
pub use contest::Contest;
pub use drift::{Aspect, Drift, DriftKind};
pub use event::{Event, Stage};
pub use install::{Duty, Install, InstallStage, NextBoot, Outcome, Permit, PermitStep, Report};
pub use installs::Installs;
pub use kept::Kept;
pub use lease::{Lease, LeaseAction, LeaseOutcome, LeaseRequest, LeaseState, Leases, Supply};
pub use lease6::{Lease6, Lease6Action, Lease6Request, Leases6};
pub use record::Record;
pub use secrets::Secrets;
pub use served::Served;
pub use token::{Purpose, TokenKey};
pub use trust::{Doubts, Trust, Verdict};

/// Everything the protocols answer from.
#[derive(Clone, Debug)]
pub struct State {
    /// Minted when a daemon first starts on an empty state directory; binds saved plans.
    pub lineage: Arc<str>,
    /// Raised by every change of `desired`, `installs` or `assignments`.
    pub serial: u64,
    /// Key of the capability URLs.
    pub token_key: TokenKey,
    pub server: Arc<Server>,
    /// Every address of this host, on whatever interface: none is ever given to a machine.
    pub host: Arc<BTreeSet<IpAddr>>,
    pub desired: Arc<Desired>,
    /// Installations by machine. Kept when a deployment or a machine is removed: bringing it back must
    /// not wipe the machine.
    pub installs: Installs,
    /// Which machine a deployment has: pinned by the manifest or chosen for its `select`.
    pub assignments: imbl::OrdMap<Name, Name>,
    /// Whether installations may be asked for without a person's word.
    pub trust: Trust,
    /// What the last revision had, also where that is not loaded.
    pub served: served::Record,
    /// `assignments` the other way round.
    pub tenants: imbl::OrdMap<Name, Name>,
    /// The boot that is served below a prefix.
    pub prefixes: Arc<HashMap<Arc<str>, Name>>,
    /// Machines under protection, remembered when their manifest goes.
    pub protected: imbl::OrdSet<Name>,
    pub seen: imbl::OrdMap<Mac, Seen>,
    /// Cards in no manifest whose machine was known by another mark.
    pub learned: imbl::HashMap<Mac, Name>,
    /// Machines whose mark two cards showed at a time: nobody is taken for them by a mark.
    pub contested: imbl::OrdMap<Name, Contest>,
    /// What is stored of the revision that is served.
    pub kept: Arc<Kept>,
    /// How far the machines that boot now have come.
    pub loops: looping::Loops,
    /// What time it was when the clock was last looked at.
    pub clock: Time,
    /// Deployments that are to have an address of this host.
    pub clashes: Arc<BTreeSet<(Name, IpAddr)>>,
    /// Saved plans that were applied, and the serials they were made for: each is good once.
    pub used_plans: imbl::OrdMap<Arc<str>, u64>,
    /// Deployments and machines of which a stored record does not fit its digest: what it said is not
    /// known, so that nothing is installed.
    pub damaged: imbl::OrdSet<Name>,
    pub leases: Leases,
    pub leases6: Leases6,
    /// The longest lease that may run; `None` where an earlier version did not note it.
    pub longest: Option<longest::Longest>,
    pub secrets: Arc<Secrets>,
    /// What the controllers of machines told of their power, by machine.
    pub power: imbl::OrdMap<Name, PowerReading>,
    /// Reinstallations that wait for their turn.
    pub gate: gate::Gate,
    /// What was rendered a moment ago, where it may be asked for again.
    pub memo: Option<Arc<memo::Memo>>,
}

/// What this daemon is to its clients.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address that clients reach DHCP, TFTP and HTTP at.
    pub address: Ipv4Addr,
    /// Our addresses on further networks.
    pub others: Vec<(Cidr, Ipv4Addr)>,
    pub http_port: u16,
    /// Whether machines get their addresses here, so that an address tells who asks; not so
    /// in proxy mode.
    pub gives_addresses: bool,
    /// Boot loaders by the name they are served under: `undionly.kpxe`, `snponly.efi`, …
    pub loaders: BTreeMap<Box<str>, Entry>,
}

impl Server {
    /// A daemon at `address` with every usual boot program, for rehearsals without a host.
    pub fn stand_in(address: Ipv4Addr) -> Server {
        const USUAL: [&str; 16] = [
            "undionly.kpxe",
            "pxelinux.0",
            "lpxelinux.0",
            "ldlinux.c32",
            "snponly.efi",
            "ipxe.efi",
            "shimx64.efi",
            "grubx64.efi",
            "snponly-arm64.efi",
            "ipxe-arm64.efi",
            "shimaa64.efi",
            "grubaa64.efi",
            "snponly-i386.efi",
            "snponly-arm32.efi",
            "snponly-riscv64.efi",
            "snponly-loong64.efi",
        ];
        let loaders = BTreeMap::new();
        let mut server =
            Server { address, others: Vec::new(), http_port: 80, gives_addresses: true, loaders };
        USUAL.into_iter().for_each(|name| server.stand_in_loader(name));
        server
    }

    /// One more boot program for a rehearsal, if there is none of that name.
    pub fn stand_in_loader(&mut self, name: &str) {
        let entry = || Entry { path: Path::new(name).into(), id: FileId::default(), extents: [].into() };
        if !self.loaders.contains_key(name) {
            self.loaders.insert(name.into(), entry());
        }
    }

    /// Root of everything served by HTTP, without a slash at the end. An address, never a name
    /// (firmware ranks name URLs lower and GRUB can't resolve them), the port only if not 80.
    pub fn url(&self) -> String {
        self.url_at(self.address)
    }

    /// The address by which machines of a network reach us: ours on that network, else the first.
    pub fn address_on(&self, network: &Cidr) -> Ipv4Addr {
        let mut own = std::iter::once(self.address).chain(self.others.iter().map(|(_, own)| *own));
        own.find(|own| network.contains(*own)).unwrap_or(self.address)
    }

    /// The same of a subnet; the usual one where that has no IPv4.
    pub fn address_in(&self, subnet: &crate::desired::Subnet) -> Ipv4Addr {
        subnet.cidr.as_ref().map_or(self.address, |cidr| self.address_on(cidr))
    }

    /// The address by which a machine of `subnet` reaches us whose message came in at our address
    /// `came_to`: ours in that subnet, else the one it (or its relay) has reached already.
    pub fn address_toward(&self, subnet: &crate::desired::Subnet, came_to: Ipv4Addr) -> Ipv4Addr {
        if subnet.contains(came_to) {
            return came_to;
        }
        let mut own = std::iter::once(self.address).chain(self.others.iter().map(|(_, own)| *own));
        own.find(|own| subnet.contains(*own)).unwrap_or(came_to)
    }

    /// The address by which a client reaches us.
    pub fn address_for(&self, client: Ipv4Addr) -> Ipv4Addr {
        let near = self.others.iter().find(|(network, _)| network.contains(client));
        near.map_or(self.address, |(_, own)| *own)
    }

    /// The address of ours that a client reached, for the URLs that it gets. Behind address translation
    /// a connection may seem to end at an address that is none of ours: then it is not known.
    pub fn known(&self, reached: Option<IpAddr>) -> Option<IpAddr> {
        reached.filter(|reached| match reached {
            IpAddr::V4(reached) => self.is_own(*reached),
            IpAddr::V6(_) => true,
        })
    }

    /// The same, or else the address by which machines of `subnet` reach us.
    pub fn reached_at(&self, reached: Option<IpAddr>, subnet: &crate::desired::Subnet) -> IpAddr {
        self.known(reached).unwrap_or_else(|| self.address_in(subnet).into())
    }

    pub fn url_at(&self, address: impl Into<IpAddr>) -> String {
        let host = host(address);
        match self.http_port {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        }
    }

    /// Whether an address is one of ours.
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        self.address == address || self.others.iter().any(|(_, own)| *own == address)
    }
}

/// An address as it stands in a URL: IPv6 in brackets (RFC 3986 section 3.2.2).
pub fn host(address: impl Into<IpAddr>) -> String {
    match address.into() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
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
    /// Where its boots end, if it boots again and again and gets no further.
    pub stuck: Option<Arc<str>>,
}

impl State {
    /// An empty table.
    pub fn new(server: Server) -> State {
        State {
            lineage: "".into(),
            serial: 0,
            token_key: [0; 32].into(),
            server: Arc::new(server),
            host: Arc::default(),
            desired: Arc::default(),
            installs: Installs::default(),
            assignments: imbl::OrdMap::new(),
            trust: Trust::default(),
            served: served::Record::new(),
            tenants: imbl::OrdMap::new(),
            prefixes: Arc::default(),
            protected: imbl::OrdSet::new(),
            seen: imbl::OrdMap::new(),
            learned: imbl::HashMap::new(),
            contested: imbl::OrdMap::new(),
            kept: Arc::default(),
            loops: looping::Loops::default(),
            clock: Time::default(),
            clashes: Arc::default(),
            used_plans: imbl::OrdMap::new(),
            damaged: imbl::OrdSet::new(),
            leases: Leases::default(),
            leases6: Leases6::default(),
            longest: None,
            secrets: Arc::default(),
            power: imbl::OrdMap::new(),
            gate: gate::Gate::default(),
            memo: None,
        }
    }

    /// Whether an address is one of this host, served or not.
    pub fn is_of_this_host(&self, address: IpAddr) -> bool {
        let served = match address {
            IpAddr::V4(address) => self.server.is_own(address),
            IpAddr::V6(_) => false,
        };
        served || self.host.contains(&address)
    }

    pub fn machine(&self, mac: Mac) -> Option<&Arc<Machine>> {
        let name = self.desired.macs.get(&mac).or_else(|| self.learned.get(&mac))?;
        self.desired.machines.get(name)
    }

    /// The machine that speaks with a card: whose card it is, else who is known by one of these
    /// marks, the best first; else who spoke with it before (the kernel of a machine does not show
    /// the UUID that its firmware showed).
    pub fn speaker(&self, mac: Mac, marks: impl IntoIterator<Item = Identity>) -> Option<&Arc<Machine>> {
        let known = self.desired.macs.get(&mac).and_then(|name| self.desired.machines.get(name));
        known.or_else(|| {
            let name = marks.into_iter().find_map(|mark| self.desired.identified(&mark));
            let name = name.filter(|name| !self.contested.contains_key(*name));
            self.desired.machines.get(name.or_else(|| self.learned.get(&mac))?)
        })
    }

    /// Whether a card is a machine's.
    pub fn is_card_of(&self, mac: Mac, machine: &Machine) -> bool {
        machine.macs.contains(&mac) || self.learned.get(&mac) == Some(&machine.name)
    }

    /// The cards of a machine: those written down, then those it was known with by another mark.
    pub fn cards(&self, machine: &Machine) -> Vec<Mac> {
        let learned = (!machine.ids.is_empty()).then_some(&self.learned).into_iter().flatten();
        let mut learned: Vec<Mac> =
            learned.filter(|(_, owner)| **owner == machine.name).map(|(mac, _)| *mac).collect();
        learned.sort();
        learned.retain(|mac| !machine.macs.contains(mac));
        machine.macs.iter().copied().chain(learned).collect()
    }

    /// The deployment that a machine has.
    pub fn tenant(&self, machine: &Name) -> Option<&Arc<Deployment>> {
        self.desired.deployments.get(self.tenants.get(machine)?)
    }

    pub fn deployment_of(&self, mac: Mac) -> Option<&Arc<Deployment>> {
        self.tenant(&self.machine(mac)?.name)
    }

    /// The address a deployment's machine is to have when `mac` asks: the manifest's, else the
    /// one it leases now.
    pub fn address_of(&self, deployment: &Deployment, mac: Mac) -> Option<Ipv4Addr> {
        deployment.address.or_else(|| self.leases.address_of(mac))
    }

    /// The IPv6 address of a deployment's machine: the manifest's, else the one it leases now.
    pub fn address6_of(&self, deployment: &Deployment, mac: Mac) -> Option<Ipv6Addr> {
        deployment.address6.or_else(|| self.leases6.of(mac).map(|lease| lease.address))
    }

    /// The machine behind an address: of the deployment it is fixed for, else who leases it.
    /// Of several network cards, the one that spoke last.
    pub fn mac_at(&self, address: IpAddr) -> Option<Mac> {
        match address {
            IpAddr::V4(address) => {
                let fixed = self.desired.fixed_at(address).and_then(|owner| self.mac_of(owner));
                fixed.or_else(|| self.leases.mac_at(address))
            }
            IpAddr::V6(address) => self.mac_at6(address),
        }
    }

    /// As above; an address that a card made for itself tells which card that is.
    fn mac_at6(&self, address: Ipv6Addr) -> Option<Mac> {
        let fixed = self.desired.fixed6_at(address).and_then(|owner| self.mac_of(owner));
        fixed.or_else(|| self.leases6.mac_at(address)).or_else(|| {
            let mac = net6::mac_in(address)?;
            self.is_own_address6(address, mac).then_some(mac)
        })
    }

    /// The network card of a deployment's machine that spoke last, else its first.
    fn mac_of(&self, deployment: &Name) -> Option<Mac> {
        let machine = self.desired.machines.get(self.assignments.get(deployment)?)?;
        self.active_mac(machine)
    }

    /// Whether a card makes itself this address in one of our IPv6 networks (SLAAC).
    pub fn is_own_address6(&self, address: Ipv6Addr, mac: Mac) -> bool {
        let networks = self.desired.subnets.values().filter_map(|subnet| subnet.ipv6.as_ref());
        networks.into_iter().any(|ipv6| ipv6.cidr.own_address(mac) == Some(address))
    }

    /// The network card of a machine that spoke last, else its first.
    pub fn active_mac(&self, machine: &Machine) -> Option<Mac> {
        let last = |mac: &&Mac| self.seen.get(*mac).map(|seen| seen.last);
        let learned = (!machine.ids.is_empty()).then_some(&self.learned).into_iter().flatten();
        let learned = learned.filter(|(_, owner)| **owner == machine.name).map(|(mac, _)| mac);
        let seen = machine.macs.iter().chain(learned).filter(|mac| last(mac).is_some()).max_by_key(last);
        seen.or(machine.macs.first()).copied()
    }
}
