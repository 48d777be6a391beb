//! DHCP on the wire: receives, lets [`proto::dhcp`](crate::proto::dhcp) decide, sends.
//!
//! One wildcard socket for each port: a socket bound to an address gets no broadcasts, and one
//! bound to a device misses what relays send to us by another interface. The packet's ancillary
//! data says where it came from; only the configured interfaces are answered, and whatever was
//! sent to our own addresses there.
//!
//! A thread of its own, which never waits for the disk: it takes what has come in batches, answers
//! what can be answered, and hands the rest to the keeper. When that is stored it is woken and sends
//! all of it. A batch costs a few system calls and two wake-ups, however many messages it is.

mod datagrams;
mod send_status;
mod sender;
mod served_network;
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

pub(crate) use datagrams::unanswered;
use datagrams::{Delivery, OutgoingAnswer, ReceiveBuffer, Received};
use send_status::SendStatus;
use sender::Sender;
use served_network::ServedNetwork;
pub use served_network::{Prober, conflicts};
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
/// `modes` are the daemon's modes on each network, and `probers` probe for addresses in use there; both may
/// change.
pub async fn run<L: Lessor>(
    sockets: Sockets,
    modes: Vec<watch::Receiver<Mode>>,
    probers: Vec<Prober>,
    published: Arc<ArcSwap<State>>,
    lessor: Arc<L>,
    heartbeat: Heartbeat,
) -> io::Result<()> {
    let Sockets { networks, by_device, ports, raw } = sockets;
    let changes = networks.clone();
    let networks = networks.into_iter().zip(modes).zip(probers);
    let networks =
        networks.map(|((network, mode), prober)| ServedNetwork::new(network, mode, prober)).collect();
    let wake = Arc::new(Wake::new()?);
    heartbeat.wake.store(Some(wake.clone()));
    let _stop = wake.clone().stop_when_dropped();
    let (finished, ended) = oneshot::channel();
    let sender = Sender::open(raw, ports, wake.clone(), heartbeat.send_status)?;
    let mut service = Service {
        networks,
        published,
        lessor,
        sender,
        wake,
        pending: 0,
        unreported: Vec::new(),
        handed_over: 0,
    };
    let serve = move || drop(finished.send(service.serve()));
    crate::thread::start("dhcp", serve)?;
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

/// Shows whether the thread of DHCP runs, and whether its answers leave.
#[derive(Clone, Default)]
pub struct Heartbeat {
    wake: Arc<ArcSwapOption<Wake>>,
    send_status: Arc<SendStatus>,
}

impl Heartbeat {
    /// What keeps answers from leaving, for the status.
    pub fn sentence(&self) -> Option<String> {
        self.send_status.sentence()
    }

    /// Whether the thread makes a round within `patience`; true where there is none.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        let Some(wake) = self.wake.load_full() else { return true };
        let before = wake.tick();
        let progressed = async {
            while wake.tick() == before {
                tokio::time::sleep(patience / 20).await;
            }
        };
        tokio::time::timeout(patience, progressed).await.is_ok()
    }
}

/// The ports being served.
struct Service<L> {
    networks: Vec<ServedNetwork>,
    published: Arc<ArcSwap<State>>,
    lessor: Arc<L>,
    sender: Sender,
    wake: Arc<Wake>,
    /// Leases that were requested from the keeper and are not decided yet.
    pending: usize,
    /// Events that the keeper did not get yet.
    unreported: Vec<Event>,
    /// Batches of answers that another thread sends, and has not reported yet.
    handed_over: usize,
}

/// Where an answer leaves.
#[derive(Clone, Copy)]
struct Egress {
    /// Which of the ports it was asked on.
    port: usize,
    source: Ipv4Addr,
    /// The interface that the question came in by.
    index: u32,
    /// Which of the networks it came to.
    network: usize,
}

/// A message whose answer waits for a lease.
struct Waiting {
    request: LeaseRequest,
    draft: Option<Box<Draft>>,
    link: Link,
    datagram: Vec<u8>,
    egress: Egress,
    now: Time,
    /// How often the keeper was asked.
    rounds: u8,
}

/// What a round comes to.
#[derive(Default)]
struct Round {
    answers: Vec<(Egress, OutgoingAnswer)>,
    waiting: Vec<Waiting>,
    events: Vec<Event>,
}

