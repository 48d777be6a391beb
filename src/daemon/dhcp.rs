//! DHCP on the wire: receives, lets [`proto::dhcp`](crate::proto::dhcp) decide, sends.
//!
//! One wildcard socket for each port: a socket bound to an address gets no broadcasts, and one
//! bound to a device misses what relays send to us by another interface. The packet's ancillary
//! data says where it came from; only the configured interfaces are answered, and whatever was
//! sent to our own addresses there.
//!
//! A thread of its own, which never waits for the disk: it takes what has come by handfuls, answers
//! what can be answered, and hands the rest to the keeper. When that is stored it is woken, decides
//! again and sends all of it. A handful costs a few system calls and two wake-ups, however many
//! messages it is.

mod handful;
mod place;
mod sockets;
mod wake;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::now;
use super::raw::RawSender;
use crate::model::Time;
use crate::proto::dhcp::{
    CLIENT_PORT, Decision, Destination, Link, Mode, Reason, SERVER_PORT, Silence, handle,
};
use crate::table::{Event, LeaseAction, LeaseRequest, Table};

use handful::{Inbox, Letter, Received, Way};
use place::Place;
use sockets::Port;
pub use sockets::{BindError, Sockets};
use wake::Wake;

/// Leases that may be on their way to the disk at once; what comes then is left to the client's
/// next try. Offers have half of it: in a storm those who were made one come before new ones.
const PENDING: usize = 8192;
/// How often a message is decided again over a newer table before it is given up.
const ROUNDS: u8 = 3;

