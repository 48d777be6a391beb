//! Takes the logs of machines (syslog), where the daemon's file says so. A line belongs to the machine that has its
//! source address: what a message says of its host is not believed. Whoever is on the network can send lines in the
//! name of an address by UDP: they are for reading, and nothing is decided by them.

mod book;
mod mask;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::{bind_early, now};
use crate::config::SyslogListen;
use crate::desired::Deployment;
use crate::model::{Line, Name, Severity};
use crate::proto::syslog::frames::{Frames, NoFrames};
use crate::proto::syslog::{self, Message};
use crate::state::State;
pub(super) use book::Book;
use book::{Who, Written};

/// What the kernel keeps for us while a rack logs at once, in bytes.
const BUFFER: usize = 4 << 20;
/// Largest datagram.
const DATAGRAM_MAX: usize = 64 << 10;
/// Connections at once, in all and of one address.
const CONNECTIONS_MAX: usize = 1024;
const OF_ADDRESS_MAX: usize = 8;
/// A connection whose other end is gone is closed after about this time and a few probes.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// After a connection could not be taken: all descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// The listener of one address.
#[derive(Clone)]
pub(super) struct Syslog {
    pub keeper: Keeper,
    pub book: Book,
}

impl Syslog {
    /// Takes logs on an address. `serving` is called when it listens. Never ends but by an error.
    pub(super) async fn run(self, listen: SyslogListen, serving: impl FnOnce()) -> Result<(), String> {
        match listen {
            SyslogListen::Udp(address) => {
                let socket = open(address, Type::DGRAM).map_err(|error| error.to_string())?;
                let socket = UdpSocket::from_std(socket.into()).map_err(|error| error.to_string())?;
                serving();
                self.datagrams(socket).await
            }
            SyslogListen::Tcp(address) => {
                let socket = open(address, Type::STREAM).map_err(|error| error.to_string())?;
                let listener = TcpListener::from_std(socket.into()).map_err(|error| error.to_string())?;
                serving();
                self.connections(listener).await
            }
        }
    }

    async fn datagrams(self, socket: UdpSocket) -> Result<(), String> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.take(from.ip(), &buffer[..length]),
                Err(error) if super::is_passing(&error) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn connections(self, listener: TcpListener) -> Result<(), String> {
        let (room, mut tasks) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), JoinSet::new());
        let by_address = ByAddress::default();
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    // Too many: the sender tries again, or does without.
                    let permit = room.clone().try_acquire_owned().ok();
                    let turn = permit.and_then(|permit| by_address.enter(from.ip(), permit));
                    if let Some(turn) = turn {
                        tasks.spawn(self.clone().connection(stream, from.ip(), turn));
                    }
                }
                Err(error) if super::is_passing(&error) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn connection(self, mut stream: TcpStream, from: IpAddr, _turn: Turn) {
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
        let (mut frames, mut buffer) = (Frames::default(), vec![0; 8 << 10]);
        loop {
            let read = match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            if let Err(NoFrames) = frames.take(&buffer[..read], |message| self.take(from, message)) {
                let (who, _) = self.who(from.to_canonical());
                return self.book.count_malformed(who, from.to_canonical(), now());
            }
            // A sender that never rests must not keep others from their turn.
            tokio::task::yield_now().await;
        }
        frames.end(|message| self.take(from, message));
    }

    /// The machine that has an address, and its deployment.
    fn who(&self, address: IpAddr) -> (Who, Option<Arc<Deployment>>) {
        let state = self.keeper.state();
        let machine = state.mac_at(address).and_then(|mac| state.machine(mac));
        match machine {
            Some(machine) => (Who::Machine(machine.name.clone()), state.tenant(&machine.name).cloned()),
            None => (Who::Address(address), None),
        }
    }

    /// Takes one message in.
    fn take(&self, from: IpAddr, message: &[u8]) {
        // A socket for both families shows IPv4 in IPv6.
        let address = from.to_canonical();
        let (who, deployment) = self.who(address);
        let at = now();
        if !self.book.admits(&who, address, at) {
            return;
        }
        let text = String::from_utf8_lossy(message);
        let (Message { facility, severity, program, text }, is_known) = syslog::parse(&text);
        if text.is_empty() && !is_known {
            return self.book.count_malformed(who, address, at);
        }
        let text = text.replace('\t', " ");
        let text = mask::masked(text.trim_end(), &self.keeper.state(), deployment.as_deref()).into_owned();
        let deployment = deployment.map(|deployment| deployment.name.clone());
        let (program, text): (Line, Line) = (program.into(), text.into());
        self.book.add(Written { who, address, deployment, facility, severity, program, text, at, is_known });
    }
}

/// Takes a line of a machine's console that our agent sent.
pub(super) fn take_console(book: &Book, state: &State, machine: &Name, address: IpAddr, text: &str) {
    let (who, at) = (Who::Machine(machine.clone()), now());
    if !book.admits(&who, address, at) {
        return;
    }
    let deployment = state.tenant(machine).cloned();
    let text = text.replace('\t', " ");
    let text: Line = mask::masked(text.trim_end(), state, deployment.as_deref()).into_owned().into();
    let deployment = deployment.map(|deployment| deployment.name.clone());
    let (facility, severity, program) = ("kern", Severity::Info, "console".into());
    book.add(Written { who, address, deployment, facility, severity, program, text, at, is_known: true });
}

fn open(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    match address.ip().is_unspecified() {
        // `[::]` takes IPv4 too, as with other programs.
        true if address.is_ipv6() => socket.set_only_v6(false)?,
        true => {}
        false => bind_early(&socket, address)?,
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        // Less is what the system allows.
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(128)?;
    }
    Ok(socket)
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct ByAddress(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection that counts.
struct Turn {
    all: ByAddress,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl ByAddress {
    fn enter(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Turn { all: self.clone(), address, _permit: permit })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}
