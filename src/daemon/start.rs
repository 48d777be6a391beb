//! From settings to a serving daemon, and back down.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use super::files::Files;
use super::keeper::Keeper;
use super::limits::raise_open_files;
use super::link::Interface;
use super::neighbours::{self, Watch};
use super::reconcile::{Follow, Reconciler};
use super::{dhcp, http, ipv6, now, tftp};
use crate::api::metrics::Counts;
use crate::api::types::{Apply, Order, Outcome, SourceStatus, Status, Ticket, Tree, WaitingPlan};
use crate::api::{Backend, router};
use crate::config::{Config, Listen, Network, Reconcile};
use crate::desired::Subnet;
use crate::media::{Shelf, loaders};
use crate::model::{Mac, Mode, Name, Origin, Span, Time};
use crate::source::{self, Handle, SourceConfig};
use crate::store::Store;
use crate::table::{Event, Server, Table};

/// How long transfers may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How often maintenance windows are looked at.
const CLOCK: Duration = Duration::from_secs(5);
/// Length of leases on the network of the settings file.
const LEASE: Span = Span::seconds(3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Failure> {
    log();
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

/// Logs go to stderr; `VOLDEMORT_LOG` sets the level (`warn`, `debug`, `voldemort::daemon=trace`).
fn log() {
    let filter = EnvFilter::try_from_env("VOLDEMORT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second daemon in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init();
}

async fn serve(config: Config) -> Result<(), Failure> {
    let find = |network: &Network| Interface::find(&network.interface, Some(network.address));
    let interfaces = config.networks().map(find).collect::<Result<Vec<_>, _>>()?;
    let (store, mut saved) = Store::open(&config.state.directory, random)?;
    let kept = saved.kept.take();
    let control = saved.notes.remove("control");
    let server = Server {
        address: interfaces[0].address,
        others: interfaces[1..].iter().map(|one| (one.cidr, one.address)).collect(),
        http_port: config.http.port,
        gives_addresses: config.networks().all(|network| config.mode(network) == Mode::Server),
        loaders: loaders::find(&config.firmware.paths),
    };
    let (keeper, thread) = Keeper::spawn(store, saved, server);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let watches = watches(&config, &interfaces, &keeper);
    let modes: Vec<watch::Receiver<Mode>> = watches.iter().map(|watch| watch.mode.subscribe()).collect();
    let reconciler = Arc::new(reconciler(&config, &keeper, control));
    let daemon =
        Daemon { keeper: keeper.clone(), reconciler: reconciler.clone(), modes: named(&interfaces, &modes) };
    serve_api(&config.api.listen, daemon, stopping.clone(), &mut tasks).await?;
    let files = Files::new();
    serve_files(&config, &files, &keeper, &stopping, &mut tasks)?;
    let six = ipv6::Six {
        keeper: keeper.clone(),
        files,
        http_port: config.http.port,
        networks: std::iter::zip(interfaces.iter().cloned(), modes.iter().cloned()).collect(),
    };
    let sockets = match most(&config) {
        Mode::Off => None,
        mode => Some(dhcp::Sockets::open(interfaces, mode)?),
    };
    announce(&config, &keeper);

    if let Some(kept) = kept {
        reconciler.restore(kept).await;
    }
    let (updates, queue) = mpsc::channel(1);
    let source = source::spawn(
        SourceConfig {
            inventory: config.inventory.clone(),
            state: config.state.directory.clone(),
            fetcher: Default::default(),
        },
        updates,
    );
    tasks.spawn(follow(reconciler.clone(), queue, stopping.clone()));
    tasks.spawn(keep_time(keeper.clone(), stopping.clone()));
    if let Some(sockets) = sockets {
        for watch in &watches {
            watch.before_serving().await;
        }
        first_revision(reconciler.status()).await;
        tasks.spawn(six.run(stopping.clone()));
        tasks.spawn(serve_dhcp(sockets, modes, keeper.clone(), stopping.clone()));
        for watch in watches {
            let stopping = stopping.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = watch.keep(neighbours::LOOK, neighbours::PERIOD) => {}
                    () = stopped(stopping) => {}
                }
            });
        }
    } else {
        // The keeper ends when nobody holds on to it any more.
        drop((watches, six));
    }
    wait(&source).await?;
    stop.send_replace(true);
    tracing::info!("stopping: transfers under way have {} s", DRAIN.as_secs());
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some transfers did not end in time");
        tasks.shutdown().await;
    }
    drop((keeper, reconciler, source));
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(())
}

async fn serve_api(
    listen: &Listen,
    daemon: Daemon,
    stopping: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let bind = |error: std::io::Error| -> Failure {
        format!("the control API can't listen on {listen}: {error} (another daemon? see [api] listen)").into()
    };
    let ended = |result: std::io::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, "the control API ended");
        }
    };
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.map_err(bind)?;
            let serve = axum::serve(listener, router(daemon)).with_graceful_shutdown(stopped(stopping));
            tasks.spawn(async move { ended(serve.await) });
        }
        Listen::Unix(path) => {
            // A socket left by a daemon that was killed; a living one still answers on it.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path).map_err(bind)?;
            let serve = axum::serve(listener, router(daemon)).with_graceful_shutdown(stopped(stopping));
            tasks.spawn(async move { ended(serve.await) });
        }
    }
    Ok(())
}

