//! What this daemon is to its clients: its addresses, and the boot programs that it has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::media::Entry;
use crate::model::Cidr;
use crate::model::content::FileId;

/// What this daemon is to its clients.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address that clients reach DHCP, TFTP and HTTP at.
    pub address: Ipv4Addr,
    /// Our addresses on further networks.
    pub others: Vec<(Cidr, Ipv4Addr)>,
    pub http_port: u16,
    /// Whether machines get their addresses here, so that an address shows which machine asks; not so
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
