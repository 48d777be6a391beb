//! Hears what switches say by LLDP, on all cards, for as long as the agent runs: the first word comes after up to
//! 30 seconds.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::cards;
use crate::agent::facts::neighbour;
use crate::api::agent::Neighbour;

/// The type of LLDP frames, and the group address that the nearest bridge keeps to itself (IEEE 802.1AB, 7.1).
const LLDP: u16 = 0x88cc;
const GROUP: [u8; 8] = [0x01, 0x80, 0xc2, 0, 0, 0x0e, 0, 0];
const LOOK: Duration = Duration::from_secs(2);

static KNOWN: Mutex<BTreeMap<String, Neighbour>> = Mutex::new(BTreeMap::new());

/// By the name of the card.
pub(super) fn known() -> BTreeMap<String, Neighbour> {
    lock().clone()
}

/// Listens for ever.
pub(super) fn watch() {
    let Ok(socket) = open() else { return };
    let mut joined: Vec<(u32, String)> = Vec::new();
    let mut buffer = [0; 2048];
    let mut looked = None;
    loop {
        if looked.is_none_or(|looked: Instant| looked.elapsed() > LOOK) {
            looked = Some(Instant::now());
            let found = cards::cards(Path::new("/sys"));
            joined.retain(|(index, _)| found.iter().any(|card| card.index == *index));
            for card in found {
                if !joined.iter().any(|(index, _)| *index == card.index) && join(&socket, card.index).is_ok()
                {
                    joined.push((card.index, card.name));
                }
            }
        }
        let Ok((length, index)) = receive(&socket, &mut buffer) else { continue };
        let card = joined.iter().find(|(joined, _)| *joined == index);
        if let (Some((_, name)), Some(neighbour)) = (card, neighbour(&buffer[..length])) {
            lock().insert(name.clone(), neighbour);
        }
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<String, Neighbour>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears LLDP at all cards; a read waits for a second.
fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: LLDP.to_be(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is whole and lives across the call, and its size is said right.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    let second = nix::sys::time::TimeVal::new(1, 0);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &second)?;
    Ok(socket)
}

fn join(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let group = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: GROUP,
    };
    let size = size_of::<libc::packet_mreq>() as libc::socklen_t;
    // SAFETY: the structure is whole and lives across the call, and its size is said right.
    let result = unsafe {
        let value = (&raw const group).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, value, size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The length of the next frame's payload, and the index of its card.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: the structure holds numbers alone, for all of which zero is a value.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and address live across the call, and their sizes are said right.
    let length = unsafe {
        let address = (&raw mut from).cast();
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            address,
            &raw mut size,
        )
    };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((length as usize, from.sll_ifindex as u32))
}