/// The keeper, as far as DHCP needs it.
pub trait Lessor: Send + Sync + 'static {
    /// Makes leases durable, publishes the table that has them, and then calls `done`, from any
    /// thread. It may find that one can't be had any more; the messages are decided again either way.
    fn lease(&self, requests: Vec<LeaseRequest>, done: impl FnOnce(Result<(), Busy>) + Send + 'static);

    /// Takes note of what happened. Must not block.
    fn note(&self, events: Vec<Event>);

    /// Counts a message that was left unanswered, by the word for its reason.
    fn silent(&self, _reason: &'static str) {}
}

/// The keeper has more to do than it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper is busy")]
pub struct Busy;

/// Serves until a socket fails. `modes` are what we are on each interface; they may change.
pub async fn run<L: Lessor>(
    sockets: Sockets,
    modes: Vec<watch::Receiver<Mode>>,
    tables: Arc<ArcSwap<Table>>,
    lessor: Arc<L>,
) -> io::Result<()> {
    let Sockets { interfaces, ports, raw } = sockets;
    let places = interfaces.into_iter().zip(modes).map(|(interface, mode)| Place::open(interface, mode));
    let places: Arc<[Place]> = places.collect();
    let wake = Arc::new(Wake::new()?);
    let mut tasks = JoinSet::new();
    if ports.iter().any(|port| port.number == SERVER_PORT) {
        for place in 0..places.len() {
            let (places, lessor) = (places.clone(), lessor.clone());
            tasks.spawn(async move { places[place].conflicts(&*lessor).await });
        }
    }
    let _stop = wake.clone().stop_when_dropped();
    let (tell, ended) = oneshot::channel();
    let mut service = Service { places, tables, lessor, raw, ports, wake, pending: 0 };
    let serve = move || drop(tell.send(service.serve()));
    std::thread::Builder::new().name("dhcp".into()).spawn(serve)?;
    let panicked = |_| Err(io::Error::other("the DHCP thread panicked"));
    tokio::select! {
        result = ended => result.unwrap_or_else(panicked),
        Some(result) = tasks.join_next() => result.unwrap_or_else(|error| Err(io::Error::other(error))),
    }
}

/// The ports being served.
struct Service<L> {
    places: Arc<[Place]>,
    tables: Arc<ArcSwap<Table>>,
    lessor: Arc<L>,
    raw: Option<RawSender>,
    ports: Vec<Port>,
    wake: Arc<Wake>,
    /// Leases that the keeper was asked for and that are not settled yet.
    pending: usize,
}

/// Where an answer leaves.
#[derive(Clone, Copy)]
struct Exit {
    /// Which of the ports it was asked on.
    port: usize,
    source: Ipv4Addr,
    /// The interface that the question came in by.
    index: u32,
    /// Which of the places it came to.
    place: usize,
}

/// A message whose answer waits for a lease.
struct Waiting {
    request: LeaseRequest,
    link: Link,
    datagram: Vec<u8>,
    exit: Exit,
    now: Time,
    /// How often the keeper was asked.
    rounds: u8,
}

/// What a round comes to.
#[derive(Default)]
struct Round {
    letters: Vec<(Exit, Letter)>,
    waiting: Vec<Waiting>,
    events: Vec<Event>,
}

impl<L: Lessor> Service<L> {
    fn serve(&mut self) -> io::Result<()> {
        let mut inbox = Inbox::new();
        let sockets: Vec<_> =
            self.ports.iter().map(|port| port.socket.try_clone()).collect::<Result<_, _>>()?;
        while let Some(ready) = self.wake.wait(&sockets)? {
            let mut round = Round::default();
            // Those who have waited for the disk come first.
            for (waiting, outcome) in self.wake.settled() {
                self.settle(waiting, outcome, &mut round);
            }
            for port in ready {
                match inbox.receive(sockets[port].as_fd()) {
                    Ok(()) => self.take(port, &inbox, &mut round),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if is_passing(&error) => tracing::debug!("receiving DHCP: {error}"),
                    Err(error) => return Err(error),
                }
            }
            self.finish(round);
        }
        Ok(())
    }

    fn finish(&mut self, round: Round) {
        let Round { letters, waiting, mut events } = round;
        self.send(letters);
        self.lease(waiting, &mut events);
        self.lessor.note(events);
    }

    fn take(&self, port: usize, inbox: &Inbox, round: &mut Round) {
        let (table, now) = (self.tables.load(), now());
        for (received, datagram) in inbox.iter() {
            let Some((link, exit)) = self.locate(port, &received) else { continue };
            match handle(&table, &link, now, datagram) {
                Decision::NeedLease(request) => {
                    let datagram = datagram.to_vec();
                    round.waiting.push(Waiting { request, link, datagram, exit, now, rounds: 0 });
                }
                decision => self.answer(decision, exit, now, round),
            }
        }
    }

    /// Which network a datagram came to; `None` if that is not served.
    fn locate(&self, port: usize, received: &Received) -> Option<(Link, Exit)> {
        // What is sent to one of our addresses may come in by another interface.
        let by_index = self.places.iter().position(|place| received.index == place.interface.index);
        let by_address =
            || self.places.iter().position(|place| received.destination == place.interface.address);
        let place = by_index.or_else(by_address)?;
        let Place { interface, mode, .. } = &self.places[place];
        let (server, cidr) = (interface.address, interface.cidr);
        let link = Link {
            server,
            cidr,
            mode: *mode.borrow(),
            port: self.ports[port].number,
            source: received.source,
            broadcast: received.destination.is_broadcast() || received.destination == cidr.broadcast(),
        };
        Some((link, Exit { port, source: server, index: received.index, place }))
    }

    fn answer(&self, decision: Decision, exit: Exit, now: Time, round: &mut Round) {
        match decision {
            Decision::Reply { bytes, to, events } => {
                let way = self.way(to, exit);
                round.letters.push((exit, Letter { bytes, to, way }));
                round.events.extend(events);
            }
            Decision::Silence(silence) => round.events.push(self.silent(&silence, now)),
            Decision::NeedLease(_) => {}
        }
    }

    /// Decides again about messages whose leases were made, or could not be.
    fn settle(&mut self, waiting: Vec<Waiting>, outcome: Result<(), Busy>, round: &mut Round) {
        self.pending -= waiting.len();
        if outcome.is_err() {
            round.events.extend(waiting.iter().map(|one| self.busy(one)));
            return;
        }
        let (table, asking) = (self.tables.load(), Instant::now());
        for one in waiting {
            if matches!(one.request.action, LeaseAction::Offer { .. }) {
                self.places[one.exit.place].look(&table, one.request.mac, asking);
            }
            match handle(&table, &one.link, one.now, &one.datagram) {
                Decision::NeedLease(_) if one.rounds >= ROUNDS => round.events.push(self.busy(&one)),
                Decision::NeedLease(request) => round.waiting.push(Waiting { request, ..one }),
                decision => self.answer(decision, one.exit, one.now, round),
            }
        }
    }

    /// Has leases made; others are answered meanwhile, and the keeper can write many at once.
    fn lease(&mut self, mut waiting: Vec<Waiting>, events: &mut Vec<Event>) {
        let mut room = PENDING.saturating_sub(self.pending);
        waiting.retain_mut(|one| {
            let kept = if matches!(one.request.action, LeaseAction::Offer { .. }) { PENDING / 2 } else { 0 };
            let fits = room > kept;
            if fits {
                room -= 1;
                one.rounds += 1;
            } else {
                events.push(self.busy(one));
            }
            fits
        });
        if waiting.is_empty() {
            return;
        }
        self.pending += waiting.len();
        let requests = waiting.iter().map(|one| one.request.clone()).collect();
        let wake = self.wake.clone();
        self.lessor.lease(requests, move |outcome| wake.settle(waiting, outcome));
    }

    fn busy(&self, waiting: &Waiting) -> Event {
        let Waiting { request, link, now, .. } = waiting;
        let mac = Some(request.mac);
        let busy = Silence { reason: Reason::Busy, mac, sender: link.source, deployment: None };
        self.silent(&busy, *now)
    }

    fn send(&self, letters: Vec<(Exit, Letter)>) {
        let mut frames = Vec::new();
        let mut routed: Vec<Vec<Letter>> = self.ports.iter().map(|_| Vec::new()).collect();
        for (exit, letter) in letters {
            match letter.way {
                Way::Frame { .. } => frames.push(letter),
                Way::Routed { .. } => routed[exit.port].push(letter),
            }
        }
        if let Some(raw) = &self.raw {
            handful::send(raw, &frames);
        }
        for (port, letters) in self.ports.iter().zip(&routed) {
            handful::send(&port.socket, letters);
        }
    }

    fn way(&self, to: Destination, exit: Exit) -> Way {
        let Exit { source, index, .. } = exit;
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        match to {
            Destination::Relay(relay) => {
                Way::Routed { source, to: SocketAddrV4::new(relay, SERVER_PORT), index: 0 }
            }
            Destination::Unicast(to) => Way::Routed { source, to, index: 0 },
            Destination::Raw { mac, address } if self.raw.is_some() => Way::Frame {
                source: SocketAddrV4::new(source, self.ports[exit.port].number),
                to: SocketAddrV4::new(address, CLIENT_PORT),
                hardware: mac.octets(),
                index,
            },
            Destination::Raw { .. } | Destination::Broadcast => Way::Routed { source, to: everybody, index },
        }
    }

    /// Counts a message that is left unanswered.
    fn silent(&self, silence: &Silence, now: Time) -> Event {
        tracing::debug!("{silence}");
        self.lessor.silent(silence.reason.label());
        silence.event(now)
    }
}

/// Errors that say something of one packet or moment, not of the socket.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}
