//! The kernel's neighbour table (ARP and neighbour discovery): which hardware address answers for an IP
//! address on our wire. Two questions over netlink (rtnetlink(7)): by which interface the address is
//! reached, and what the table of that interface says of it. Kernels before 5.0 answer the second with an
//! error, and then nothing is known.
//!
//! The kernel may keep a question waiting, so none is asked on a thread that serves. One thread asks for all:
//! a thread and a socket for each question would cost more than the answer to most requests. Answers are kept for
//! a second, as long as the kernel itself keeps an entry before it believes another one (arp(7), `locktime`): a
//! machine that boots makes several connections within that time.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use tokio::sync::oneshot;

use crate::model::Mac;
use crate::proto::tree::{Asker, Link};

/// linux/rtnetlink.h; the `libc` crate has it for glibc alone.
const RTA_VIA: u16 = 18;

/// Longest wait for the kernel, which keeps such questions waiting while interfaces are being made.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that may wait. Those beyond are answered as if the kernel did not answer.
const WAITING: usize = 4_096;
/// How long an answer is used again.
const FRESH: Duration = Duration::from_secs(1);
/// Answers kept at most; beyond that all are forgotten.
const MAX_FRESH: usize = 4_096;
/// The message's header, in bytes, and a route's and a neighbour's fixed part.
const HEADER: usize = 16;
const FIXED: usize = 12;
/// States in which an entry holds a hardware address of the wire (`linux/neighbour.h`).
const VALID: u16 =
    libc::NUD_REACHABLE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_PERMANENT;

/// A way to the thread that reads the table. It starts with the first question and ends when the last way to it
/// is gone. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct NeighbourTable(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    queue: OnceLock<SyncSender<Question>>,
    /// By address and scope, with the moment of the question.
    fresh: Mutex<HashMap<(IpAddr, u32), (Instant, Found)>>,
}

/// What the kernel knows of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The address on our link has this card.
    Card(Mac),
    /// It is this host's own, or behind a router.
    Elsewhere,
    /// It is on our link, and no card answers for it yet.
    Nothing,
}

#[derive(Debug)]
struct Question {
    address: IpAddr,
    scope: u32,
    reply: oneshot::Sender<io::Result<Found>>,
}

impl NeighbourTable {
    /// What the table says of an asker; [`Link::Unknown`] where the kernel does not answer.
    pub(super) async fn link_of(&self, asker: &Asker) -> Link {
        match self.card_at(asker.address, asker.scope).await {
            Ok(Found::Card(card)) => Link::Card(card),
            Ok(Found::Elsewhere | Found::Nothing) => Link::Unknown,
            Err(error) => {
                tracing::debug!(address = %asker.address, %error, "the neighbour table can't be read");
                Link::Unknown
            }
        }
    }