fn serve_files(
    config: &Config,
    files: &Files,
    keeper: &Keeper,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    for network in config.networks() {
        serve_files_at(network.address, files, config, keeper, stopping, tasks)?;
    }
    Ok(())
}

fn serve_files_at(
    address: Ipv4Addr,
    files: &Files,
    config: &Config,
    keeper: &Keeper,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let opener = Arc::new(keeper.clone());
    let taken = |what: &str, port: u16, error: std::io::Error| -> Failure {
        format!("{what} can't listen on {address}:{port}: {error}").into()
    };
    let port = config.http.port;
    let http =
        http::Server::bind(SocketAddrV4::new(address, port).into(), files.clone(), http::Limits::default())
            .map_err(|error| taken("HTTP", port, error))?;
    let tftp = tftp::Server::bind(
        SocketAddrV4::new(address, TFTP_PORT).into(),
        files.clone(),
        tftp::Limits::default(),
    )
    .map_err(|error| taken("TFTP", TFTP_PORT, error))?;
    let http = http.run(opener.clone(), stopping.clone());
    let tftp = tftp.run(opener, stopping.clone());
    tasks.spawn(async move { ended("HTTP", http.await) });
    tasks.spawn(async move { ended("TFTP", tftp.await) });
    Ok(())
}

const TFTP_PORT: u16 = 69;

async fn serve_dhcp(
    sockets: dhcp::Sockets,
    modes: Vec<watch::Receiver<Mode>>,
    keeper: Keeper,
    stopping: watch::Receiver<bool>,
) {
    let tables = keeper.tables();
    tokio::select! {
        result = dhcp::run(sockets, modes, tables, Arc::new(keeper)) => ended("DHCP", result),
        () = stopped(stopping) => {}
    }
}

fn ended(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what} ended");
    }
}

async fn follow(
    reconciler: Arc<Reconciler>,
    queue: mpsc::Receiver<source::Update>,
    stopping: watch::Receiver<bool>,
) {
    tokio::select! {
        () = reconciler.run(queue) => {}
        () = stopped(stopping) => {}
    }
}

/// Random bytes for a new state directory, from the kernel.
fn random() -> [u8; 48] {
    let mut bytes = [0; 48];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("/dev/urandom can be read on every Linux");
    bytes
}

/// The first lines say who listens where.
fn announce(config: &Config, keeper: &Keeper) {
    let on: Vec<String> =
        config.networks().map(|one| format!("{} ({})", one.interface, one.address)).collect();
    println!("voldemort {} on {}", env!("CARGO_PKG_VERSION"), on.join(", "));
    let server = keeper.table().server.clone();
    for network in config.networks() {
        let (address, interface) = (network.address, &network.interface);
        match config.mode(network) {
            Mode::Off => println!("DHCP off on {interface}"),
            mode => println!("DHCP {address}:67 on {interface} ({mode})"),
        }
        println!("TFTP {address}:{TFTP_PORT}");
        println!("HTTP {address}:{} ({})", config.http.port, server.url_at(address));
    }
    println!("API  {}", config.api.listen);
    println!("inventory {}", location(config));
    for loader in loaders::missing(&keeper.table().server.loaders) {
        println!("no {} found: install the package {}", loader.name, loader.package);
    }
}

fn reconciler(config: &Config, keeper: &Keeper, control: Option<Vec<u8>>) -> Reconciler {
    let mut media = config.media.paths.clone();
    media.push(config.state.directory.join("media"));
    let shelf = Shelf::new(media, Some(config.state.directory.join("digests")));
    let subnets = config.networks().filter_map(|network| network.subnet.as_ref());
    let fallback = subnets.enumerate().map(|(at, subnet)| Arc::new(fallback(at, subnet))).collect();
    let identity = config.secrets.identity.clone();
    let follow = Follow {
        location: location(config),
        environment: config.environment.clone(),
        manual: config.reconcile == Reconcile::Manual,
        state: config.state.directory.clone(),
        control,
    };
    Reconciler::new(keeper.clone(), shelf, fallback, identity, follow)
}

fn location(config: &Config) -> String {
    match &config.environment {
        Some(name) => format!("{} (environment {name})", config.inventory),
        None => config.inventory.to_string(),
    }
}

/// What looks for other servers on each network. Each keeps the keeper alive.
fn watches(config: &Config, interfaces: &[Interface], keeper: &Keeper) -> Vec<Watch> {
    let watch = |(network, interface): (&Network, &Interface)| {
        let keeper = keeper.clone();
        let mode = watch::Sender::new(config.mode(network));
        let note = Arc::new(move |event| keeper.note(event));
        Watch { interface: interface.clone(), mode, note }
    };
    std::iter::zip(config.networks(), interfaces).map(watch).collect()
}

