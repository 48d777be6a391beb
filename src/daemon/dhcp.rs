//! DHCP on the wire: receives, lets [`proto::dhcp`](crate::proto::dhcp) decide, sends.
//!
//! One wildcard socket for each port: a socket bound to an address gets no broadcasts, and one
//! bound to a device misses what relays send to us by another interface. The packet's ancillary
//! data says where it came from; only the configured interfaces are answered, and whatever was
//! sent to our own addresses there.
//!
//! A thread of its own, which never waits for the disk: it takes what has come by handfuls, answers
//! what can be answered, and hands the rest to the keeper. When that is stored it is woken and sends
//! all of it. A handful costs a few system calls and two wake-ups, however many messages it is.

mod handful;
mod leaving;
mod place;
mod post;
mod sockets;
mod wake;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::link::{Followed, Interface};
use super::{is_passing, now};
use crate::model::Time;
use crate::proto::converse::{ROUNDS, leased};
use crate::proto::dhcp::{
    CLIENT_PORT, Decision, Destination, Draft, Link, Mode, Reason, SERVER_PORT, Silence, handle,
};
use crate::state::{Event, LeaseAction, LeaseRequest, State};

pub(crate) use handful::unanswered;
use handful::{Inbox, Letter, Received, Way};
use leaving::Leaving;
use place::Place;
pub use place::{Prober, conflicts};
use post::Post;
pub use sockets::{BindError, Sockets};
use wake::Wake;

/// Leases that may be on their way to the disk at once; what comes then is left to the client's
/// next try. Offers have half of it: in a storm those who were made one come before new ones.
const PENDING: usize = 8192;
/// How long and how many events are gathered: sending them wakes the keeper, which costs as much as an
/// answer.
const GATHER: Duration = Duration::from_millis(1);
const GATHERED: usize = 256;

