//! Many datagrams in one system call: under load the way into the kernel costs more than what is
//! done with a message.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::send_status::SendStatus;
use crate::daemon::raw::link_address_raw;
use crate::model::datagram::packet;
use crate::proto::dhcp::Destination;
use crate::state::{Event, Stage};

/// Datagrams taken at once.
const BATCH_MAX: usize = 128;
/// Datagrams that there is room for after fewer came the last time: room is made anew for each call.
const BATCH_SMALL: usize = 8;
/// Largest datagram taken: relays add to a client's 1,500.
const DATAGRAM_MAX: usize = 4096;
/// How long a full send buffer is waited for.
const SEND_WAIT: Duration = Duration::from_millis(50);

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
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    lengths: Vec<usize>,
    origins: Vec<Option<Received>>,
}

impl ReceiveBuffer {
    pub(super) fn new() -> ReceiveBuffer {
        ReceiveBuffer {
            bytes: vec![0; BATCH_MAX * DATAGRAM_MAX],
            names: vec![no_address(); BATCH_MAX],
            controls: vec![Control::default(); BATCH_MAX],
            lengths: Vec::with_capacity(BATCH_MAX),
            origins: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Takes what has come, at most a batch; `WouldBlock` if nothing has.
    pub(super) fn receive(&mut self, socket: BorrowedFd) -> io::Result<()> {
        let room = if self.lengths.len() < BATCH_SMALL { BATCH_SMALL } else { BATCH_MAX };
        self.lengths.clear();
        self.origins.clear();
        let mut slices: Vec<libc::iovec> =
            self.bytes.chunks_mut(DATAGRAM_MAX).take(room).map(slice).collect();
        let parts = slices.iter_mut().zip(&mut self.names).zip(&mut self.controls);
        let mut headers: Vec<libc::mmsghdr> = parts
            .map(|((slice, name), control)| {
                header(slice, (&raw mut *name).cast(), size_of::<libc::sockaddr_in>(), Some(control))
            })
            .collect();
        // SAFETY: every header points to buffers that live until the end of this function and are
        // as long as it says.
        let count = unsafe {
            // Unsigned with musl.
            let flags = libc::MSG_DONTWAIT as _;
            let (first, count) = (headers.as_mut_ptr(), headers.len() as u32);
            libc::recvmmsg(socket.as_raw_fd(), first, count, flags, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for header in &headers[..count] {
            self.lengths.push(header.msg_len as usize);
            self.origins.push(origin(&header.msg_hdr));
        }
        Ok(())
    }

    /// What was received last, in its order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Received, &[u8])> {
        let datagrams =
            self.bytes.chunks(DATAGRAM_MAX).zip(&self.lengths).map(|(bytes, length)| &bytes[..*length]);
        self.origins.iter().zip(datagrams).filter_map(|(origin, bytes)| Some(((*origin)?, bytes)))
    }
}

/// An answer to be sent.
pub(super) struct OutgoingAnswer {
    pub bytes: Vec<u8>,
    /// For people.
    pub to: Destination,
    pub delivery: Delivery,
    /// What has happened once it is sent.
    pub events: Vec<Event>,
}

impl OutgoingAnswer {
    /// With its headers, if they must be written here.
    fn packet(&self) -> Option<Vec<u8>> {
        match self.delivery {
            Delivery::Frame { source, to, .. } => packet(source, to, &self.bytes),
            Delivery::Routed { .. } => None,
        }
    }
}

/// How an answer leaves.
#[derive(Clone, Copy)]
pub(super) enum Delivery {
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
pub(super) fn send(
    socket: &impl AsFd,
    answers: Vec<OutgoingAnswer>,
    status: &SendStatus,
    events: &mut Vec<Event>,
) {
    let mut unsent = unsent(socket, &answers).into_iter().peekable();
    for (number, answer) in answers.into_iter().enumerate() {
        match unsent.next_if(|(at, _)| *at == number) {
            None => {
                status.sent();
                events.extend(answer.events);
            }
            Some((_, error)) => {
                status.failed(&error);
                tracing::warn!("can't send a DHCP answer to {}: {error}", answer.to);
                events.extend(answer.events.into_iter().map(|event| unanswered(event, &error)));
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
fn unsent(socket: &impl AsFd, answers: &[OutgoingAnswer]) -> Vec<(usize, io::Error)> {
    let packets: Vec<Option<Vec<u8>>> = answers.iter().map(OutgoingAnswer::packet).collect();
    let contents = answers.iter().zip(&packets);
    let mut slices: Vec<libc::iovec> =
        contents.map(|(answer, packet)| const_slice(packet.as_ref().unwrap_or(&answer.bytes))).collect();
    let mut names: Vec<RawAddress> = answers.iter().map(|answer| RawAddress::of(&answer.delivery)).collect();
    let mut controls: Vec<Option<Control>> = answers.iter().map(|answer| control(&answer.delivery)).collect();
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
            // Unsigned with musl.
            let flags = libc::MSG_DONTWAIT as _;
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    };
    match once() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let timeout = PollTimeout::try_from(SEND_WAIT).unwrap_or(PollTimeout::ZERO);
            poll(&mut [PollFd::new(socket, PollFlags::POLLOUT)], timeout)?;
            once()
        }
        result => result,
    }
}

/// The destination of an answer in the kernel's form.
enum RawAddress {
    Internet(libc::sockaddr_in),
    Link(libc::sockaddr_ll),
}

impl RawAddress {
    fn of(delivery: &Delivery) -> RawAddress {
        match delivery {
            Delivery::Routed { to, .. } => RawAddress::Internet(libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                sin_zero: [0; 8],
            }),
            Delivery::Frame { hardware, index, .. } => {
                RawAddress::Link(link_address_raw(*index, *hardware, libc::ETH_P_IP as u16))
            }
        }
    }

    fn raw(&mut self) -> (*mut libc::c_void, usize) {
        match self {
            RawAddress::Internet(name) => ((&raw mut *name).cast(), size_of::<libc::sockaddr_in>()),
            RawAddress::Link(name) => ((&raw mut *name).cast(), size_of::<libc::sockaddr_ll>()),
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
fn control(delivery: &Delivery) -> Option<Control> {
    let Delivery::Routed { source, index, .. } = delivery else { return None };
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
fn origin(header: &libc::msghdr) -> Option<Received> {
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
    fn batches_arrive_whole_in_order_and_with_their_origin() {
        let ((ours, own), (theirs, to)) = (bound(), bound());
        let answer = |number: usize, to| OutgoingAnswer {
            bytes: vec![number as u8; 300 + number],
            to: Destination::Unicast(to),
            delivery: Delivery::Routed { source: Ipv4Addr::new(127, 0, 0, 5), to, index: 0 },
            events: vec![Event::new(Time(number as u64), Stage::Offer, "offered")],
        };
        let mut answers: Vec<OutgoingAnswer> = (0..200).map(|number| answer(number, to)).collect();
        // One that can't be sent delays no other.
        answers.insert(100, answer(0, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)));
        let mut events = Vec::new();
        send(&ours, answers, &SendStatus::default(), &mut events);
        let silent: Vec<&Event> = events.iter().filter(|event| event.stage == Stage::Silence).collect();
        assert_eq!((events.len(), silent.len()), (201, 1), "what did not leave was not offered");
        assert!(silent[0].text.starts_with("no offer: the answer could not be sent: "), "{}", silent[0].text);
        let mut buffer = ReceiveBuffer::new();
        let mut expected = 0;
        while expected < 200 {
            buffer.receive(theirs.as_fd()).unwrap();
            for (received, bytes) in buffer.iter() {
                assert_eq!(bytes, vec![expected as u8; 300 + expected]);
                assert_eq!(received.source, SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 5), own.port()));
                assert_eq!(received.destination, Ipv4Addr::LOCALHOST);
                assert_ne!(received.index, 0);
                expected += 1;
            }
        }
        assert_eq!(buffer.receive(theirs.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(buffer.iter().count(), 0);
    }
}
