//! Follows the configured interfaces through everything that a host does with them: down and up,
//! deleted and made again, renamed, given another address. The kernel reports each change by netlink
//! (rtnetlink(7)); a slow look beside it finds what a lost report would hide.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::{Interface, Presence};

/// Time between two looks although the kernel reported nothing.
const LOOK: Duration = Duration::from_secs(5);
/// The same where the kernel does not report.
const LOOK_BLIND: Duration = Duration::from_millis(500);
/// How long reports are gathered before the look: one command of an operator makes several.
const GATHER: Duration = Duration::from_millis(20);

/// One configured interface, as it is now.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The name in the settings.
    pub name: Arc<str>,
    /// The address in the settings.
    pub address: Ipv4Addr,
    presence: watch::Receiver<Presence>,
}

impl Followed {
    pub fn now(&self) -> Presence {
        self.presence.borrow().clone()
    }

    /// What it is now, if that was not seen by this handle yet. Costs one atomic read otherwise.
    pub fn news(&mut self) -> Option<Presence> {
        self.presence.has_changed().unwrap_or(false).then(|| self.presence.borrow_and_update().clone())
    }

    /// Returns at the next change that this handle did not see; never if the follower has ended.
    pub async fn changed(&mut self) {
        if self.presence.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The interface, as soon as it is there.
    pub async fn present(&mut self) -> Interface {
        loop {
            if let Ok(interface) = self.presence.borrow_and_update().clone() {
                return interface;
            }
            self.changed().await;
        }
    }
}

/// An interface that stays as it is.
impl From<Interface> for Followed {
    fn from(interface: Interface) -> Followed {
        let (name, address) = (interface.name.as_str().into(), interface.address);
        Followed { name, address, presence: watch::channel(Ok(interface)).1 }
    }
}

/// Looks after all of them.
pub struct Follower {
    networks: Vec<(Followed, watch::Sender<Presence>)>,
    /// Changes with every report of the kernel, also about other addresses.
    stirred: watch::Sender<u64>,
}

impl Follower {
    /// Looks once.
    pub fn new(wanted: impl IntoIterator<Item = (String, Ipv4Addr)>) -> Follower {
        let follow = |(name, address): (String, Ipv4Addr)| {
            let (sender, presence) = watch::channel(Interface::find(&name, Some(address)));
            (Followed { name: name.into(), address, presence }, sender)
        };
        Follower { networks: wanted.into_iter().map(follow).collect(), stirred: watch::Sender::new(0) }
    }

    /// The interfaces in the order of the settings.
    pub fn networks(&self) -> Vec<Followed> {
        self.networks.iter().map(|(followed, _)| followed.clone()).collect()
    }

    /// Changes whenever the kernel reported something of an interface or an address.
    pub fn stirred(&self) -> watch::Receiver<u64> {
        self.stirred.subscribe()
    }

    /// Follows until the netlink socket fails; also follows, more slowly, where there is none.
    pub async fn run(&self) -> io::Result<()> {
        let reports = reports().inspect_err(|error| {
            tracing::warn!(%error, "the kernel reports no changes of interfaces: they are looked at instead");
        });
        let Ok(reports) = reports else {
            loop {
                self.look();
                tokio::time::sleep(LOOK_BLIND).await;
            }
        };
        loop {
            self.look();
            if let Ok(reported) = tokio::time::timeout(LOOK, reported(&reports)).await {
                reported?;
                tokio::time::sleep(GATHER).await;
                drain(&reports)?;
            }
        }
    }

    fn look(&self) {
        for (followed, sender) in &self.networks {
            let found = Interface::find(&followed.name, Some(followed.address));
            sender.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            });
        }
        self.stirred.send_modify(|count| *count += 1);
    }
}

/// A socket that receives changes of links and addresses.
fn reports() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
    // SAFETY: an OwnedFd stays open and the same for as long as it lives.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Returns when something was reported.
async fn reported(reports: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = reports.readable().await?;
        match ready.try_io(|_| take(reports)) {
            Ok(taken) => return taken,
            Err(_) => continue,
        }
    }
}

/// Takes what else was reported meanwhile: one look answers all of it.
fn drain(reports: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        match take(reports) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Takes one report. What it says does not matter: everything is looked at again.
fn take(reports: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut buffer = [0; 64];
    match recv(reports.get_ref().as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
        // Reports were lost: that is one more reason to look.
        Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
