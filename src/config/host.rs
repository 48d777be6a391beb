//! Reads the network of this host: interfaces, routes, resolvers, neighbours.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::model::Cidr;

/// A network interface with its IPv4 addresses, in the kernel's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub up: bool,
    pub loopback: bool,
    pub addresses: Vec<(Ipv4Addr, Cidr)>,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub interface: String,
    pub address: Ipv4Addr,
    pub metric: u32,
}

/// The settings of `/etc/resolv.conf` that other machines can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    pub servers: Vec<Ipv4Addr>,
    pub domain: Option<String>,
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.up { "up" } else { "down" };
        write!(f, "{} ({state}", self.name)?;
        for (address, network) in &self.addresses {
            write!(f, ", {address}/{}", network.length())?;
        }
        if self.addresses.is_empty() {
            f.write_str(", no IPv4 address")?;
        }
        f.write_str(")")
    }
}

/// The interface that an entry of getifaddrs(3) belongs to, by the name there: an IPv4 address may have a
/// label, as in `eth0:0`, which takes the place of the interface's name. Names of interfaces hold no colon.
pub fn link_of(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// The interfaces of this host by name.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let name = link_of(&entry.interface_name).to_owned();
        let interface = found.entry(name.clone()).or_insert_with(|| Interface {
            name,
            up: entry.flags.contains(InterfaceFlags::IFF_UP),
            loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            addresses: Vec::new(),
        });
        let (Some(address), Some(netmask)) = (entry.address, entry.netmask) else { continue };
        if let (Some(address), Some(netmask)) = (address.as_sockaddr_in(), netmask.as_sockaddr_in()) {
            let length = u32::from(netmask.ip()).leading_ones() as u8;
            interface.addresses.push((address.ip(), Cidr::around(address.ip(), length)));
        }
    }
    Ok(found.into_values().collect())
}

/// The default routes in the form of `/proc/net/route`, best first.
pub fn gateways(text: &str) -> Vec<Gateway> {
    let mut gateways: Vec<Gateway> = text.lines().skip(1).filter_map(gateway).collect();
    gateways.sort_by_key(|gateway| gateway.metric);
    gateways
}

/// Addresses there are hexadecimal in the host's byte order.
fn gateway(line: &str) -> Option<Gateway> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let (destination, address, flags, mask) = (number(1)?, number(2)?, number(3)?, number(7)?);
    const UP_AND_GATEWAY: u32 = 0x3;
    if destination != 0 || mask != 0 || flags & UP_AND_GATEWAY != UP_AND_GATEWAY {
        return None;
    }
    Some(Gateway {
        interface: (*fields.first()?).to_owned(),
        address: Ipv4Addr::from(address.to_ne_bytes()),
        metric: fields.get(6)?.parse().ok()?,
    })
}

/// The form of `/etc/resolv.conf`. A resolver on this host's loopback serves no other machine.
pub fn resolvers(text: &str) -> Resolvers {
    let mut resolvers = Resolvers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(server)) => {
                let server = server.parse().ok().filter(|server: &Ipv4Addr| !server.is_loopback());
                resolvers.servers.extend(server);
            }
            (Some("search" | "domain"), Some(domain)) if domain != "." => {
                resolvers.domain = Some(domain.trim_end_matches('.').to_owned());
            }
            _ => {}
        }
    }
    resolvers
}

/// The addresses that have answered on `interface`, in the form of `/proc/net/arp`.
pub fn neighbours(text: &str, interface: &str) -> Vec<Ipv4Addr> {
    let neighbour = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let complete = fields.get(2).is_some_and(|flags| *flags != "0x0");
        let here = fields.get(5) == Some(&interface);
        (complete && here).then(|| fields.first()?.parse().ok())?
    };
    text.lines().skip(1).filter_map(neighbour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                    wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\nbroken\n";
        let found = gateways(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].interface.as_str(), found[0].metric), ("eth0", 100));
        if cfg!(target_endian = "little") {
            assert_eq!(found[0].address, Ipv4Addr::new(192, 0, 2, 1));
        }
    }

    #[test]
    fn resolvers_of_use_to_others_are_read() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1 \nnameserver fe80::1\nsearch lab.example. other\n";
        let found = resolvers(text);
        assert_eq!(found.servers, [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(found.domain.as_deref(), Some("lab.example"));
        assert_eq!(resolvers("search .\nnameserver\n"), Resolvers::default());
    }

    #[test]
    fn neighbours_of_one_interface_are_read() {
        let text = "IP address HW type Flags HW address Mask Device\n\
                    192.0.2.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n\
                    192.0.2.9 0x1 0x0 00:00:00:00:00:00 * eth0\n\
                    10.0.0.1 0x1 0x2 02:fc:00:00:00:06 * eth1\n";
        assert_eq!(neighbours(text, "eth0"), [Ipv4Addr::new(192, 0, 2, 1)]);
    }

    #[test]
    fn a_label_is_no_interface() {
        for (name, link) in [("eth0", "eth0"), ("eth0:0", "eth0"), ("eth0.7:vip:1", "eth0.7"), ("", "")] {
            assert_eq!(link_of(name), link);
        }
    }

    #[test]
    fn this_host_has_a_loopback() {
        let found = interfaces().unwrap();
        let loopback = found.iter().find(|interface| interface.loopback).unwrap();
        assert_eq!(loopback.name, "lo");
    }
}