fn named(interfaces: &[Interface], modes: &[watch::Receiver<Mode>]) -> Vec<(String, watch::Receiver<Mode>)> {
    let names = interfaces.iter().map(|interface| interface.name.clone());
    names.zip(modes.iter().cloned()).collect()
}

/// The mode that needs the most ports.
fn most(config: &Config) -> Mode {
    let has = |wanted: Mode| config.networks().any(|network| config.mode(network) == wanted);
    [Mode::Server, Mode::Proxy, Mode::Listen].into_iter().find(|mode| has(*mode)).unwrap_or(Mode::Off)
}

/// A network of the settings file, for inventories that declare none.
fn fallback(at: usize, subnet: &crate::config::Subnet) -> Subnet {
    let name = if at == 0 { "network".to_owned() } else { format!("network-{}", at + 1) };
    let name: Name = name.parse().expect("this is a name");
    let crate::config::Subnet { cidr, gateway, dns, dynamic, domain } = subnet;
    Subnet {
        segment: name.clone(),
        name,
        cidr: *cidr,
        gateway: *gateway,
        dns: dns.clone(),
        domain: domain.clone(),
        dynamic: dynamic.iter().copied().collect(),
        lease: LEASE,
        options: Default::default(),
        ipv6: None,
        origin: Origin { file: "(the daemon's settings)".into(), line: 1, column: 1 },
    }
}

/// Until the first revision was tried, nobody can be told who is known.
async fn first_revision(mut status: watch::Receiver<SourceStatus>) {
    let _ = status.wait_for(|status| status.condition != "Loading").await;
}

/// Maintenance windows open and close while nothing else happens.
async fn keep_time(keeper: Keeper, stopping: watch::Receiver<bool>) {
    let mut clock = tokio::time::interval(CLOCK);
    let tick = async {
        loop {
            clock.tick().await;
            keeper.tick();
        }
    };
    tokio::select! {
        () = tick => {}
        () = stopped(stopping) => {}
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Says that all is ready. Ends with SIGTERM or SIGINT; SIGHUP has the source read again.
async fn wait(source: &Handle) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Not before: a signal that nobody waits for ends the daemon.
    println!("ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => source.poke(),
        }
    }
}

/// The daemon as the control API sees it.
#[derive(Clone)]
struct Daemon {
    keeper: Keeper,
    reconciler: Arc<Reconciler>,
    /// What we are, by interface.
    modes: Vec<(String, watch::Receiver<Mode>)>,
}

impl Daemon {
    /// `server`, or with several networks `eth0: server, eth1: proxy`.
    fn mode(&self) -> String {
        match self.modes.as_slice() {
            [(_, mode)] => mode.borrow().to_string(),
            modes => {
                let named = modes.iter().map(|(name, mode)| format!("{name}: {}", *mode.borrow()));
                named.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl Backend for Daemon {
    fn table(&self) -> Arc<Table> {
        self.keeper.table()
    }

    fn now(&self) -> Time {
        now()
    }

    fn status(&self) -> Status {
        let table = self.keeper.table();
        let (waiting, in_flight) = table.waves();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            lineage: table.lineage.to_string(),
            serial: table.serial,
            server: table.server.url(),
            mode: self.mode(),
            deployments: table.desired.deployments.len(),
            machines: table.desired.machines.len(),
            waiting,
            in_flight,
            source: self.reconciler.status().borrow().clone(),
        }
    }

    fn events(&self, after: u64, mac: Option<Mac>, limit: usize) -> Vec<(u64, Event)> {
        self.keeper.events(after, mac, limit)
    }

    fn counts(&self) -> Counts {
        let tally = self.keeper.tally();
        let modes = self.modes.iter().map(|(name, mode)| (name.clone(), mode.borrow().to_string()));
        Counts {
            events: tally.events(),
            silences: tally.silences(),
            events_lost: tally.events_lost(),
            modes: modes.collect(),
            source_ready: self.reconciler.status().borrow().condition == "Ready",
        }
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.keeper.latest()
    }

    async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        self.reconciler.plan(tree).await
    }

    async fn apply(&self, request: Apply) -> Result<Outcome, String> {
        self.reconciler.apply(request).await
    }

    fn ticket(&self, tree: Tree) -> Ticket {
        self.reconciler.ticket(&tree)
    }

    async fn order(&self, order: Order) -> Result<Outcome, String> {
        self.reconciler.order(order).await
    }

    async fn plans(&self) -> Vec<WaitingPlan> {
        let reconciler = self.reconciler.clone();
        tokio::task::spawn_blocking(move || reconciler.plans()).await.unwrap_or_default()
    }

    fn revisions(&self) -> Vec<String> {
        self.reconciler.revisions()
    }
}
