//! The live table as a value: what is desired, and what is known of the machines. Changing it
//! yields a new one; unchanged parts are shared, so a change among 100,000 entries copies little.

pub mod event;
pub mod install;
pub mod lease;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::desired::{Deployment, Desired, Machine};
use crate::media::Entry;
use crate::model::{ClientArch, Mac, Name, Time};

pub use event::{Event, Stage};
pub use install::{Duty, Install, InstallStage};
pub use lease::{Lease, LeaseAction, LeaseOutcome, LeaseRequest, LeaseState, Leases, Supply};

/// Everything the protocols answer from.
#[derive(Clone, Debug)]
pub struct Table {
    /// Minted when a daemon first starts on an empty state directory; binds saved plans.
    pub lineage: Arc<str>,
    /// Raised by every change of `desired`, `installs` or `assignments`.
    pub serial: u64,
    /// Key of the capability URLs.
    pub token_key: [u8; 32],
    pub server: Arc<Server>,
    pub desired: Arc<Desired>,
    /// Installations by deployment. Kept when a deployment is removed: bringing it back must
    /// not wipe the machine.
    pub installs: imbl::OrdMap<Name, Install>,
    /// Which machine a deployment has: pinned by the manifest or chosen for its `select`.
    pub assignments: imbl::OrdMap<Name, Name>,
    /// `assignments` the other way round.
    pub tenants: imbl::OrdMap<Name, Name>,
    /// Machines under protection, remembered when their manifest goes.
    pub protected: imbl::OrdSet<Name>,
    pub seen: imbl::HashMap<Mac, Seen>,
    pub leases: Leases,
}

/// What this daemon is to its clients.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address that clients reach DHCP, TFTP and HTTP at.
    pub address: Ipv4Addr,
    pub http_port: u16,
    /// Boot loaders by the name they are served under: `undionly.kpxe`, `snponly.efi`, …
    pub loaders: BTreeMap<Box<str>, Entry>,
}

impl Server {
    /// Root of everything served by HTTP, without a slash at the end. An address, never a name
    /// (firmware ranks name URLs lower and GRUB can't resolve them), the port only if not 80.
    pub fn url(&self) -> String {
        match self.http_port {
            80 => format!("http://{}", self.address),
            port => format!("http://{}:{port}", self.address),
        }
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
    pub address: Option<Ipv4Addr>,
}

impl Table {
    pub fn machine(&self, mac: Mac) -> Option<&Arc<Machine>> {
        self.desired.machines.get(self.desired.macs.get(&mac)?)
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

    /// Who has this address now.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.leases.mac_at(address)
    }
}
