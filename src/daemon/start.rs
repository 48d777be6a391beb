//! From settings to a serving daemon, and back down.

use std::io::IsTerminal;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use super::files::Files;
use super::keeper::Keeper;
use super::limits::raise_open_files;
use super::link::Interface;
use super::reconcile::{Follow, Reconciler};
use super::{dhcp, http, now, probe, tftp};
use crate::api::types::{Adopt, Apply, EditRequest, Edited, Outcome, SourceStatus, Status, Tree};
use crate::api::{Backend, router};
use crate::config::{Config, Listen};
use crate::desired::Subnet;
use crate::media::{Shelf, loaders};
use crate::model::{Mac, Mode, Origin, Span, Time};
use crate::source::{self, Handle, SourceConfig};
use crate::store::Store;
use crate::table::{self, Event, Report, Server, Stage, Table};

/// How long transfers may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the look for other DHCP servers delays the first answer. A machine waits 3 s for it.
const FIRST_LOOK: Duration = Duration::from_millis(400);
/// How long it goes on beside serving: dnsmasq pings for 3 s before it offers.
const SECOND_LOOK: Duration = Duration::from_secs(5);
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
    let interface = Interface::find(&config.network.interface, Some(config.network.address))?;
    let (store, mut saved) = Store::open(&config.state.directory, random)?;
    let kept = saved.kept.take();
    let server = Server {
        address: interface.address,
        http_port: config.http.port,
        gives_addresses: config.dhcp.mode == Mode::Server,
        loaders: loaders::find(&config.firmware.paths),
    };
    let (keeper, thread) = Keeper::spawn(store, saved, server);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let (mode, modes) = watch::channel(config.dhcp.mode);
    let followed = SourceConfig {
        inventory: config.inventory.clone(),
        state: config.state.directory.clone(),
        fetcher: Default::default(),
    };
    let reconciler = Arc::new(reconciler(&config, &keeper, followed.clone()));
    let daemon = Daemon { keeper: keeper.clone(), reconciler: reconciler.clone(), mode: modes.clone() };
    serve_api(&config.api.listen, daemon, stopping.clone(), &mut tasks).await?;
    serve_files(&config, &keeper, &stopping, &mut tasks)?;
    let sockets = match config.dhcp.mode {
        Mode::Off => None,
        mode => Some(dhcp::Sockets::open(interface.clone(), mode)?),
    };
    announce(&config, &keeper);

    if let Some(kept) = kept {
        reconciler.restore(kept).await;
    }
    let (updates, queue) = mpsc::channel(1);
    let source = source::spawn(followed, updates);
    tasks.spawn(follow(reconciler.clone(), queue, stopping.clone()));
    if let Some(sockets) = sockets {
        look_around(&interface, &keeper, &mode, FIRST_LOOK).await;
        first_revision(reconciler.status()).await;
        tasks.spawn(serve_dhcp(sockets, modes, keeper.clone(), stopping.clone()));
        tasks.spawn(keep_looking(interface, keeper.clone(), mode, stopping.clone()));
    }
    let signals = Signals::listen()?;
    println!("ready");

    signals.wait(&source).await;
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
    keeper: &Keeper,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let (address, files, opener) = (config.network.address, Files::new(), Arc::new(keeper.clone()));
    let taken = |what: &str, port: u16, error: std::io::Error| -> Failure {
        format!("{what} can't listen on {address}:{port}: {error}").into()
    };
    let port = config.http.port;
    let http = http::Server::bind(SocketAddrV4::new(address, port), files.clone(), http::Limits::default())
        .map_err(|error| taken("HTTP", port, error))?;
    let tftp = tftp::Server::bind(SocketAddrV4::new(address, TFTP_PORT), files, tftp::Limits::default())
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
    modes: watch::Receiver<Mode>,
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
    let (address, interface) = (config.network.address, &config.network.interface);
    println!("voldemort {} on {interface} ({address})", env!("CARGO_PKG_VERSION"));
    match config.dhcp.mode {
        Mode::Off => println!("DHCP off"),
        mode => println!("DHCP {address}:67 on {interface} ({mode})"),
    }
    println!("TFTP {address}:{TFTP_PORT}");
    println!("HTTP {address}:{} ({})", config.http.port, keeper.table().server.url());
    println!("API  {}", config.api.listen);
    println!("inventory {}", location(config));
    for loader in loaders::missing(&keeper.table().server.loaders) {
        println!("no {} found: install the package {}", loader.name, loader.package);
    }
}

