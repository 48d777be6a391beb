//! What answers machines that ask where to boot from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::dhcp::{Heartbeat, Prober};
use super::super::downloads::Downloads;
use super::super::keeper::Keeper;
use super::super::link::Followed;
use super::super::other_servers::{self, Watch};
use super::super::service::{Part, Row, StatusBoard, mirror, supervise};
use super::super::{Stop, dhcp, ipv6};
use super::{Failure, until};
use crate::config::Config;
use crate::model::{Mode, Name, SourceCondition};
use crate::state::SourceStatus;

/// Its ports are open and no request is answered yet.
pub(super) struct Answering {
    dhcp: Dhcp,
    first: dhcp::Sockets,
    six: Arc<ipv6::Ipv6Services>,
    watches: Vec<Arc<Watch>>,
    board: StatusBoard,
    rows: Arc<[Row]>,
}

/// What DHCPv4 is opened with again and again.
#[derive(Clone)]
struct Dhcp {
    networks: Vec<Followed>,
    modes: Vec<watch::Receiver<Mode>>,
    probers: Vec<Prober>,
    most: Mode,
    keeper: Keeper,
    heartbeat: Heartbeat,
}

impl Answering {
    /// Opens the ports; nothing where DHCP is off on every network.
    pub(super) fn open(
        config: &Config,
        downloads: Arc<Downloads>,
        keeper: &Keeper,
        watches: Vec<Arc<Watch>>,
        stirred: watch::Receiver<u64>,
        board: &StatusBoard,
        heartbeat: Heartbeat,
    ) -> Result<Option<Answering>, Failure> {
        let most = most(config);
        if most == Mode::Off {
            return Ok(None);
        }
        let modes: Vec<_> = watches.iter().map(|watch| watch.mode.subscribe()).collect();
        let networks: Vec<Followed> = watches.iter().map(|watch| watch.network.clone()).collect();
        let six = Arc::new(ipv6::Ipv6Services {
            keeper: keeper.clone(),
            downloads,
            networks: std::iter::zip(networks.clone(), modes.clone()).collect(),
            stirred,
            board: board.clone(),
        });
        let first = dhcp::Sockets::open(networks.clone(), most)?;
        let rows =
            networks.iter().map(|one| board.row(format!("dhcp {}", one.name), Part::Machines)).collect();
        let probers = networks.iter().map(|_| Prober::default()).collect();
        let dhcp = Dhcp { networks, modes, probers, most, keeper: keeper.clone(), heartbeat };
        Ok(Some(Answering { dhcp, first, six, watches, board: board.clone(), rows }))
    }

    /// Begins to answer, after a look for other servers and when the first revision was tried.
    pub(super) async fn start(
        self,
        statuses: watch::Receiver<BTreeMap<Name, SourceStatus>>,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) {
        let Answering { dhcp, first, six, watches, board, rows } = self;
        for watch in &watches {
            watch.before_serving().await;
        }
        first_revision(statuses).await;
        let row: Arc<[Row]> = [board.row("ipv6", Part::Daemon)].into();
        let (own, mine) = (stop.clone(), row.clone());
        tasks.spawn(supervise(row, move || {
            mine[0].serving();
            let (six, stop) = (six.clone(), own.clone());
            async move { six.run(stop).await }
        }));
        dhcp.probe(&board, stop, tasks);
        dhcp.start(first, rows, stop, tasks);
        for watch in watches {
            let row: Arc<[Row]> =
                [board.row(format!("other-servers {}", watch.network.name), Part::Auxiliary)].into();
            let mine = row.clone();
            let attempt = move || {
                mine[0].serving();
                let watch = watch.clone();
                async move {
                    watch.keep(other_servers::LOOK, other_servers::PERIOD).await;
                    Ok(())
                }
            };
            tasks.spawn(until(stop.clone(), supervise(row, attempt)));
        }
    }
}

impl Dhcp {
    /// Serves all networks by one thread, which is opened again when it fails.
    fn start(self, first: dhcp::Sockets, rows: Arc<[Row]>, stop: &Stop, tasks: &mut JoinSet<()>) {
        let (first, mine) = (Mutex::new(Some(first)), rows.clone());
        let attempt = move || {
            let first = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            let (dhcp, rows) = (self.clone(), mine.clone());
            async move {
                let shown =
                    JoinSet::from_iter(dhcp.networks.iter().cloned().enumerate().map(|(at, network)| {
                        let rows = rows.clone();
                        async move { mirror(&rows[at], network).await }
                    }));
                let served = dhcp.serve(first).await;
                drop(shown);
                served
            }
        };
        tasks.spawn(until(stop.clone(), supervise(rows, attempt)));
    }

    /// Serves until something fails.
    async fn serve(self, first: Option<dhcp::Sockets>) -> Result<(), String> {
        let Dhcp { networks, modes, probers, most, keeper, heartbeat } = self;
        let mut next = first;
        loop {
            let sockets = match next.take() {
                Some(sockets) => sockets,
                None => dhcp::Sockets::open(networks.clone(), most).map_err(|error| error.to_string())?,
            };
            let (published, lessor) = (keeper.published(), Arc::new(keeper.clone()));
            let run =
                dhcp::run(sockets, modes.clone(), probers.clone(), published, lessor, heartbeat.clone());
            run.await.map_err(|error| error.to_string())?;
        }
    }

    /// Looks on each network for addresses in use, for as long as its interface is there.
    fn probe(&self, board: &StatusBoard, stop: &Stop, tasks: &mut JoinSet<()>) {
        for (network, prober) in self.networks.iter().zip(&self.probers) {
            let row: Arc<[Row]> =
                [board.row(format!("conflict-probe {}", network.name), Part::Auxiliary)].into();
            let (network, prober, lessor) = (network.clone(), prober.clone(), Arc::new(self.keeper.clone()));
            let (mine, published) = (row.clone(), self.keeper.published());
            let attempt = move || {
                let published = published.clone();
                let (mut network, prober, lessor) = (network.clone(), prober.clone(), lessor.clone());
                let row = mine.clone();
                async move {
                    loop {
                        if let Err(lack) = network.now() {
                            row[0].waiting(lack.to_string());
                        }
                        let interface = network.present().await;
                        let opened = || row[0].serving();
                        tokio::select! {
                            ended = dhcp::conflicts(&interface, &prober, &published, &*lessor, opened) => return ended,
                            () = network.changed() => prober.store(None),
                        }
                    }
                }
            };
            tasks.spawn(until(stop.clone(), supervise(row, attempt)));
        }
    }
}

/// The mode that needs the most ports.
fn most(config: &Config) -> Mode {
    let has = |wanted: Mode| config.networks().any(|network| config.mode(network) == wanted);
    [Mode::Server, Mode::Proxy, Mode::Listen].into_iter().find(|mode| has(*mode)).unwrap_or(Mode::Off)
}

/// Until the first revision was tried, it is unknown which machines there are.
pub(super) async fn first_revision(mut statuses: watch::Receiver<BTreeMap<Name, SourceStatus>>) {
    let tried = |statuses: &BTreeMap<Name, SourceStatus>| {
        statuses.values().all(|status| status.condition != SourceCondition::Loading)
    };
    let _ = statuses.wait_for(tried).await;
}
