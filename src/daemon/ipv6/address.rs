//! Which of the host's IPv6 addresses a network is served at.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::daemon::link::Address6;
use crate::desired::{Ipv6, Subnet};
use crate::model::Name;
use crate::state::State;

/// A served network, as far as the choice needs it.
pub(super) struct Network<'n> {
    pub name: &'n str,
    /// The daemon's IPv4 address there.
    pub address: Ipv4Addr,
    /// Whether it is the only one.
    pub only: bool,
    /// The kernel's number for the interface, if that is there.
    pub index: Option<u32>,
}

/// An interface with an address of this host that lies in an `ipv6` network of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServedAddress {
    pub index: u32,
    pub address: Ipv6Addr,
    pub subnet: Name,
    /// Whether the address is configured permanently.
    pub permanent: bool,
}

/// Where a network is served, and what the host lacks for what the inventory asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub served: Option<ServedAddress>,
    pub lacks: Vec<String>,
}

/// Chooses. The address that was chosen before is kept while the host has it, whatever others a router
/// makes it add; one that was given for good is waited for when it is gone.
pub(super) fn choose(
    state: &State,
    network: &Network,
    own: impl FnOnce() -> Vec<Address6>,
    former: Option<&ServedAddress>,
) -> Choice {
    let subnets = state.desired().subnets.values();
    let mut wanted = subnets.filter_map(|subnet| Some((subnet, subnet.ipv6.as_ref()?))).peekable();
    let mut choice = Choice::default();
    if wanted.peek().is_none() {
        return choice;
    }
    let (twice, mut own): (Vec<_>, Vec<_>) = own().into_iter().partition(|one| one.duplicate);
    // A fixed address before one that a router gave, and a privacy address last.
    own.sort_by_key(|one| (one.temporary, !one.permanent));
    for (subnet, ipv6) in wanted {
        let former =
            former.filter(|former| former.subnet == subnet.name && ipv6.cidr.contains(former.address));
        let twice = twice.iter().find(|one| ipv6.cidr.contains(one.address));
        let mut inside = own.iter().filter(|one| ipv6.cidr.contains(one.address));
        let kept = |one: &&Address6| former.is_some_and(|former| former.address == one.address);
        let kept = inside.clone().find(kept);
        let gone = former.filter(|former| former.permanent && kept.is_none());
        let found = kept.or_else(|| inside.next());
        let is_lacking = found.is_none() || gone.is_some() && choice.served.is_none();
        if let Some(twice) = twice.filter(|_| is_lacking) {
            choice.lacks.push(format!(
                "the address {} of subnet {} on {} is used by another host as well (duplicate address detection): \
                 remove it from one of the two, and add it to {2} again",
                twice.address, subnet.name, network.name
            ));
            continue;
        }
        match (found, gone, &choice.served) {
            (_, Some(gone), None) => choice.lacks.push(format!(
                "the address {} of subnet {} is gone from {}: add it again, or restart the daemon to have another one chosen",
                gone.address, subnet.name, network.name
            )),
            (Some(chosen), _, None) => choice.served = served(network, subnet, chosen),
            (Some(_), _, Some(first)) => choice.lacks.push(format!(
                "subnets {} and {} are both on {}: only the first is served there",
                first.subnet, subnet.name, network.name
            )),
            (None, ..) if is_here(subnet, network) => {
                choice.lacks.push(without_address(network, subnet, ipv6));
            }
            (None, ..) => {}
        }
    }
    choice
}

fn served(network: &Network, subnet: &Subnet, chosen: &Address6) -> Option<ServedAddress> {
    let (address, permanent) = (chosen.address, chosen.permanent);
    Some(ServedAddress { index: network.index?, address, subnet: subnet.name.clone(), permanent })
}

/// Whether a subnet's machines are on this link although this host has no address of it.
fn is_here(subnet: &Subnet, network: &Network) -> bool {
    subnet.contains(network.address) || subnet.cidr.is_none() && network.only
}

fn without_address(network: &Network, subnet: &Subnet, ipv6: &Ipv6) -> String {
    format!(
        "{} has no address in {} of subnet {}: give it one, as in `ip address add {}1/{} dev {}`",
        network.name,
        ipv6.cidr,
        subnet.name,
        ipv6.cidr.network(),
        ipv6.cidr.length(),
        network.name
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Mode, Origin, Span};
    use crate::state::Server;

    fn address(text: &str, permanent: bool, temporary: bool) -> Address6 {
        Address6 { address: text.parse().unwrap(), permanent, temporary, duplicate: false }
    }

    fn state() -> State {
        let origin = Origin { file: "lab.toml".into(), line: 1, column: 1 };
        let ipv6 = Ipv6 {
            cidr: "fd00:10::/64".parse().unwrap(),
            dynamic: Vec::new(),
            dns: Vec::new(),
            ra: Default::default(),
            router: false,
        };
        let name: Name = "lab".parse().unwrap();
        let lab = Subnet {
            segment: name.clone(),
            name: name.clone(),
            cidr: Some("10.0.10.0/24".parse().unwrap()),
            gateway: None,
            dns: Vec::new(),
            domain: None,
            dynamic: Vec::new(),
            lease: Span::seconds(3600),
            options: Default::default(),
            mode: Mode::Server,
            unknown: Default::default(),
            idle: Default::default(),
            power: None,
            ipv6: Some(ipv6),
            origin,
        };
        let mut desired = crate::desired::Desired::default();
        desired.subnets.insert(name, Arc::new(lab));
        State::new(Server::stand_in([10, 0, 10, 1].into())).with_desired(desired)
    }

    #[test]
    fn the_chosen_address_is_kept_and_a_fixed_one_is_waited_for() {
        let state = state();
        let network = Network { name: "eth0", address: [10, 0, 10, 1].into(), only: true, index: Some(2) };
        let choose = |own: &[Address6], former: Option<&ServedAddress>| {
            choose(&state, &network, || own.to_vec(), former)
        };
        let fixed = address("fd00:10::1", true, false);
        let (given, privacy) = (address("fd00:10::a", false, false), address("fd00:10::b", false, true));
        let first = choose(&[privacy, given], None).served.unwrap();
        assert_eq!(first.address, given.address, "a privacy address only if there is no other");
        // A router's advertisement adds addresses, in front of the others; then a fixed one is added.
        let kept = choose(&[fixed, privacy, given], Some(&first)).served.unwrap();
        assert_eq!(kept, first);
        let other = choose(&[privacy], Some(&first)).served.unwrap();
        assert_eq!(other.address, privacy.address, "what a router gave may be replaced");
        let first = choose(&[given, fixed], None).served.unwrap();
        assert_eq!(first.address, fixed.address);
        let gone = choose(&[given], Some(&first));
        assert_eq!(gone.served, None);
        assert!(
            gone.lacks[0].starts_with("the address fd00:10::1 of subnet lab is gone from eth0: "),
            "{gone:?}"
        );
        let twice = Address6 { duplicate: true, ..fixed };
        for former in [None, Some(&first)] {
            let lacking = choose(&[twice], former);
            assert_eq!((lacking.served, lacking.lacks.len()), (None, 1));
            let why = "the address fd00:10::1 of subnet lab on eth0 is used by another host as well";
            assert!(lacking.lacks[0].starts_with(why), "{:?}", lacking.lacks);
        }
        let lacking = choose(&[address("fe80::1", true, false)], None);
        assert!(
            lacking.lacks[0].starts_with("eth0 has no address in fd00:10::/64 of subnet lab: "),
            "{lacking:?}"
        );
    }
}
