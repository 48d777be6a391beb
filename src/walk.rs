//! Simulates the boot of a machine's firmware against the protocol rooms, over a state of its own: what
//! `check` reports about a boot is what the daemon will do, because the same code answers.

mod ask;
pub mod client;
pub mod client6;
pub mod program;
mod route;
pub mod script;
pub mod served;
mod shared;
mod simulation;
pub mod transcript;

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;

use crate::desired::{Desired, Subnet};
use crate::model::{Mode, Name};
use crate::state::{Secrets, Server, Stage, State};

pub use ask::text_of;
pub use route::Route;
pub use simulation::{GRUB_CONFIGURATION, completion, simulate, simulate_all, url_at};

/// A simulated boot, from power-on to the second boot from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedBoot {
    pub deployment: Name,
    pub route: Route,
    pub steps: Vec<Arc<Step>>,
    pub end: End,
    /// The answer files that were fetched, by name.
    pub answers: Vec<(&'static str, Bytes)>,
}

/// A request of the machine that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub stage: Stage,
    /// The text that the daemon would write into its timeline.
    pub text: String,
    pub detail: Detail,
}

/// What an answer held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    Nothing,
    /// A DHCP message.
    Datagram(Bytes),
    /// A DHCPv6 message.
    Datagram6(Bytes),
    /// A script, configuration or answer file, under the name it was asked for.
    Text {
        name: String,
        text: Bytes,
    },
    /// A file of this many bytes, under the name it was asked for.
    File {
        name: String,
        length: u64,
    },
}

/// How a simulated boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Installed, and the second boot went to the disk.
    Installed,
    /// The machine runs from the network; a second boot would do the same.
    NetworkBoots,
    /// No machine is free for the deployment yet.
    Unassigned,
    /// A file of the boot was not found here, so its content is unknown.
    FileNotFound(String),
    Stopped(Stop),
}

/// Why a simulated boot stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub fault: Fault,
    pub why: String,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A DHCP message got no answer, or a wrong one.
    Address,
    /// The boot program that DHCP names.
    Loader,
    /// The script could not be rendered, or does not do what it should.
    Script,
    /// Kernel or initrd.
    File,
    /// An answer file.
    Answers,
    /// The command line does not name the answers.
    NoAnswers,
    /// Neither the command line nor an answer calls `completed_url`.
    NoCompletion,
    /// The completion call, or what comes after it.
    Afterwards,
}

impl Fault {
    fn stop(self, why: impl Into<String>) -> Stop {
        Stop { fault: self, why: why.into() }
    }
}

/// The address that the simulated daemon has on `subnet`.
pub fn stand_in_address(desired: &Desired, subnet: &Subnet) -> Ipv4Addr {
    let taken = |address: &Ipv4Addr| desired.fixed_at(*address).is_some();
    // A subnet without IPv4 has no use for it: an address of the documentation's range (RFC 5737) is taken.
    let Some(cidr) = subnet.cidr else { return Ipv4Addr::new(192, 0, 2, 1) };
    let hosts = cidr.hosts();
    let address = subnet.gateway.into_iter().chain(hosts.iter()).find(|address| !taken(address));
    address.unwrap_or(hosts.first)
}

/// The state that a daemon on `subnet` would have on its first day, with placeholders for secrets.
pub fn initial_state(desired: Arc<Desired>, subnet: &Subnet) -> State {
    let server = stand_in_address(&desired, subnet);
    initial_state_at(server, desired)
}

/// The same with the daemon's address given, as [`stand_in_address`] chooses it.
pub fn initial_state_at(server: Ipv4Addr, desired: Arc<Desired>) -> State {
    let mut server = Server::stand_in(server);
    // Whether the host has the named loaders is not known here, so they are assumed.
    let boots = desired.boots.values().flat_map(|boot| &boot.loader);
    let named = desired.machines.values().flat_map(|machine| &machine.loader).chain(boots);
    named.for_each(|name| server.stand_in_loader(name));
    let state = State::new(server);
    state.with_secrets(Secrets::stand_in()).adopt(whole(desired))
}

/// A boot is simulated as the inventory means to serve it, also where a subnet's `mode` leaves the
/// addresses to another server, or answers to nobody for now.
fn whole(desired: Arc<Desired>) -> Arc<Desired> {
    if desired.subnets.values().all(|subnet| subnet.mode == Mode::Server) {
        return desired;
    }
    let mut whole = Desired::clone(&desired);
    for subnet in whole.subnets.values_mut() {
        // The other server may lend any address of the subnet.
        let any = subnet.cidr.filter(|_| subnet.mode != Mode::Server && subnet.dynamic.is_empty());
        let dynamic = any.map_or_else(|| subnet.dynamic.clone(), |cidr| vec![cidr.hosts()]);
        *subnet = Arc::new(Subnet { mode: Mode::Server, dynamic, ..Subnet::clone(subnet) });
    }
    whole.into()
}

/// The machine that each deployment gets on that first day.
pub fn choices(desired: &Arc<Desired>) -> imbl::OrdMap<Name, Name> {
    State::new(Server::stand_in(Ipv4Addr::UNSPECIFIED)).adopt(desired.clone()).assignments().clone()
}
