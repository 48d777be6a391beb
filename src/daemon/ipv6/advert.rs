//! Sends router advertisements, to who solicits one and from time to time to all.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::daemon::is_passing;
use crate::daemon::keeper::Keeper;
use crate::daemon::link::Interface;
use crate::model::{Mode, Name};
use crate::proto::dhcp6::advert::{HOP_LIMIT, NODES, PERIOD, ROUTERS, SOLICITATION, advertisement};

/// The first few come faster (RFC 4861 section 6.2.4), for machines that are up already.
const FIRST: [Duration; 3] = [Duration::ZERO, Duration::from_secs(4), Duration::from_secs(16)];
/// The socket's own option (RFC 3542 section 3.2).
const ICMP6_FILTER: libc::c_int = 1;

/// One wire with its raw socket.
pub struct Sender {
    socket: AsyncFd<Socket>,
    index: u32,
    subnet: Name,
    mode: watch::Receiver<Mode>,
    keeper: Keeper,
}

impl Sender {
    /// Needs CAP_NET_RAW and a tokio runtime.
    pub fn open(
        interface: &Interface,
        subnet: Name,
        mode: watch::Receiver<Mode>,
        keeper: Keeper,
    ) -> io::Result<Sender> {
        // The kernel makes the checksum of ICMPv6.
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        only_solicitations(&socket)?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_if_v6(interface.index)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ROUTERS, interface.index)?;
        // SAFETY: a Socket stays open and the same for as long as it lives.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Sender { socket, index: interface.index, subnet, mode, keeper })
    }

    /// Sends until the socket fails.
    pub async fn run(self) -> io::Result<()> {
        let mut first = FIRST.into_iter();
        let usual = Duration::from_millis(PERIOD.0);
        loop {
            let pause = first.next().unwrap_or(usual);
            let next = tokio::time::sleep(pause);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    source = self.solicited() => {
                        // One without an address can be reached together with all others only.
                        let source = source?;
                        self.send(if source.is_unspecified() { NODES } else { source });
                    }
                }
            }
            self.send(NODES);
        }
    }

    /// The sender of a solicitation.
    async fn solicited(&self) -> io::Result<Ipv6Addr> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 256];
            match ready.try_io(|socket| socket.get_ref().recv_from(&mut buffer)) {
                Ok(Ok((_, from))) => {
                    let source = from.as_socket_ipv6().map(|from| *from.ip());
                    // Of this link, or without an address yet.
                    let near = |ip: &Ipv6Addr| ip.is_unicast_link_local() || ip.is_unspecified();
                    if let Some(source) = source.filter(near) {
                        return Ok(source);
                    }
                }
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn send(&self, to: Ipv6Addr) {
        if *self.mode.borrow() != Mode::Server {
            return;
        }
        let state = self.keeper.state();
        let subnet = state.desired().subnets.get(&self.subnet).filter(|subnet| subnet.mode == Mode::Server);
        let Some(message) = subnet.and_then(|subnet| advertisement(subnet.ipv6.as_ref()?)) else { return };
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        if let Err(error) = self.socket.get_ref().send_to(&message, &to.into()) {
            tracing::debug!("can't send a router advertisement to {to}: {error}");
        }
    }
}

/// Has the kernel hand up router solicitations and nothing else.
fn only_solicitations(socket: &Socket) -> io::Result<()> {
    let mut blocked = [u32::MAX; 8];
    blocked[usize::from(SOLICITATION >> 5)] &= !(1 << (SOLICITATION & 31));
    let length = size_of_val(&blocked) as libc::socklen_t;
    // SAFETY: the bit map is 256 bits long, as the option takes it, and outlives the call.
    let done = unsafe {
        let value = (&raw const blocked).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_ICMPV6, ICMP6_FILTER, value, length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
