//! IPv6 on the served interfaces: follows the inventory and the host's addresses.
//!
//! Nothing is opened before the inventory has an `ipv6` for a link that this host has an address on: a
//! host's global address may be reachable from the internet. An address that comes later is found within a
//! second.

mod address;
pub mod advert;
pub mod dhcp;

use std::sync::Arc;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::downloads::Downloads;
use super::keeper::Keeper;
use super::link::{Followed, Interface, addresses6};
use super::service::{Part, Row, StatusBoard, supervise};
use super::{Stop, now, stopped};
use crate::model::{Cidr, Mode};
use crate::proto::dhcp6::SERVER_PORT;
use crate::state::{Event, Stage};
use address::{Choice, Network, ServedAddress, choose};

/// How often host and inventory are looked at, if the kernel reports nothing before.
const LOOK: Duration = Duration::from_secs(1);

/// The servers of an address end together: those of files have their ports free this long after the first, if nothing is
/// being fetched.
const ENDS: Duration = Duration::from_millis(50);

/// The served networks and what is done with each.
pub struct Ipv6Services {
    pub keeper: Keeper,
    pub downloads: Arc<Downloads>,
    pub networks: Vec<(Followed, watch::Receiver<Mode>)>,
    /// Changes with each report of the kernel.
    pub stirred: watch::Receiver<u64>,
    pub board: StatusBoard,
}

/// What serves an address; it ends when this is dropped.
struct Serving {
    stop: watch::Sender<bool>,
    /// DHCPv6 and router advertisements.
    tasks: Vec<AbortHandle>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// How one network stands.
#[derive(Default)]
struct NetworkState {
    /// Where it was served last; kept while it is not.
    chosen: Option<ServedAddress>,
    serving: Option<Serving>,
    /// The tasks of what is no longer served, until they have ended.
    ending: Vec<AbortHandle>,
    /// The board's row for what is lacking, for as long as something is.
    lacking: Option<Row>,
}

impl Ipv6Services {
    /// Serves until `stop`.
    pub async fn run(&self, stop: Stop) -> Result<(), String> {
        let mut stop = stop;
        let mut stirred = self.stirred.clone();
        let mut states: Vec<NetworkState> = self.networks.iter().map(|_| NetworkState::default()).collect();
        let mut tasks = JoinSet::new();
        loop {
            for (at, state) in states.iter_mut().enumerate() {
                let choice = self.look(at, state.chosen.as_ref());
                self.follow(at, choice, state, &mut tasks);
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {
                    tokio::time::sleep(ENDS).await;
                    while tasks.try_join_next().is_some() {}
                }
                () = tokio::time::sleep(LOOK) => {}
                Ok(()) = stirred.changed() => {}
            }
        }
        drop(states);
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Where a network is to be served.
    fn look(&self, at: usize, former: Option<&ServedAddress>) -> Choice {
        let (followed, mode) = &self.networks[at];
        if *mode.borrow() == Mode::Off {
            return Choice::default();
        }
        let network = Network {
            name: &followed.name,
            address: followed.address,
            only: self.networks.len() == 1,
            index: if_nametoindex(&*followed.name).ok(),
        };
        choose(&self.keeper.state(), &network, || addresses6(&followed.name), former)
    }

    fn follow(&self, at: usize, choice: Choice, state: &mut NetworkState, tasks: &mut JoinSet<()>) {
        let name = &self.networks[at].0.name;
        let Choice { served, lacks } = choice;
        if !lacks.is_empty() {
            let new = || self.board.row(format!("ipv6 {name}"), Part::Machines);
            state.lacking.get_or_insert_with(new).waiting(lacks.join("; "));
        } else if let Some(row) = state.lacking.take() {
            row.serving();
        }
        if state.serving.is_some() && served.is_some() && served == state.chosen {
            return;
        }
        if let (Some(mut ended), Some(former)) = (state.serving.take(), &state.chosen) {
            tracing::info!("IPv6: {name} is no longer served at [{}]", former.address);
            state.ending = std::mem::take(&mut ended.tasks);
        }
        // Both have the same ports: the other one is opened at a later look, when this one has ended.
        state.ending.retain(|task| !task.is_finished());
        if served.is_some() && !state.ending.is_empty() {
            return;
        }
        if served.is_none() && lacks.is_empty() {
            state.chosen = None;
        }
        if let Some(served) = served {
            state.serving = Some(self.serve(at, &served, tasks));
            state.chosen = Some(served);
        }
    }

    fn serve(&self, at: usize, served: &ServedAddress, tasks: &mut JoinSet<()>) -> Serving {
        let (followed, mode) = &self.networks[at];
        let (stop, stopping) = watch::channel(false);
        let (address, name) = (served.address, followed.name.clone());
        let interface = Interface {
            name: name.to_string(),
            index: served.index,
            address: followed.address,
            cidr: Cidr::around(followed.address, 32),
        };
        let row: Arc<[Row]> = [self.board.row(format!("dhcp6 {name}"), Part::Machines)].into();
        let (keeper, wire, listening, mine) =
            (self.keeper.clone(), interface.clone(), mode.clone(), row.clone());
        let dhcp = tasks.spawn(until(
            stopping.clone(),
            supervise(row, move || {
                let own = addresses6(&wire.name).iter().map(|one| one.address).collect();
                let opened = dhcp::Service::open(&wire, address, own, listening.clone(), keeper.clone());
                let row = mine.clone();
                async move {
                    let describe =
                        |error| format!("DHCPv6 can't listen on [{address}]:{SERVER_PORT}: {error}");
                    let service = opened.map_err(describe)?;
                    row[0].serving();
                    service.run().await.map_err(|error| error.to_string())
                }
            }),
        ));
        let row: Arc<[Row]> =
            [self.board.row(format!("router advertisements {name}"), Part::Machines)].into();
        let (keeper, subnet, mode, mine) =
            (self.keeper.clone(), served.subnet.clone(), mode.clone(), row.clone());
        let adverts = tasks.spawn(until(
            stopping.clone(),
            supervise(row, move || {
                let opened = advert::Sender::open(&interface, subnet.clone(), mode.clone(), keeper.clone());
                let row = mine.clone();
                async move {
                    let sender =
                        opened.map_err(|error| format!("the raw socket can't be opened: {error}"))?;
                    row[0].serving();
                    sender.run().await.map_err(|error| error.to_string())
                }
            }),
        ));
        self.downloads.clone().serve(address.into(), None, None, &stopping, &self.board, tasks);
        self.announce(served, &name);
        Serving { stop, tasks: vec![dhcp, adverts] }
    }

    fn announce(&self, served: &ServedAddress, name: &str) {
        let text = format!(
            "IPv6: DHCPv6, {} at [{}] on {name} (subnet {})",
            self.downloads.names(),
            served.address,
            served.subnet
        );
        tracing::info!("{text}");
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}

pub(super) async fn until(mut stop: Stop, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped(&mut stop) => {}
    }
}