impl<L: Lessor> Service<L> {
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = ReceiveBuffer::new();
        let sockets: Vec<_> =
            self.sender.ports().iter().map(|port| port.socket.try_clone()).collect::<Result<_, _>>()?;
        while let Some(ready) = self.wake.wait(&sockets, self.patience())? {
            let mut round = Round::default();
            self.networks.iter_mut().for_each(ServedNetwork::catch_up);
            // Those who have waited for the disk come first.
            let settled = self.wake.settled();
            let idle = ready.is_empty() && settled.is_empty();
            let sent = self.wake.take_sent();
            self.handed_over -= sent.len();
            self.unreported.extend(sent.into_iter().flatten());
            for (waiting, outcome) in settled {
                self.settle(waiting, outcome, &mut round);
            }
            for port in ready {
                match buffer.receive(sockets[port].as_fd()) {
                    Ok(()) => self.take(port, &buffer, &mut round),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if is_passing(&error) => tracing::debug!("receiving DHCP: {error}"),
                    Err(error) => return Err(error),
                }
            }
            self.finish(round, idle);
        }
        self.lessor.note(std::mem::take(&mut self.unreported));
        Ok(())
    }

    /// How long nothing has to happen before there is something to say.
    fn patience(&self) -> Option<Duration> {
        (!self.unreported.is_empty() || self.handed_over > 0).then_some(GATHER)
    }

    fn finish(&mut self, round: Round, idle: bool) {
        let Round { answers, waiting, events } = round;
        match self.sender.send(answers) {
            Some(sent) => self.unreported.extend(sent),
            None => self.handed_over += 1,
        }
        self.unreported.extend(events);
        let waiting = self.admit(waiting);
        // Sent together with what wakes the keeper anyway.
        if idle || !waiting.is_empty() || self.unreported.len() >= GATHERED {
            self.lessor.note(std::mem::take(&mut self.unreported));
        }
        self.lease(waiting);
    }

    fn take(&self, port: usize, buffer: &ReceiveBuffer, round: &mut Round) {
        let (state, now) = (self.published.load(), now());
        for (received, datagram) in buffer.iter() {
            let Some((link, egress)) = self.locate(port, &received) else { continue };
            match handle(&state, &link, now, datagram) {
                Decision::NeedLease(request, draft) => {
                    let datagram = datagram.to_vec();
                    round.waiting.push(Waiting { request, draft, link, datagram, egress, now, rounds: 0 });
                }
                decision => self.answer(decision, egress, now, round),
            }
        }
    }

    /// Which network a datagram came to; `None` if that is not served.
    fn locate(&self, port: usize, received: &Received) -> Option<(Link, Egress)> {
        // A message to one of the daemon's addresses may come in by another interface. It is answered from
        // the address that it was sent to, where its sender can reach the daemon.
        let find = |is: &dyn Fn(&Interface) -> bool| {
            self.networks.iter().position(|network| network.interface.as_ref().is_some_and(is))
        };
        let by_address = find(&|interface| received.destination == interface.address);
        let network = by_address.or_else(|| find(&|interface| received.index == interface.index))?;
        let ServedNetwork { interface: Some(interface), mode, .. } = &self.networks[network] else {
            return None;
        };
        let (server, cidr) = (interface.address, interface.cidr);
        let link = Link {
            server,
            cidr,
            mode: *mode.borrow(),
            port: self.sender.ports()[port].number,
            source: received.source,
            broadcast: cidr.is_for_everybody(received.destination),
        };
        Some((link, Egress { port, source: server, index: received.index, network }))
    }

    fn answer(&self, decision: Decision, egress: Egress, now: Time, round: &mut Round) {
        match decision {
            Decision::Reply { bytes, to, events } => {
                let delivery = self.delivery(to, egress);
                round.answers.push((egress, OutgoingAnswer { bytes, to, delivery, events }));
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
        let (state, asking) = (self.published.load(), Instant::now());
        for (mut one, address) in waiting.into_iter().zip(granted) {
            if let (Some(address), LeaseAction::Offer { .. }) = (address, &one.request.action) {
                self.networks[one.egress.network].probe(&state, one.request.mac, address, asking);
            }
            let draft = one.draft.take();
            let decision = leased(&state, &one.link, one.now, &one.datagram, &one.request, draft, address);
            match decision {
                Decision::NeedLease(..) if one.rounds >= ROUNDS => round.events.push(self.busy(&one)),
                Decision::NeedLease(request, draft) => round.waiting.push(Waiting { request, draft, ..one }),
                decision => self.answer(decision, one.egress, one.now, round),
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
        self.unreported.extend(busy);
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

    fn delivery(&self, to: Destination, egress: Egress) -> Delivery {
        let Egress { source, index, .. } = egress;
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        match to {
            Destination::Relay(relay) => {
                Delivery::Routed { source, to: SocketAddrV4::new(relay, SERVER_PORT), index: 0 }
            }
            Destination::Unicast(to) => Delivery::Routed { source, to, index: 0 },
            Destination::Raw { mac, address } if self.sender.has_frames() => Delivery::Frame {
                source: SocketAddrV4::new(source, self.sender.ports()[egress.port].number),
                to: SocketAddrV4::new(address, CLIENT_PORT),
                hardware: mac.octets(),
                index,
            },
            Destination::Raw { .. } | Destination::Broadcast => {
                Delivery::Routed { source, to: everybody, index }
            }
        }
    }

    /// Counts a message that is left unanswered.
    fn silent(&self, silence: &Silence, now: Time) -> Event {
        tracing::debug!("{silence}");
        self.lessor.silent(silence.reason.label());
        silence.event(now)
    }
}
