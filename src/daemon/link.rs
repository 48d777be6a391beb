//! The network interface that is served.

mod address6;
mod follow;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::config::host::link_of;
use crate::model::Cidr;

pub use address6::{Address6, addresses6};
pub use follow::{Followed, Follower};

/// An interface with one of its IPv4 addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    pub address: Ipv4Addr,
    pub cidr: Cidr,
}

/// Whether a configured interface is there with its address and up, or what is missing.
pub type Presence = Result<Interface, LinkError>;

/// Why an interface can't be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LinkError {
    #[error("there is no network interface {name}; there are {}", .known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    #[error("interface {0} has no IPv4 address: give it one, as in `ip address add 10.0.10.1/24 dev {0}`")]
    NoAddress(String),
    #[error("interface {0} is down: `ip link set {0} up` starts it")]
    Down(String),
    #[error("interface {name} does not have the address {address}; it has {}", list(.has))]
    OtherAddress { name: String, address: Ipv4Addr, has: Vec<Ipv4Addr> },
    #[error("can't list the network interfaces: {0}")]
    List(#[source] nix::Error),
}

impl Interface {
    /// The interface `name` with `address`, or with its first address; it must be up if `address` is given.
    pub fn find(name: &str, address: Option<Ipv4Addr>) -> Presence {
        let mut known = BTreeSet::new();
        let mut has = Vec::new();
        let mut up = true;
        for entry in getifaddrs().map_err(LinkError::List)? {
            let link = link_of(&entry.interface_name);
            known.insert(link.to_owned());
            up &= link != name || entry.flags.contains(InterfaceFlags::IFF_UP);
            let ip = entry.address.and_then(|storage| storage.as_sockaddr_in().map(|ip| ip.ip()));
            let mask = entry.netmask.and_then(|storage| storage.as_sockaddr_in().map(|ip| ip.ip()));
            if let (true, Some(ip), Some(mask)) = (link == name, ip, mask) {
                has.push((ip, Cidr::around(ip, u32::from(mask).count_ones() as u8)));
            }
        }
        let Ok(index) = if_nametoindex(name) else {
            return Err(LinkError::Unknown { name: name.into(), known: known.into_iter().collect() });
        };
        let chosen = has.iter().find(|(one, _)| address.is_none_or(|wanted| wanted == *one));
        match (chosen, address) {
            (Some(_), Some(_)) if !up => Err(LinkError::Down(name.into())),
            (Some((address, cidr)), _) => {
                Ok(Interface { name: name.into(), index, address: *address, cidr: *cidr })
            }
            (None, Some(address)) if !has.is_empty() => {
                let has = has.into_iter().map(|(one, _)| one).collect();
                Err(LinkError::OtherAddress { name: name.into(), address, has })
            }
            (None, _) => Err(LinkError::NoAddress(name.into())),
        }
    }
}

fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_what_there_is() {
        let error = Interface::find("no-such-if", None).unwrap_err().to_string();
        assert!(error.starts_with("there is no network interface no-such-if; there are "), "{error}");
        assert!(error.split([' ', ',']).any(|name| name == "lo"), "{error}");
    }
}
