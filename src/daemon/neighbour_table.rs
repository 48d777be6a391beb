//! The kernel's neighbour table (ARP and neighbour discovery): which hardware address answers for an IP
//! address on our wire. Two questions over netlink (rtnetlink(7)): by which interface the address is
//! reached, and what the table of that interface says of it. Kernels before 5.0 answer the second with an
//! error, and then nothing is known.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::model::Mac;
use crate::proto::tree::{Asker, Link};

/// Longest wait for the kernel, which keeps such questions waiting while interfaces are being made.
const PATIENCE: Duration = Duration::from_secs(1);
/// The message's header, in bytes, and a route's and a neighbour's fixed part.
const HEADER: usize = 16;
const FIXED: usize = 12;
/// States in which an entry holds a hardware address of the wire (`linux/neighbour.h`).
const VALID: u16 =
    libc::NUD_REACHABLE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_PERMANENT;

/// What the table says of an asker; [`Link::Unknown`] where the kernel does not answer.
pub async fn link_of(asker: &Asker) -> Link {
    let (address, scope) = (asker.address, asker.scope);
    let looking = tokio::task::spawn_blocking(move || card_at(address, scope));
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(Ok(Ok(Some(card)))) => Link::Card(card),
        Ok(Ok(Ok(None))) => Link::Unknown,
        Ok(Ok(Err(error))) => {
            tracing::debug!(%address, %error, "the neighbour table can't be read");
            Link::Unknown
        }
        Ok(Err(_)) | Err(_) => Link::Unknown,
    }
}

/// The hardware address that answers for `address` on a wire of ours; `None` if it is this host's own, or
/// behind a router. `scope` is the interface of a link-local address.
pub fn card_at(address: IpAddr, scope: u32) -> io::Result<Option<Mac>> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let Some(interface) = interface_to(&socket, address, scope)? else { return Ok(None) };
    let mut fixed = [0; FIXED];
    fixed[0] = family(address);
    fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut message = request(libc::RTM_GETNEIGH, fixed);
    attribute(&mut message, libc::NDA_DST, &octets(address));
    let Some(reply) = ask(&socket, message)? else { return Ok(None) };
    let state = reply.get(HEADER + 8..HEADER + 10).and_then(|bytes| bytes.try_into().ok());
    if state.is_none_or(|state| u16::from_ne_bytes(state) & VALID == 0) {
        return Ok(None);
    }
    let hardware = attributes(&reply).find(|(kind, _)| *kind == libc::NDA_LLADDR);
    let octets: Option<[u8; 6]> = hardware.and_then(|(_, octets)| octets.try_into().ok());
    Ok(octets.and_then(|octets| Mac::new(octets).ok()))
}

/// The interface by which an address is reached without a router.
fn interface_to(socket: &OwnedFd, address: IpAddr, scope: u32) -> io::Result<Option<u32>> {
    if scope != 0 {
        return Ok(Some(scope));
    }
    let octets = octets(address);
    let mut fixed = [0; FIXED];
    fixed[0] = family(address);
    fixed[1] = octets.len() as u8 * 8;
    let mut message = request(libc::RTM_GETROUTE, fixed);
    attribute(&mut message, libc::RTA_DST, &octets);
    let Some(reply) = ask(socket, message)? else { return Ok(None) };
    let unicast = reply.get(HEADER + 7) == Some(&libc::RTN_UNICAST);
    let routed = attributes(&reply).any(|(kind, _)| matches!(kind, libc::RTA_GATEWAY | libc::RTA_VIA));
    let interface = attributes(&reply).find(|(kind, _)| *kind == libc::RTA_OIF);
    let interface = interface.and_then(|(_, index)| Some(u32::from_ne_bytes(index.try_into().ok()?)));
    Ok(interface.filter(|_| unicast && !routed))
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    family as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A message whose length is filled in when it is sent.
fn request(kind: u16, fixed: [u8; FIXED]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(fixed);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((value.len() as u16 + 4).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}

/// The kernel's answer; `None` if it knows nothing of what was asked.
fn ask(socket: &OwnedFd, mut message: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut reply = vec![0; 4096];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    reply.truncate(length);
    let kind = reply.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    if kind != Some(libc::NLMSG_ERROR as u16) {
        return Ok(Some(reply));
    }
    let error = reply.get(HEADER..HEADER + 4).and_then(|error| error.try_into().ok());
    match error.map_or(0, |error| -i32::from_ne_bytes(error)) {
        0 | libc::ENOENT | libc::ENETUNREACH | libc::EHOSTUNREACH => Ok(None),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Kinds and values after the fixed part, to the first that is cut short.
fn attributes(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(HEADER + FIXED..).unwrap_or_default();
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(word(0)?), word(2)?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_nobodys_neighbour() {
        for own in ["127.0.0.1", "::1"] {
            assert_eq!(card_at(own.parse().unwrap(), 0).unwrap(), None, "{own}");
        }
    }

    #[test]
    fn attributes_end_where_the_message_does() {
        let mut message = request(1, [0; FIXED]);
        attribute(&mut message, 7, b"abcd");
        attribute(&mut message, 8, b"efgh");
        let whole: Vec<_> = attributes(&message).collect();
        assert_eq!(whole, [(7, &b"abcd"[..]), (8, b"efgh")]);
        for length in 0..message.len() {
            assert!(attributes(&message[..length]).count() < 2);
        }
    }
}
