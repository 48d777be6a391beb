//! A private network: a network namespace with a loopback and one tap device, made by system calls only.
//! The host's network is not changed, and the kernel removes everything with the last process inside.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{Uid, getegid, geteuid};
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::Cidr;

/// Name of the tap device, on which the daemon serves.
pub const INTERFACE: &str = "try0";

/// Why there is no private network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(
        "this user may not make a private network ({0}): run as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    UserNamespace(nix::Error),
    #[error("no private network: unshare: {0} (in a container this needs CAP_SYS_ADMIN)")]
    Namespace(nix::Error),
    #[error("the user cannot be mapped into the namespace: {0}")]
    Map(io::Error),
    #[error("{what}: {cause}")]
    Step { what: &'static str, cause: io::Error },
}

/// Moves the calling thread, and all that it starts from now on, into a new network namespace
/// with nothing but a loopback. Root only needs that; anybody else gets a user namespace around
/// it, for which the process must still have a single thread.
pub fn enter() -> Result<(), NetworkError> {
    if geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::Namespace)?;
    } else {
        enter_as_user(geteuid())?;
    }
    let socket = control_socket()?;
    set_up(&socket, "lo")
}

fn enter_as_user(user: Uid) -> Result<(), NetworkError> {
    let group = getegid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(NetworkError::UserNamespace)?;
    // A group map may be written only by a process that gave up changing groups (user_namespaces(7)).
    let write = |file: &str, text: String| fs::write(file, text).map_err(NetworkError::Map);
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// The tap device: this end has the daemon's address, the other end is for QEMU. It exists as long as this
/// value or a process that inherited its descriptor.
#[derive(Debug)]
pub struct Tap {
    device: File,
    /// Ends the router advertisements when it goes.
    _advertising: Sender<()>,
}

impl Tap {
    /// Makes the device in the current namespace, with this address, and switches it on.
    pub fn new(address: Ipv4Addr, cidr: Cidr) -> Result<Tap, NetworkError> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let device = device.map_err(step("opening /dev/net/tun"))?;
        let mut request = request(INTERFACE);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        ioctl(device.as_fd(), libc::TUNSETIFF, &mut request, "making the tap device")?;
        let socket = control_socket()?;
        set_address(&socket, libc::SIOCSIFADDR as _, address)?;
        set_address(&socket, libc::SIOCSIFNETMASK as _, cidr.netmask())?;
        set_up(&socket, INTERFACE)?;
        let (advertising, stop) = mpsc::channel();
        advertise(stop).map_err(step("sending router advertisements"))?;
        Ok(Tap { device, _advertising: advertising })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Advertises twice a second that there is no IPv6 router here. iPXE waits for an advertisement for 16
/// seconds in every boot before it uses what it got by DHCPv4. A kernel without IPv6 sends none.
fn advertise(stop: Receiver<()>) -> io::Result<()> {
    let Ok(socket) = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)) else { return Ok(()) };
    let index = nix::net::if_::if_nametoindex(INTERFACE)?;
    // Receivers accept only packets that no router forwarded (RFC 4861, 6.1.2).
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index).into();
    // RFC 4861, 4.2: type, code, checksum (filled in by the kernel), hop limit, no flags, a router lifetime
    // of zero, reachable time and retransmission timer unspecified.
    let advertisement = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    crate::thread::start("advertise", move || {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(Duration::from_millis(500)) {
            // Fails until the interface has its own address, a second after it came up.
            let _ = socket.send_to(&advertisement, &all_nodes);
        }
    })?;
    Ok(())
}

fn control_socket() -> Result<OwnedFd, NetworkError> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| NetworkError::Step { what: "a socket for the settings", cause: errno.into() })
}

/// SIOCSIFADDR and SIOCSIFNETMASK (netdevice(7)); the types of these numbers differ between C libraries.
fn set_address(socket: &OwnedFd, call: libc::Ioctl, address: Ipv4Addr) -> Result<(), NetworkError> {
    let mut request = request(INTERFACE);
    let [a, b, c, d] = address.octets().map(|octet| octet as libc::c_char);
    // A sockaddr_in seen as a sockaddr: port, then address, in network order.
    request.ifr_ifru.ifru_addr = libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    ioctl(socket.as_fd(), call, &mut request, "giving the tap device its address")
}

fn set_up(socket: &OwnedFd, interface: &str) -> Result<(), NetworkError> {
    let mut request = request(interface);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(socket.as_fd(), libc::SIOCSIFFLAGS as _, &mut request, "switching the interface on")
}

/// An interface request for `interface`, a name shorter than IFNAMSIZ.
fn request(interface: &str) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (place, byte) in name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *place = byte as libc::c_char;
    }
    libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } }
}

fn ioctl(
    on: BorrowedFd<'_>,
    call: libc::Ioctl,
    request: &mut libc::ifreq,
    what: &'static str,
) -> Result<(), NetworkError> {
    // SAFETY: every call here takes a pointer to an ifreq, which lives across the call; the
    // descriptor is open.
    let result = unsafe { libc::ioctl(on.as_raw_fd(), call, std::ptr::from_mut(request)) };
    if result < 0 { Err(step(what)(io::Error::last_os_error())) } else { Ok(()) }
}

fn step(what: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |cause| NetworkError::Step { what, cause }
}
