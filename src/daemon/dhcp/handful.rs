//! Many datagrams in one system call: under load the way into the kernel costs more than what is
//! done with a message.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::leaving::Leaving;
use crate::daemon::raw::{link_address_raw, packet};
use crate::proto::dhcp::Destination;
use crate::state::{Event, Stage};

/// Datagrams taken at once.
const HANDFUL: usize = 128;
/// Datagrams that there is room for after fewer came the last time: room is made anew for each call.
const FEW: usize = 8;
/// Largest datagram taken: relays add to a client's 1,500.
const LARGEST: usize = 4096;
/// How long a full send buffer is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// Room for one `in_pktinfo`, aligned as its header must be.
type Control = [u64; 4];

/// A datagram with where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub source: SocketAddrV4,
    pub destination: Ipv4Addr,
    /// Number of the interface it came in by.
    pub index: u32,
}

/// Buffers to receive into.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    lengths: Vec<usize>,
    whence: Vec<Option<Received>>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        Inbox {
            bytes: vec![0; HANDFUL * LARGEST],
            names: vec![no_address(); HANDFUL],
            controls: vec![Control::default(); HANDFUL],
            lengths: Vec::with_capacity(HANDFUL),
            whence: Vec::with_capacity(HANDFUL),
        }
    }

    /// Takes what has come, at most a handful; `WouldBlock` if nothing has.
    pub(super) fn receive(&mut self, socket: BorrowedFd) -> io::Result<()> {
        let room = if self.lengths.len() < FEW { FEW } else { HANDFUL };
        self.lengths.clear();
        self.whence.clear();
        let mut slices: Vec<libc::iovec> = self.bytes.chunks_mut(LARGEST).take(room).map(slice).collect();
        let parts = slices.iter_mut().zip(&mut self.names).zip(&mut self.controls);
        let mut headers: Vec<libc::mmsghdr> = parts
            .map(|((slice, name), control)| {
                header(slice, (&raw mut *name).cast(), size_of::<libc::sockaddr_in>(), Some(control))
            })
            .collect();
        // SAFETY: every header points to buffers that live until the end of this function and are
        // as long as it says.
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            let (first, count) = (headers.as_mut_ptr(), headers.len() as u32);
            libc::recvmmsg(socket.as_raw_fd(), first, count, flags, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for header in &headers[..count] {
            self.lengths.push(header.msg_len as usize);
            self.whence.push(whence(&header.msg_hdr));
        }
        Ok(())
    }

    /// What was received last, in its order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Received, &[u8])> {
        let datagrams =
            self.bytes.chunks(LARGEST).zip(&self.lengths).map(|(bytes, length)| &bytes[..*length]);
        self.whence.iter().zip(datagrams).filter_map(|(whence, bytes)| Some(((*whence)?, bytes)))
    }
}

/// An answer to be sent.
pub(super) struct Letter {
    pub bytes: Vec<u8>,
    /// For people.
    pub to: Destination,
    pub way: Way,
    /// What has happened once it is sent.
    pub events: Vec<Event>,
}

impl Letter {
    /// With its headers, if they must be written here.
    fn packet(&self) -> Option<Vec<u8>> {
        match self.way {
            Way::Frame { source, to, .. } => packet(source, to, &self.bytes),
            Way::Routed { .. } => None,
        }
    }
}

/// How an answer leaves.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// From `source`; out of the interface with this index, or (0) where the route leads.
    Routed { source: Ipv4Addr, to: SocketAddrV4, index: u32 },
    /// As a frame to a hardware address.
    Frame { source: SocketAddrV4, to: SocketAddrV4, hardware: [u8; 6], index: u32 },
}

/// Sends all of them by one socket: the frames by a packet socket, the others by one of UDP. Their events
/// are then added to `events`: an answer that was not sent does not count as one.
///
/// Not with `UDP_SEGMENT`, which is cheaper for a relay's answers: a relay that listens on a packet socket
/// behind a virtual cable would see them as one.
pub(super) fn send(socket: &impl AsFd, letters: Vec<Letter>, leaving: &Leaving, events: &mut Vec<Event>) {
    let mut unsent = unsent(socket, &letters).into_iter().peekable();
    for (number, letter) in letters.into_iter().enumerate() {
        match unsent.next_if(|(at, _)| *at == number) {
            None => {
                leaving.left();
                events.extend(letter.events);
            }
            Some((_, error)) => {
                leaving.held_back(&error);
                tracing::warn!("can't send a DHCP answer to {}: {error}", letter.to);
                events.extend(letter.events.into_iter().map(|event| unanswered(event, &error)));
            }
        }
    }
}

/// The event in place of one whose answer could not be sent.
pub(crate) fn unanswered(event: Event, error: &io::Error) -> Event {
    let Event { at, stage, mac, .. } = event;
    Event {
        mac,
        ..Event::new(at, Stage::Silence, format!("no {stage}: the answer could not be sent: {error}"))
    }
}

/// Which of them could not be sent, and why.
fn unsent(socket: &impl AsFd, letters: &[Letter]) -> Vec<(usize, io::Error)> {
    let packets: Vec<Option<Vec<u8>>> = letters.iter().map(Letter::packet).collect();
    let contents = letters.iter().zip(&packets);
    let mut slices: Vec<libc::iovec> =
        contents.map(|(letter, packet)| const_slice(packet.as_ref().unwrap_or(&letter.bytes))).collect();
    let mut names: Vec<Name> = letters.iter().map(|letter| Name::of(&letter.way)).collect();
    let mut controls: Vec<Option<Control>> = letters.iter().map(|letter| control(&letter.way)).collect();
    let parts = slices.iter_mut().zip(&mut names).zip(&mut controls);
    let mut headers: Vec<libc::mmsghdr> = parts
        .map(|((slice, name), control)| {
            let (name, length) = name.raw();
            header(slice, name, length, control.as_mut())
        })
        .collect();
    let (mut sent, mut unsent) = (0, Vec::new());
    while sent < headers.len() {
        match send_some(socket.as_fd(), &mut headers[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                unsent.push((sent, error));
                sent += 1;
            }
        }
    }
    unsent
}

