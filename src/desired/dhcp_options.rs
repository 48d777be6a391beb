//! The options that DHCP clients get beside the usual ones.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::model::{Cidr, dhcp_option};

/// The `options` and `routes` of a subnet, a machine or a deployment, as they go on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhcpOptions {
    /// Values by code.
    pub values: BTreeMap<u8, Arc<[u8]>>,
    /// Classless static routes (RFC 3442); `None` where none are set.
    pub routes: Option<Arc<[Route]>>,
}

/// One entry of `routes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Cidr,
    pub via: Ipv4Addr,
}

impl DhcpOptions {
    /// Lays these over others: single options replace each other, routes all together.
    pub fn over(&self, base: &mut DhcpOptions) {
        base.values.extend(self.values.iter().map(|(code, value)| (*code, value.clone())));
        if self.routes.is_some() {
            base.routes.clone_from(&self.routes);
        }
    }

    /// One line for each, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let value = |(code, value): (&u8, &Arc<[u8]>)| {
            let bytes: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} = hex:{bytes}", dhcp_option::name(*code))
        };
        let route = |route: &Route| format!("route to {} via {}", route.to, route.via);
        let routes = self.routes.iter().flat_map(|routes| routes.iter()).map(route);
        self.values.iter().map(value).chain(routes)
    }
}

/// Routes as RFC 3442 packs them: length of the prefix, its significant octets, router.
pub fn pack(routes: &[Route]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Route { to, via } in routes {
        let significant = usize::from(to.length()).div_ceil(8);
        bytes.push(to.length());
        bytes.extend_from_slice(&to.network().octets()[..significant]);
        bytes.extend_from_slice(&via.octets());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_packed_as_in_the_examples_of_rfc_3442() {
        let via = Ipv4Addr::new(10, 0, 0, 1);
        let packed = |to: &str| pack(&[Route { to: to.parse().unwrap(), via }]);
        assert_eq!(packed("0.0.0.0/0"), [0, 10, 0, 0, 1]);
        assert_eq!(packed("10.0.0.0/8"), [8, 10, 10, 0, 0, 1]);
        assert_eq!(packed("10.17.0.0/16"), [16, 10, 17, 10, 0, 0, 1]);
        assert_eq!(packed("10.229.0.128/25"), [25, 10, 229, 0, 128, 10, 0, 0, 1]);
        assert_eq!(packed("10.198.122.47/32"), [32, 10, 198, 122, 47, 10, 0, 0, 1]);
    }
}