    async fn card_at(&self, address: IpAddr, scope: u32) -> io::Result<Found> {
        let now = Instant::now();
        let known = self.fresh().get(&(address, scope)).copied();
        if let Some((_, found)) = known.filter(|(at, _)| now.duration_since(*at) < FRESH) {
            return Ok(found);
        }
        let (reply, answer) = oneshot::channel();
        let queue = self.0.queue.get_or_init(start);
        queue.try_send(Question { address, scope, reply }).map_err(io::Error::other)?;
        let found = tokio::time::timeout(PATIENCE, answer).await?.map_err(io::Error::other)??;
        // An entry that is missing may be there in a moment.
        if found != Found::Nothing {
            let mut fresh = self.fresh();
            if fresh.len() >= MAX_FRESH {
                fresh.clear();
            }
            fresh.insert((address, scope), (now, found));
        }
        Ok(found)
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<(IpAddr, u32), (Instant, Found)>> {
        self.0.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start() -> SyncSender<Question> {
    let (queue, questions) = sync_channel(WAITING);
    // Without the thread, every request fails, because nothing reads the queue.
    let _ = crate::thread::start("neighbours", move || answer_all(&questions));
    queue
}

fn answer_all(questions: &Receiver<Question>) {
    let mut kept = None;
    for Question { address, scope, reply } in questions {
        // A caller that has waited too long is gone.
        if reply.is_closed() {
            continue;
        }
        let card = kept.take().map_or_else(open, Ok).and_then(|socket| {
            let card = card_at(&socket, address, scope)?;
            // After an error a late answer may lie in the socket, so that only a good one is kept.
            kept = Some(socket);
            Ok(card)
        });
        let _ = reply.send(card);
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

/// The hardware address of `address` on a link of this host. `scope` is the interface of a link-local address.
fn card_at(socket: &OwnedFd, address: IpAddr, scope: u32) -> io::Result<Found> {
    let Some(interface) = interface_to(socket, address, scope)? else { return Ok(Found::Elsewhere) };
    let mut fixed = [0; FIXED];
    fixed[0] = family(address);
    fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut message = request(libc::RTM_GETNEIGH, fixed);
    attribute(&mut message, libc::NDA_DST, &octets(address));
    let Some(reply) = ask(socket, message)? else { return Ok(Found::Nothing) };
    let state = reply.get(HEADER + 8..HEADER + 10).and_then(|bytes| bytes.try_into().ok());
    if state.is_none_or(|state| u16::from_ne_bytes(state) & VALID == 0) {
        return Ok(Found::Nothing);
    }
    let hardware = attributes(&reply).find(|(kind, _)| *kind == libc::NDA_LLADDR);
    let octets: Option<[u8; 6]> = hardware.and_then(|(_, octets)| octets.try_into().ok());
    Ok(octets.and_then(|octets| Mac::new(octets).ok()).map_or(Found::Nothing, Found::Card))
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
    let routed = attributes(&reply).any(|(kind, _)| matches!(kind, libc::RTA_GATEWAY | RTA_VIA));
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

    #[tokio::test]
    async fn this_host_is_nobodys_neighbour() {
        let table = NeighbourTable::default();
        for own in ["127.0.0.1", "::1"] {
            assert_eq!(table.card_at(own.parse().unwrap(), 0).await.unwrap(), Found::Elsewhere, "{own}");
        }
    }

    /// The second question of a moment needs no thread.
    #[tokio::test]
    async fn an_answer_is_used_again_for_a_moment_and_no_longer() {
        let table = NeighbourTable::default();
        let (own, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        table.card_at(own, 0).await.unwrap();
        assert_eq!(table.fresh().get(&(own, 0)).map(|(_, found)| *found), Some(Found::Elsewhere));
        let card = Found::Card("52:54:00:00:00:01".parse().unwrap());
        let Some(long_ago) = Instant::now().checked_sub(FRESH) else { return };
        table.fresh().insert((own, 0), (Instant::now(), card));
        table.fresh().insert((other, 0), (long_ago, card));
        assert_eq!(table.card_at(own, 0).await.unwrap(), card);
        assert_eq!(table.card_at(other, 0).await.unwrap(), Found::Elsewhere);
    }

    #[tokio::test]
    async fn one_thread_and_one_socket_answer_everybody() {
        let table = NeighbourTable::default();
        let mut asking = tokio::task::JoinSet::new();
        for last in 1..=250 {
            let table = table.clone();
            asking.spawn(async move { table.card_at(IpAddr::from([127, 0, 0, last]), 0).await });
        }
        let answers = asking.join_all().await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Found::Elsewhere))), "{answers:?}");
    }

    /// An answer that was never read must not be taken for the next one's.
    #[test]
    fn a_socket_is_not_used_again_after_an_error() {
        let (queue, questions) = sync_channel(WAITING);
        let mut answers = Vec::new();
        // No interface has this number; what the kernel says to that is an error or nothing.
        for (address, scope) in [("fe80::1", u32::MAX), ("127.0.0.1", 0), ("::1", 0)] {
            let (reply, answer) = oneshot::channel();
            queue.send(Question { address: address.parse().unwrap(), scope, reply }).unwrap();
            answers.push(answer);
        }
        drop(queue);
        answer_all(&questions);
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        assert!(!matches!(answers[0], Ok(Found::Card(_))), "{answers:?}");
        assert!(answers[1..].iter().all(|answer| matches!(answer, Ok(Found::Elsewhere))), "{answers:?}");
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
