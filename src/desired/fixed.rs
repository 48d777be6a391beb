//! Which deployment a fixed address is promised to, and which machine an identity names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use imbl::HashMap;

use super::Desired;
use crate::model::{Identity, Name};

/// The fixed addresses and identities of a `Desired`, gathered when first asked for. A copy starts empty,
/// so that it never has deployments that its owner no longer has.
#[derive(Debug, Default)]
pub struct Fixed {
    by_address: OnceLock<HashMap<Ipv4Addr, Name>>,
    by_address6: OnceLock<HashMap<Ipv6Addr, Name>>,
    by_identity: OnceLock<HashMap<Identity, Name>>,
    in_order: OnceLock<Vec<(IpAddr, Name)>>,
}

impl Fixed {
    /// The index of a revision whose deployments have exactly these.
    pub(super) fn known(by_address: HashMap<Ipv4Addr, Name>, by_address6: HashMap<Ipv6Addr, Name>) -> Fixed {
        Fixed { by_address: by_address.into(), by_address6: by_address6.into(), ..Fixed::default() }
    }
}

impl Clone for Fixed {
    fn clone(&self) -> Fixed {
        Fixed::default()
    }
}

impl Desired {
    /// The deployment that has this address by its manifest.
    pub fn fixed_at(&self, address: Ipv4Addr) -> Option<&Name> {
        let gather = || {
            let fixed = self.deployments.values().filter_map(|one| Some((one.address?, one.name.clone())));
            fixed.collect()
        };
        self.fixed.by_address.get_or_init(gather).get(&address)
    }

    /// The deployment that has this IPv6 address by its manifest.
    pub fn fixed6_at(&self, address: Ipv6Addr) -> Option<&Name> {
        let gather = || {
            let fixed = self.deployments.values().filter_map(|one| Some((one.address6?, one.name.clone())));
            fixed.collect()
        };
        self.fixed.by_address6.get_or_init(gather).get(&address)
    }

    /// Every address that a deployment has by its manifest, IPv4 first, in order.
    pub fn fixed_in_order(&self) -> &[(IpAddr, Name)] {
        let gather = || {
            let both = |one: &std::sync::Arc<super::Deployment>| {
                let name = one.name.clone();
                let four = one.address.map(|address| (IpAddr::V4(address), name.clone()));
                four.into_iter().chain(one.address6.map(|address| (IpAddr::V6(address), name)))
            };
            let mut all: Vec<(IpAddr, Name)> = self.deployments.values().flat_map(both).collect();
            all.sort_unstable();
            all
        };
        self.fixed.in_order.get_or_init(gather)
    }

    /// The machine that its manifest says shows this beside its hardware addresses.
    pub fn identified(&self, identity: &Identity) -> Option<&Name> {
        let gather = || {
            let all = self.machines.values();
            all.flat_map(|one| one.ids.iter().map(|id| (id.clone(), one.name.clone()))).collect()
        };
        self.fixed.by_identity.get_or_init(gather).get(identity)
    }
}