/// The keeper, as far as DHCP needs it.
pub trait Lessor: Send + Sync + 'static {
    /// Makes leases durable, publishes the state that has them, and then calls `done`, from any thread,
    /// with the address of each; `None` for one that is no longer available.
    fn lease(&self, requests: Vec<LeaseRequest>, done: impl FnOnce(Result<Granted, Busy>) + Send + 'static);

    /// Takes note of what happened. Must not block.
    fn note(&self, events: Vec<Event>);

    /// Counts a message that was left unanswered, by the word for its reason.
    fn silent(&self, _reason: &'static str) {}
}

/// The addresses of requested leases, in their order.
pub type Granted = Vec<Option<Ipv4Addr>>;

/// The keeper has more to do than it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper is busy")]
pub struct Busy;

/// Serves until a socket fails, or (`Ok`) all have to be opened again because an interface came or went.
/// `modes` are the daemon's modes on each network, and `probers` look for addresses in use there; both may
/// change.
pub async fn run<L: Lessor>(
    sockets: Sockets,
    modes: Vec<watch::Receiver<Mode>>,
    probers: Vec<Prober>,
    tables: Arc<ArcSwap<State>>,
    lessor: Arc<L>,
    pulse: Pulse,
) -> io::Result<()> {
    let Sockets { networks, by_device, ports, raw } = sockets;
    let changes = networks.clone();
    let places = networks.into_iter().zip(modes).zip(probers);
    let places = places.map(|((network, mode), prober)| Place::new(network, mode, prober)).collect();
    let wake = Arc::new(Wake::new()?);
    pulse.wake.store(Some(wake.clone()));
    let _stop = wake.clone().stop_when_dropped();
    let (tell, ended) = oneshot::channel();
    let post = Post::open(raw, ports, wake.clone(), pulse.leaving)?;
    let mut service =
        Service { places, tables, lessor, post, wake, pending: 0, unsaid: Vec::new(), leaving: 0 };
    let serve = move || drop(tell.send(service.serve()));
    std::thread::Builder::new().name("dhcp".into()).spawn(serve)?;
    let panicked = |_| Err(io::Error::other("the DHCP thread panicked"));
    tokio::select! {
        result = ended => result.unwrap_or_else(panicked),
        () = any_changed(changes), if by_device => Ok(()),
    }
}

/// Returns when one of the interfaces came, went or changed.
async fn any_changed(networks: Vec<Followed>) {
    let mut changes = JoinSet::new();
    for mut network in networks {
        changes.spawn(async move { network.changed().await });
    }
    changes.join_next().await;
}

/// Shows whether the thread of DHCP lives, and whether what it says leaves.
#[derive(Clone, Default)]
pub struct Pulse {
    wake: Arc<ArcSwapOption<Wake>>,
    leaving: Arc<Leaving>,
}

impl Pulse {
    /// What people should know of answers that don't leave.
    pub fn sentence(&self) -> Option<String> {
        self.leaving.sentence()
    }

    /// Whether the thread makes a round within `patience`; true where there is none.
    pub async fn beats(&self, patience: Duration) -> bool {
        let Some(wake) = self.wake.load_full() else { return true };
        let before = wake.tick();
        let moved = async {
            while wake.tick() == before {
                tokio::time::sleep(patience / 20).await;
            }
        };
        tokio::time::timeout(patience, moved).await.is_ok()
    }
}

/// The ports being served.
struct Service<L> {
    places: Vec<Place>,
    tables: Arc<ArcSwap<State>>,
    lessor: Arc<L>,
    post: Post,
    wake: Arc<Wake>,
    /// Leases that were requested from the keeper and are not decided yet.
    pending: usize,
    /// Events that the keeper did not get yet.
    unsaid: Vec<Event>,
    /// Bundles of answers that another thread sends, and has not said what became of.
    leaving: usize,
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
    draft: Option<Box<Draft>>,
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
            self.post.ports().iter().map(|port| port.socket.try_clone()).collect::<Result<_, _>>()?;
        while let Some(ready) = self.wake.wait(&sockets, self.patience())? {
            let mut round = Round::default();
            self.places.iter_mut().for_each(Place::catch_up);
            // Those who have waited for the disk come first.
            let settled = self.wake.settled();
            let idle = ready.is_empty() && settled.is_empty();
            let sent = self.wake.take_sent();
            self.leaving -= sent.len();
            self.unsaid.extend(sent.into_iter().flatten());
            for (waiting, outcome) in settled {
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
            self.finish(round, idle);
        }
        self.lessor.note(std::mem::take(&mut self.unsaid));
        Ok(())
    }

    /// How long nothing has to happen before there is something to say.
    fn patience(&self) -> Option<Duration> {
        (!self.unsaid.is_empty() || self.leaving > 0).then_some(GATHER)
    }

    fn finish(&mut self, round: Round, idle: bool) {
        let Round { letters, waiting, events } = round;
        match self.post.send(letters) {
            Some(sent) => self.unsaid.extend(sent),
            None => self.leaving += 1,
        }
        self.unsaid.extend(events);
        let waiting = self.admit(waiting);
        // Sent together with what wakes the keeper anyway.
        if idle || !waiting.is_empty() || self.unsaid.len() >= GATHERED {
            self.lessor.note(std::mem::take(&mut self.unsaid));
        }
        self.lease(waiting);
    }

    fn take(&self, port: usize, inbox: &Inbox, round: &mut Round) {
        let (table, now) = (self.tables.load(), now());
        for (received, datagram) in inbox.iter() {
            let Some((link, exit)) = self.locate(port, &received) else { continue };
            match handle(&table, &link, now, datagram) {
                Decision::NeedLease(request, draft) => {
                    let datagram = datagram.to_vec();
                    round.waiting.push(Waiting { request, draft, link, datagram, exit, now, rounds: 0 });
                }
                decision => self.answer(decision, exit, now, round),
            }
        }
    }

    /// Which network a datagram came to; `None` if that is not served.
    fn locate(&self, port: usize, received: &Received) -> Option<(Link, Exit)> {
        // A message to one of the daemon's addresses may come in by another interface. It is answered from
        // the address that it was sent to, where its sender can reach the daemon.
        let find = |is: &dyn Fn(&Interface) -> bool| {
            self.places.iter().position(|place| place.interface.as_ref().is_some_and(is))
        };
        let by_address = find(&|interface| received.destination == interface.address);
        let place = by_address.or_else(|| find(&|interface| received.index == interface.index))?;
        let Place { interface: Some(interface), mode, .. } = &self.places[place] else { return None };
        let (server, cidr) = (interface.address, interface.cidr);
        let link = Link {
            server,
            cidr,
            mode: *mode.borrow(),
            port: self.post.ports()[port].number,
            source: received.source,
            broadcast: cidr.is_for_everybody(received.destination),
        };
        Some((link, Exit { port, source: server, index: received.index, place }))
    }

    fn answer(&self, decision: Decision, exit: Exit, now: Time, round: &mut Round) {
        match decision {
            Decision::Reply { bytes, to, events } => {
                let way = self.way(to, exit);
                round.letters.push((exit, Letter { bytes, to, way, events }));
            }
            Decision::Silence(silence) => round.events.push(self.silent(&silence, now)),
            Decision::NeedLease(..) => {}
        }
    }

    /// Answers messages whose leases were made, and decides again about the others.
    fn settle(&mut self, waiting: Vec<Waiting>, outcome: Result<Granted, Busy>, round: &mut Round) {
        self.pending -= waiting.len();
        let Ok(granted) = outcome else {
            round.events.extend(waiting.iter().map(|one| self.busy(one)));
            return;
        };
        let (table, asking) = (self.tables.load(), Instant::now());
        for (mut one, address) in waiting.into_iter().zip(granted) {
            if let (Some(address), LeaseAction::Offer { .. }) = (address, &one.request.action) {
                self.places[one.exit.place].look(&table, one.request.mac, address, asking);
            }
            let draft = one.draft.take();
            let decision = leased(&table, &one.link, one.now, &one.datagram, &one.request, draft, address);
            match decision {
                Decision::NeedLease(..) if one.rounds >= ROUNDS => round.events.push(self.busy(&one)),
                Decision::NeedLease(request, draft) => round.waiting.push(Waiting { request, draft, ..one }),
                decision => self.answer(decision, one.exit, one.now, round),
            }
        }
    }

    /// Those for whom there is room.
    fn admit(&mut self, mut waiting: Vec<Waiting>) -> Vec<Waiting> {
        let mut busy = Vec::new();
        let mut room = PENDING.saturating_sub(self.pending);
        waiting.retain_mut(|one| {
            let kept = if matches!(one.request.action, LeaseAction::Offer { .. }) { PENDING / 2 } else { 0 };
            let fits = room > kept;
            if fits {
                room -= 1;
                one.rounds += 1;
            } else {
                busy.push(self.busy(one));
            }
            fits
        });
        self.unsaid.extend(busy);
        waiting
    }

    /// Has leases made; others are answered meanwhile, and the keeper can write many at once.
    fn lease(&mut self, waiting: Vec<Waiting>) {
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

    fn way(&self, to: Destination, exit: Exit) -> Way {
        let Exit { source, index, .. } = exit;
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        match to {
            Destination::Relay(relay) => {
                Way::Routed { source, to: SocketAddrV4::new(relay, SERVER_PORT), index: 0 }
            }
            Destination::Unicast(to) => Way::Routed { source, to, index: 0 },
            Destination::Raw { mac, address } if self.post.has_frames() => Way::Frame {
                source: SocketAddrV4::new(source, self.post.ports()[exit.port].number),
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
