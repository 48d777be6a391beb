//! The machine's network cards: which there are, switching them on, their addresses (netdevice(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::agent::net::Lease;
use crate::model::Mac;

/// `ARPHRD_ETHER` of linux/if_arp.h.
const ETHERNET: &str = "1";

/// A card, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub name: String,
    pub mac: Mac,
    pub index: u32,
    /// Whether there is a cable with something at its other end; `None` while the card is off.
    pub carrier: Option<bool>,
}

/// Ethernet cards that have a device behind them: no loopback, no bridge.
pub(super) fn cards(sys: &Path) -> Vec<Card> {
    let entries = std::fs::read_dir(sys.join("class/net")).into_iter().flatten().flatten();
    let mut cards: Vec<Card> = entries.filter_map(|entry| card(&entry.path())).collect();
    cards.sort_by_key(|card| card.index);
    cards
}

fn card(path: &Path) -> Option<Card> {
    let read = |file: &str| std::fs::read_to_string(path.join(file)).ok().map(|text| text.trim().to_owned());
    if !path.join("device").exists() || path.join("wireless").exists() || read("type")? != ETHERNET {
        return None;
    }
    Some(Card {
        name: path.file_name()?.to_str()?.to_owned(),
        mac: read("address")?.parse().ok()?,
        index: read("ifindex")?.parse().ok()?,
        // Reading it fails while the card is off.
        carrier: read("carrier").map(|text| text == "1"),
    })
}

/// Switches a card on.
pub(super) fn switch_on(name: &str) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let set = |request: &mut libc::ifreq| ioctl(libc::SIOCSIFFLAGS as _, std::ptr::from_mut(request).cast());
    set(&mut request)
}

/// Gives a card its address, and the way out through it.
pub(super) fn set_lease(name: &str, lease: &Lease) -> io::Result<()> {
    set_address(name, libc::SIOCSIFADDR as _, lease.address)?;
    let netmask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(lease.prefix)).unwrap_or(0));
    set_address(name, libc::SIOCSIFNETMASK as _, netmask)?;
    let Some(router) = lease.router else { return Ok(()) };
    match add_route(router) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Takes a card's address away, and the routes with it.
pub(super) fn clear(name: &str) -> io::Result<()> {
    set_address(name, libc::SIOCSIFADDR as _, Ipv4Addr::UNSPECIFIED)
}

/// The address that a card was made with (`ETHTOOL_GPERMADDR` of linux/ethtool.h).
pub(super) fn permanent(name: &str) -> Option<Mac> {
    const GET: u32 = 0x20;
    const LONGEST: u32 = 32;
    #[repr(C)]
    struct Address {
        command: u32,
        size: u32,
        data: [u8; LONGEST as usize],
    }
    let mut address = Address { command: GET, size: LONGEST, data: [0; LONGEST as usize] };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut address).cast();
    ioctl(libc::SIOCETHTOOL as _, (&raw mut request).cast()).ok()?;
    let octets = address.data.get(..6).filter(|_| address.size == 6)?;
    Mac::new(octets.try_into().ok()?).ok()
}

fn set_address(name: &str, call: libc::Ioctl, address: Ipv4Addr) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = socket_address(address);
    ioctl(call, (&raw mut request).cast())
}

fn add_route(router: Ipv4Addr) -> io::Result<()> {
    // SAFETY: the structure holds numbers, pointers and socket addresses, for all of which zero is a value.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(router);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    ioctl(libc::SIOCADDRT as _, (&raw mut route).cast())
}

/// A sockaddr_in seen as a sockaddr: port, then address, in network order.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let [a, b, c, d] = address.octets().map(|octet| octet as libc::c_char);
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// An interface request for `name`, which is shorter than IFNAMSIZ.
fn request(name: &str) -> libc::ifreq {
    let mut bytes = [0; libc::IFNAMSIZ];
    for (place, byte) in bytes.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *place = byte as libc::c_char;
    }
    libc::ifreq { ifr_name: bytes, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } }
}

/// `argument` points to what `call` takes: an ifreq (which may point to more), or an rtentry for SIOCADDRT.
fn ioctl(call: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<()> {
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the callers above pass a pointer to the structure of their call; it and what it points to live across it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), call, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cards_are_cards() {
        let sys = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let folder = sys.path().join("class/net").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(file, text)| std::fs::write(folder.join(file), text).unwrap());
        };
        let mac = ("address", "52:54:00:aa:00:01\n");
        make("eth0", &[mac, ("type", "1\n"), ("ifindex", "3\n"), ("device", ""), ("carrier", "1\n")]);
        make("eth1", &[mac, ("type", "1\n"), ("ifindex", "2\n"), ("device", "")]);
        make("lo", &[("address", "00:00:00:00:00:00"), ("type", "772"), ("ifindex", "1")]);
        make("br0", &[mac, ("type", "1\n"), ("ifindex", "4\n")]);
        make("wlan0", &[mac, ("type", "1\n"), ("ifindex", "5\n"), ("device", ""), ("wireless", "")]);
        make("ib0", &[("address", "80:00"), ("type", "32\n"), ("ifindex", "6\n"), ("device", "")]);
        let found = cards(sys.path());
        let names: Vec<_> = found.iter().map(|card| (card.name.as_str(), card.carrier)).collect();
        assert_eq!(names, [("eth1", None), ("eth0", Some(true))]);
    }
}