fn reconciler(config: &Config, keeper: &Keeper, source: SourceConfig) -> Reconciler {
    let mut media = config.media.paths.clone();
    media.push(config.state.directory.join("media"));
    let shelf = Shelf::new(media, Some(config.state.directory.join("digests")));
    let fallback = config.network.subnet.as_ref().map(|subnet| Arc::new(fallback(subnet)));
    let identity = config.secrets.identity.clone();
    let follow = Follow {
        location: location(config),
        environment: config.environment.clone(),
        source,
        writes: config.write(),
    };
    Reconciler::new(keeper.clone(), shelf, fallback, identity, follow)
}

fn location(config: &Config) -> String {
    match &config.environment {
        Some(name) => format!("{} (environment {name})", config.inventory),
        None => config.inventory.to_string(),
    }
}

/// The network of the settings file, for inventories that declare none.
fn fallback(subnet: &crate::config::Subnet) -> Subnet {
    let crate::config::Subnet { cidr, gateway, dns, dynamic, domain } = subnet;
    Subnet {
        name: "network".parse().expect("this is a name"),
        cidr: *cidr,
        gateway: *gateway,
        dns: dns.clone(),
        domain: domain.clone(),
        dynamic: dynamic.iter().copied().collect(),
        lease: LEASE,
        origin: Origin { file: "(the daemon's settings)".into(), line: 1, column: 1 },
    }
}

/// A LAN is not ours until said so: where another DHCP server answers, only listen.
async fn look_around(interface: &Interface, keeper: &Keeper, mode: &watch::Sender<Mode>, wait: Duration) {
    if *mode.borrow() != Mode::Server {
        return;
    }
    match probe::probe(interface, wait).await {
        Ok(foreign) if foreign.is_empty() => {}
        Ok(foreign) => {
            let servers: Vec<String> = foreign.iter().map(|one| one.server.to_string()).collect();
            let text = format!(
                "another DHCP server ({}) answers on {}: from now on only listening; \
                 set [dhcp] mode = \"proxy\" to work beside it",
                servers.join(", "),
                interface.name
            );
            println!("{text}");
            tracing::warn!("{text}");
            keeper.note(Event::new(now(), Stage::Daemon, text));
            mode.send_replace(Mode::Listen);
        }
        Err(error) => tracing::warn!("{error}"),
    }
}

/// Slow servers are heard while we serve already.
async fn keep_looking(
    interface: Interface,
    keeper: Keeper,
    mode: watch::Sender<Mode>,
    stopping: watch::Receiver<bool>,
) {
    look_around(&interface, &keeper, &mode, SECOND_LOOK).await;
    stopped(stopping).await;
}

/// Until the first revision was tried, nobody can be told who is known.
async fn first_revision(mut status: watch::Receiver<SourceStatus>) {
    let _ = status.wait_for(|status| status.condition != "Loading").await;
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What the operator may send. Listened for before the word `ready`: until then SIGHUP kills.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Ends with SIGTERM or SIGINT; SIGHUP has the source read again.
    async fn wait(mut self, source: &Handle) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => source.poke(),
            }
        }
    }
}

/// The daemon as the control API sees it.
#[derive(Clone)]
struct Daemon {
    keeper: Keeper,
    reconciler: Arc<Reconciler>,
    mode: watch::Receiver<Mode>,
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
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            lineage: table.lineage.to_string(),
            serial: table.serial,
            server: table.server.url(),
            mode: self.mode.borrow().to_string(),
            deployments: table.desired.deployments.len(),
            machines: table.desired.machines.len(),
            source: self.reconciler.status().borrow().clone(),
        }
    }

    fn events(&self, after: u64, mac: Option<Mac>, limit: usize) -> Vec<(u64, Event)> {
        self.keeper.events(after, mac, limit)
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

    async fn edit(&self, request: EditRequest) -> Result<Edited, String> {
        self.reconciler.edit(request).await
    }

    async fn adopt(&self, request: Adopt) -> Result<(), String> {
        let table = self.keeper.table();
        let found = table.desired.deployments.get(request.deployment.as_str());
        let deployment = found.ok_or_else(|| format!("there is no deployment {}", request.deployment))?;
        let reason = request.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let report = Report {
            deployment: deployment.name.clone(),
            redeploy: deployment.redeploy,
            outcome: table::Outcome::Completed,
            note: format!("adopted by hand as installed{reason}"),
        };
        self.keeper.report(report).await.map_err(|error| error.to_string())
    }
}
