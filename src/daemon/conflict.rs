//! Finds out whether another host already uses an address that was just offered (RFC 2131 section 2.2),
//! without delaying the answer: the OFFER is sent at once together with an ARP request (RFC 5227), and when
//! a stranger answers, the address is withheld before the client requests it (iPXE takes 1 s, EDK2 4 s) or,
//! at the latest, the client's request is refused.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, sendto, socket};
use tokio::io::unix::AsyncFd;

use super::is_passing;
use super::link::Interface;
use super::raw::link_address_of;
use crate::model::Mac;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions that may be open at once; a storm beyond that goes unasked.
const OPEN_MAX: usize = 4096;
const ARP: u16 = libc::ETH_P_ARP as u16;

/// Sends ARP requests on one interface, and receives every answer.
#[derive(Debug)]
pub struct Conflicts {
    socket: AsyncFd<OwnedFd>,
    index: u32,
    own: [u8; 6],
    open: Mutex<Open>,
}

/// Questions that may still be answered.
#[derive(Debug)]
struct Open {
    /// Whom the address was offered to, and until when an answer is waited for.
    by_address: HashMap<Ipv4Addr, (Mac, Instant)>,
    /// When those that are over were last looked for, in a storm.
    looked: Instant,
}

/// A host uses an address that was offered to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub address: Ipv4Addr,
    pub offered_to: Mac,
    pub used_by: Mac,
}

impl Conflicts {
    /// Needs CAP_NET_RAW and a runtime.
    pub fn open(interface: &Interface) -> io::Result<Conflicts> {
        let own = hardware(&interface.name)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Nothing is received before it is bound to ARP on this interface.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None::<SockProtocol>)?;
        bind(socket.as_raw_fd(), &link_address_of(interface.index, [0; 6], ARP))?;
        // SAFETY: an OwnedFd stays open and the same for as long as it lives.
        let socket = unsafe { AsyncFd::register(socket) }?;
        let open = Mutex::new(Open { by_address: HashMap::new(), looked: Instant::now() });
        Ok(Conflicts { socket, index: interface.index, own, open })
    }

    /// Sends a request for `address`, which was offered to `client`. Never waits.
    pub fn ask(&self, address: Ipv4Addr, client: Mac, now: Instant) {
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if open.by_address.len() >= OPEN_MAX && open.looked + PATIENCE / 10 < now {
            open.looked = now;
            open.by_address.retain(|_, (_, end)| *end > now);
        }
        if open.by_address.len() >= OPEN_MAX {
            return;
        }
        open.by_address.insert(address, (client, now + PATIENCE));
        drop(open);
        let everybody = link_address_of(self.index, [0xff; 6], ARP);
        let sent =
            sendto(self.socket.as_raw_fd(), &question(self.own, address), &everybody, MsgFlags::empty());
        if let Err(error) = sent {
            tracing::debug!("can't ask who has {address}: {error}");
        }
    }

    /// The next conflict.
    pub async fn next(&self) -> io::Result<Conflict> {
        let mut buffer = [0; 64];
        loop {
            let mut ready = self.socket.readable().await?;
            let read = |fd: &AsyncFd<OwnedFd>| Ok(nix::unistd::read(fd.get_ref(), &mut buffer)?);
            let length = match ready.try_io(read) {
                Err(_) => continue,
                // The interface went down: the socket receives again when it is up.
                Ok(Err(error)) if is_passing(&error) => continue,
                Ok(length) => length?,
            };
            let Some((address, used_by)) = sender(&buffer[..length]) else { continue };
            let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let Some((offered_to, end)) = open.by_address.get(&address).copied() else { continue };
            if end < Instant::now() {
                open.by_address.remove(&address);
            } else if used_by != offered_to {
                open.by_address.remove(&address);
                return Ok(Conflict { address, offered_to, used_by });
            }
        }
    }
}

/// The hardware address of an interface.
fn hardware(name: &str) -> io::Result<[u8; 6]> {
    let own = getifaddrs()?.filter(|entry| entry.interface_name == name);
    let mut links = own.filter_map(|entry| entry.address?.as_link_addr()?.addr());
    links.next().ok_or_else(|| io::Error::other(format!("{name} has no hardware address")))
}

/// An ARP request for `address` without a sender address (RFC 826, RFC 5227 section 2.1.1).
fn question(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend_from_slice(&own);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(&address.octets());
    packet
}

/// Who says that it has which address; `None` for what says nothing of the kind.
fn sender(packet: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet = packet.get(..28).filter(|packet| packet[..6] == [0, 1, 8, 0, 6, 4])?;
    let mac: [u8; 6] = packet[8..14].try_into().ok()?;
    let address: [u8; 4] = packet[14..18].try_into().ok()?;
    let address = Ipv4Addr::from(address);
    (!address.is_unspecified()).then_some((address, Mac::new(mac).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_claim_nothing_and_answers_do() {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        let asked = question([0x52, 0x54, 0, 0, 0, 1], address);
        assert_eq!(asked.len(), 28);
        assert_eq!(sender(&asked), None, "a probe has no sender address");
        let mut answer = asked.clone();
        answer[7] = 2;
        answer[8..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 9]);
        answer[14..18].copy_from_slice(&address.octets());
        assert_eq!(sender(&answer), Some((address, Mac::new([0x52, 0x54, 0, 0, 0, 9]).unwrap())));
        for length in 0..28 {
            assert_eq!(sender(&answer[..length]), None);
        }
    }
}
