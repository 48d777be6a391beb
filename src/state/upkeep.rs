//! Changes of leases by the daemon itself or by an operator's order, and the conditions that follow: ranges
//! that are used up, fixed addresses that are the host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::lease::Usage;
use super::{Lease, Lease6, LeaseState, State};
use crate::desired::{Deployment, Subnet};
use crate::model::{Mac, Name, Span, Time};

/// An address that was held until an operator released it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    pub address: IpAddr,
    /// The hardware address that had it, declined it or was seen using it.
    pub mac: Mac,
    pub state: LeaseState,
    pub until: Time,
}

/// Leases to store, of both kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    pub leases: Vec<Lease>,
    pub leases6: Vec<Lease6>,
}

/// The dynamic ranges of one subnet, of IPv4 or of IPv6.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub subnet: Name,
    pub ipv6: bool,
    pub usage: Usage,
}

impl State {
    /// Brings the ends of leases nearer that a clock which was ahead has set, in the subnets that
    /// `which` names. See [`Leases::limit`](super::Leases::limit). Nothing while it is not known how long the
    /// leases are that were given.
    pub fn limit_leases(&mut self, now: Time, which: &dyn Fn(&Name) -> bool) -> Changed {
        let Some(longest) = self.lasting.longest.map(|longest| longest.span()) else {
            return Changed::default();
        };
        let desired = self.desired.clone();
        let subnets = || desired.subnets.values().filter(|subnet| which(&subnet.name));
        let span = |address: Ipv4Addr| -> Option<Span> {
            subnets().any(|subnet| subnet.contains(address)).then_some(longest)
        };
        let span6 = |address: Ipv6Addr| -> Option<Span> {
            let holds =
                |subnet: &&Arc<Subnet>| subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.cidr.contains(address));
            subnets().any(|subnet| holds(&subnet)).then_some(longest)
        };
        Changed {
            leases: self.lasting.leases.limit(now, &span),
            leases6: self.lasting.leases6.limit(now, &span6),
        }
    }

    /// Ends whatever keeps an address from others: a lease, an offer, a rest. `None` if nothing does.
    pub fn free_address(&mut self, address: IpAddr, now: Time) -> Option<(Freed, Changed)> {
        let mut changed = Changed::default();
        let freed = match address {
            IpAddr::V4(own) => {
                let held = self.lasting.leases.holder(own, now)?;
                let freed = Freed { address, mac: held.mac, state: held.state, until: held.expires };
                changed.leases = self.lasting.leases.free(own, now).changed;
                freed
            }
            IpAddr::V6(own) => {
                let held = self.lasting.leases6.at(own)?;
                let freed = Freed { address, mac: held.mac, state: held.state, until: held.expires };
                changed.leases6.push(self.lasting.leases6.free(own, now)?);
                freed
            }
        };
        Some((freed, changed))
    }

    /// How the dynamic ranges are used, in the order of the subnets' names. Linear in the number of
    /// leases: for people and metrics.
    pub fn pools(&self, now: Time) -> Vec<Pool> {
        let mut pools = Vec::new();
        for subnet in self.desired.subnets.values() {
            let mut add = |ipv6, usage: Usage| {
                if usage.size > 0 {
                    pools.push(Pool { subnet: subnet.name.clone(), ipv6, usage });
                }
            };
            add(false, self.lasting.leases.usage(subnet, now));
            if let Some(ipv6) = &subnet.ipv6 {
                add(true, self.lasting.leases6.usage(&ipv6.dynamic, now));
            }
        }
        pools
    }

    /// The deployments that an address of this host is promised to. It is given to none of them.
    pub fn host_clashes(&self) -> Vec<(&Arc<Deployment>, IpAddr)> {
        let clash = |address: IpAddr| {
            let owner = match address {
                IpAddr::V4(address) => self.desired.fixed_at(address),
                IpAddr::V6(address) => self.desired.fixed6_at(address),
            };
            Some((self.desired.deployments.get(owner?)?, address))
        };
        let served =
            std::iter::once(self.server.address).chain(self.server.others.iter().map(|(_, own)| *own));
        let served = served.map(IpAddr::V4).filter(|own| !self.host.contains(own));
        self.host.iter().copied().chain(served).filter_map(clash).collect()
    }
}

impl Pool {
    /// A message, if the next client would get a withheld address or none.
    pub fn exhausted(&self) -> Option<String> {
        let Pool { subnet, ipv6, usage: Usage { size, used, resting } } = self;
        let kind = if *ipv6 { "IPv6 " } else { "" };
        self.usage.is_exhausted().then(|| {
            format!("pool exhausted: of the {size} dynamic {kind}addresses of subnet {subnet} {used} are in use and {resting} rest after a conflict")
        })
    }
}