/// Sends as many as the kernel takes: how many, or what is wrong with the first.
fn send_some(socket: BorrowedFd, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let mut once = || {
        // SAFETY: the headers point to what `send` holds; nothing of it is written to.
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    };
    match once() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
            poll(&mut [PollFd::new(socket, PollFlags::POLLOUT)], timeout)?;
            once()
        }
        result => result,
    }
}

/// The destination of an answer in the kernel's form.
enum Name {
    Internet(libc::sockaddr_in),
    Link(libc::sockaddr_ll),
}

impl Name {
    fn of(way: &Way) -> Name {
        match way {
            Way::Routed { to, .. } => Name::Internet(libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                sin_zero: [0; 8],
            }),
            Way::Frame { hardware, index, .. } => {
                Name::Link(link_address_raw(*index, *hardware, libc::ETH_P_IP as u16))
            }
        }
    }

    fn raw(&mut self) -> (*mut libc::c_void, usize) {
        match self {
            Name::Internet(name) => ((&raw mut *name).cast(), size_of::<libc::sockaddr_in>()),
            Name::Link(name) => ((&raw mut *name).cast(), size_of::<libc::sockaddr_ll>()),
        }
    }
}

fn no_address() -> libc::sockaddr_in {
    libc::sockaddr_in { sin_family: 0, sin_port: 0, sin_addr: libc::in_addr { s_addr: 0 }, sin_zero: [0; 8] }
}

fn slice(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// For sending only: the kernel reads it.
fn const_slice(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn header(
    slice: &mut libc::iovec,
    name: *mut libc::c_void,
    name_length: usize,
    control: Option<&mut Control>,
) -> libc::mmsghdr {
    // SAFETY: all zeros are a header that points to nothing.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = slice;
    header.msg_hdr.msg_iovlen = 1;
    header.msg_hdr.msg_name = name;
    header.msg_hdr.msg_namelen = name_length as libc::socklen_t;
    if let Some(control) = control {
        header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
    }
    header
}

/// The control message that names the address and interface to leave by.
fn control(way: &Way) -> Option<Control> {
    let Way::Routed { source, index, .. } = way else { return None };
    let info = libc::in_pktinfo {
        ipi_ifindex: *index as i32,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(*source).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let mut control = Control::default();
    let header = control.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: `control` has room for one header with this data behind it, and is aligned for it.
    unsafe {
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
        (*header).cmsg_level = libc::IPPROTO_IP;
        (*header).cmsg_type = libc::IP_PKTINFO;
        libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    Some(control)
}

/// Where a datagram came from; `None` if the kernel did not say.
fn whence(header: &libc::msghdr) -> Option<Received> {
    if (header.msg_namelen as usize) < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: the kernel filled in name and control messages, as long as the header says.
    unsafe {
        let name = header.msg_name.cast::<libc::sockaddr_in>().read_unaligned();
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(one) = control.as_ref() {
            if (one.cmsg_level, one.cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
                let info = libc::CMSG_DATA(control).cast::<libc::in_pktinfo>().read_unaligned();
                return Some(Received {
                    source: SocketAddrV4::new(
                        u32::from_be(name.sin_addr.s_addr).into(),
                        u16::from_be(name.sin_port),
                    ),
                    destination: u32::from_be(info.ipi_addr.s_addr).into(),
                    index: info.ipi_ifindex as u32,
                });
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::model::Time;

    fn bound() -> (Socket, SocketAddrV4) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
        // The usual buffer counts more than a kilobyte for each datagram, and drops the last ones.
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket_ipv4().unwrap().port();
        (socket, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn handfuls_arrive_whole_in_order_and_say_whence() {
        let ((ours, own), (theirs, to)) = (bound(), bound());
        let letter = |number: usize, to| Letter {
            bytes: vec![number as u8; 300 + number],
            to: Destination::Unicast(to),
            way: Way::Routed { source: Ipv4Addr::new(127, 0, 0, 5), to, index: 0 },
            events: vec![Event::new(Time(number as u64), Stage::Offer, "offered")],
        };
        let mut letters: Vec<Letter> = (0..200).map(|number| letter(number, to)).collect();
        // One that can't be sent delays no other.
        letters.insert(100, letter(0, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)));
        let mut events = Vec::new();
        send(&ours, letters, &Leaving::default(), &mut events);
        let silent: Vec<&Event> = events.iter().filter(|event| event.stage == Stage::Silence).collect();
        assert_eq!((events.len(), silent.len()), (201, 1), "what did not leave was not offered");
        assert!(silent[0].text.starts_with("no offer: the answer could not be sent: "), "{}", silent[0].text);
        let mut inbox = Inbox::new();
        let mut expected = 0;
        while expected < 200 {
            inbox.receive(theirs.as_fd()).unwrap();
            for (received, bytes) in inbox.iter() {
                assert_eq!(bytes, vec![expected as u8; 300 + expected]);
                assert_eq!(received.source, SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 5), own.port()));
                assert_eq!(received.destination, Ipv4Addr::LOCALHOST);
                assert_ne!(received.index, 0);
                expected += 1;
            }
        }
        assert_eq!(inbox.receive(theirs.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbox.iter().count(), 0);
    }
}
