//! From settings to a serving daemon, and back down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::backend::Daemon;
use super::control::Control;
use super::downloads::{Downloads, TFTP_PORT};
use super::hooks::Hooks;
use super::keeper::Keeper;
use super::limits::raise_open_files;
use super::link::Interface;
use super::neighbours::{self, Watch};
use super::reconcile::{Follow, Followed, Reconciler};
use super::signals::Signals;
use super::{dhcp, firmware, host, ipv6, log, power};
use crate::api::router;
use crate::api::types::SourceStatus;
use crate::config::{self, Config, Network, Reconcile, Tls};
use crate::desired::Subnet;
use crate::media::{Shelf, loaders};
use crate::model::{Inventory, Mode, Name, Origin, Span};
use crate::power::Trust;
use crate::source::{self, SourceConfig};
use crate::store::Store;
use crate::table::Server;

/// How long transfers may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long threads that still read files have afterwards.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// How often maintenance windows are looked at.
const CLOCK: Duration = Duration::from_secs(5);
/// Time between two sweeps of the state directory.
const SWEEP: Duration = Duration::from_secs(24 * 3600);
/// Length of leases on the network of the settings file.
const LEASE: Span = Span::seconds(3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Failure> {
    log::start();
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // A thread that waits for a file server which does not answer is not waited for.
    runtime.shutdown_timeout(LEFT_OVER);
    log::flush();
    outcome
}

async fn serve(config: Config) -> Result<(), Failure> {
    let find = |network: &Network| Interface::find(&network.interface, Some(network.address));
    let interfaces = config.networks().map(find).collect::<Result<Vec<_>, _>>()?;
    let (store, mut saved) = Store::open(&config.state.directory, random)?;
    let (kept, control) = (saved.kept.take(), saved.notes.remove("control"));
    let (keeper, thread) = Keeper::spawn(store, saved, server(&config, &interfaces));
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(host::follow(keeper.clone(), stopping.clone()));
    let watches = watches(&config, &interfaces, &keeper);
    let modes: Vec<watch::Receiver<Mode>> = watches.iter().map(|watch| watch.mode.subscribe()).collect();
    let reconciler = Arc::new(reconciler(&config, &keeper, control));
    let hooks = Arc::new(OnceLock::new());
    let daemon = Daemon {
        keeper: keeper.clone(),
        reconciler: reconciler.clone(),
        modes: named(&interfaces, &modes),
        others: named(&interfaces, &watches.iter().map(|watch| watch.others.subscribe()).collect::<Vec<_>>()),
        hooks: hooks.clone(),
    };
    let control = Control::open(&config.api, random())?;
    let listens = control.lines();
    control.serve(router(daemon), &stopping, &mut tasks);
    let downloads = Downloads::new(&config, &keeper)?;
    for network in config.networks() {
        downloads.serve(network.address.into(), &stopping, &mut tasks)?;
    }
    let answering = Answering::open(&config, downloads, &keeper, interfaces, watches, modes)?;
    announce(&config, &keeper, &listens);

    if let Some(kept) = kept {
        reconciler.restore(kept).await;
    }
    let (updates, queue) = mpsc::channel(1);
    let sources = hooks.get_or_init(|| follow_all(&config, &updates)).clone();
    drop(updates);
    tasks.spawn(follow(reconciler.clone(), queue, stopping.clone()));
    tasks.spawn(sweep(config.clone(), reconciler.clone(), stopping.clone()));
    tasks.spawn(keep_time(keeper.clone(), stopping.clone()));
    tasks.spawn(firmware::follow(keeper.clone(), config.firmware.paths.clone(), stopping.clone()));
    tasks.spawn(power::watch(keeper.clone(), Trust::of_host(), power::Pace::default(), stopping.clone()));
    if let Some(answering) = answering {
        answering.start(reconciler.statuses(), &stopping, &mut tasks).await;
    }
    // Before anybody is told to send one.
    let mut signals = Signals::listen()?;
    log::say("ready");

    signals.wait(&sources).await;
    stop.send_replace(true);
    tracing::info!("stopping: transfers under way have {} s", DRAIN.as_secs());
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some transfers did not end in time");
        tasks.shutdown().await;
    }
    drop((keeper, reconciler, sources, hooks));
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(())
}

fn server(config: &Config, interfaces: &[Interface]) -> Server {
    Server {
        address: interfaces[0].address,
        others: interfaces[1..].iter().map(|one| (one.cidr, one.address)).collect(),
        http_port: config.http.port,
        gives_addresses: config.networks().all(|network| config.mode(network) == Mode::Server),
        loaders: loaders::find(&config.firmware.paths),
    }
}

/// What answers machines that ask where to boot from; its ports are open and nobody is answered yet.
struct Answering {
    sockets: dhcp::Sockets,
    six: ipv6::Six,
    watches: Vec<Watch>,
    modes: Vec<watch::Receiver<Mode>>,
    keeper: Keeper,
}

impl Answering {
    /// Nothing where DHCP is off on every network.
    fn open(
        config: &Config,
        downloads: Downloads,
        keeper: &Keeper,
        interfaces: Vec<Interface>,
        watches: Vec<Watch>,
        modes: Vec<watch::Receiver<Mode>>,
    ) -> Result<Option<Answering>, Failure> {
        let most = most(config);
        if most == Mode::Off {
            return Ok(None);
        }
        let six = ipv6::Six {
            keeper: keeper.clone(),
            downloads,
            networks: std::iter::zip(interfaces.iter().cloned(), modes.iter().cloned()).collect(),
        };
        let sockets = dhcp::Sockets::open(interfaces, most)?;
        Ok(Some(Answering { sockets, six, watches, modes, keeper: keeper.clone() }))
    }

    /// Begins to answer, after a look for other servers and when the first revision was tried.
    async fn start(
        self,
        statuses: watch::Receiver<BTreeMap<Name, SourceStatus>>,
        stopping: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let Answering { sockets, six, watches, modes, keeper } = self;
        for watch in &watches {
            watch.before_serving().await;
        }
        first_revision(statuses).await;
        tasks.spawn(six.run(stopping.clone()));
        tasks.spawn(serve_dhcp(sockets, modes, keeper, stopping.clone()));
        for watch in watches {
            let stopping = stopping.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = watch.keep(neighbours::LOOK, neighbours::PERIOD) => {}
                    () = stopped(stopping) => {}
                }
            });
        }
    }
}

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

/// Removes once a day what no source needs any more of the state directory.
async fn sweep(config: Config, reconciler: Arc<Reconciler>, stopping: watch::Receiver<bool>) {
    let state = config.state.directory;
    let repositories = config.sources.iter().filter_map(|source| match &source.inventory {
        Inventory::Git(git) => Some(source::git::mirror_of(git, &state)),
        Inventory::Directory(_) | Inventory::Own => None,
    });
    let mirrors: Vec<PathBuf> = repositories.collect();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stopped(stopping.clone()) => return,
        }
        let mut used = reconciler.copies();
        used.extend(mirrors.iter().cloned());
        let place = source::git::place(&state);
        let _ = tokio::task::spawn_blocking(move || source::git::sweep(&place, &used)).await;
    }
}

/// Where a source is read from.
fn place(config: &Config, source: &config::Source) -> SourceConfig {
    SourceConfig {
        inventory: source.inventory.clone(),
        poll: source.poll,
        state: config.state.directory.clone(),
        fetcher: Default::default(),
    }
}

/// Starts to follow every source; each update comes with its source's name.
fn follow_all(config: &Config, updates: &mpsc::Sender<(Name, source::Update)>) -> Hooks {
    let mut handles = BTreeMap::new();
    for source in &config.sources {
        let (out, mut found) = mpsc::channel(1);
        let handle = source::spawn(place(config, source), out);
        handles.insert(source.name.clone(), (handle, source.webhook.clone()));
        let (name, updates) = (source.name.clone(), updates.clone());
        tokio::spawn(async move {
            while let Some(update) = found.recv().await {
                if updates.send((name.clone(), update)).await.is_err() {
                    return;
                }
            }
        });
    }
    Hooks::new(handles)
}

async fn follow(
    reconciler: Arc<Reconciler>,
    queue: mpsc::Receiver<(Name, source::Update)>,
    stopping: watch::Receiver<bool>,
) {
    tokio::select! {
        () = reconciler.run(queue) => {}
        () = stopped(stopping) => {}
    }
}

/// Random bytes from the kernel.
fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("/dev/urandom can be read on every Linux");
    bytes
}

/// The first lines say who listens where.
fn announce(config: &Config, keeper: &Keeper, listens: &[String]) {
    let on: Vec<String> =
        config.networks().map(|one| format!("{} ({})", one.interface, one.address)).collect();
    log::say(format!("voldemort {} on {}", env!("CARGO_PKG_VERSION"), on.join(", ")));
    let server = keeper.table().server.clone();
    for network in config.networks() {
        let (address, interface) = (network.address, &network.interface);
        match config.mode(network) {
            Mode::Off => log::say(format!("DHCP off on {interface}")),
            mode => log::say(format!("DHCP {address}:67 on {interface} ({mode})")),
        }
        log::say(format!("TFTP {address}:{TFTP_PORT}"));
        log::say(format!("HTTP {address}:{} ({})", config.http.port, server.url_at(address)));
        if let Some(Tls { port, given }) = &config.http.tls {
            let root = given.is_none().then(|| format!(" (trust {}/ca.pem)", server.url_at(address)));
            log::say(format!("HTTPS {address}:{port}{}", root.unwrap_or_default()));
        }
    }
    listens.iter().for_each(|line| log::say(&**line));
    for source in &config.sources {
        match config.sources.len() {
            1 => log::say(format!("inventory {}", location(config, source))),
            _ => log::say(format!("inventory {}: {}", source.name, location(config, source))),
        }
    }
    for loader in loaders::missing(&keeper.table().server.loaders) {
        log::say(format!("no {} found: install the package {}", loader.name, loader.package));
    }
}

fn reconciler(config: &Config, keeper: &Keeper, control: Option<Vec<u8>>) -> Reconciler {
    let mut media = config.media.paths.clone();
    media.push(config.state.directory.join("media"));
    let shelf = Shelf::new(media, Some(config.state.directory.join("digests")));
    let subnets = config.networks().filter_map(|network| network.subnet.as_ref());
    let fallback = subnets.enumerate().map(|(at, subnet)| Arc::new(fallback(at, subnet))).collect();
    let identity = config.secrets.identity.clone();
    let followed = |source: &config::Source| {
        let location = location(config, source);
        let manual = source.reconcile == Reconcile::Manual;
        let writes = source.writes();
        (source.name.clone(), Followed { location, manual, place: place(config, source), writes })
    };
    let follow = Follow {
        sources: config.sources.iter().map(followed).collect(),
        environment: config.environment.clone(),
        state: config.state.directory.clone(),
        control,
    };
    Reconciler::new(keeper.clone(), shelf, fallback, identity, follow)
}

fn location(config: &Config, source: &config::Source) -> String {
    match &config.environment {
        Some(name) => format!("{} (environment {name})", source.inventory),
        None => source.inventory.to_string(),
    }
}

/// What looks for other servers on each network. Each keeps the keeper alive.
fn watches(config: &Config, interfaces: &[Interface], keeper: &Keeper) -> Vec<Watch> {
    let hint = keeper.tally().rivals();
    let watch = |(network, interface): (&Network, &Interface)| {
        let keeper = keeper.clone();
        let mode = watch::Sender::new(config.mode(network));
        let note = Arc::new(move |event| keeper.note(event));
        let (others, hint) = (watch::Sender::default(), hint.clone());
        Watch { interface: interface.clone(), mode, others, hint, note }
    };
    std::iter::zip(config.networks(), interfaces).map(watch).collect()
}

fn named<T>(interfaces: &[Interface], ofs: &[watch::Receiver<T>]) -> Vec<(String, watch::Receiver<T>)> {
    let names = interfaces.iter().map(|interface| interface.name.clone());
    names.zip(ofs.iter().cloned()).collect()
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
        cidr: Some(*cidr),
        gateway: *gateway,
        dns: dns.clone(),
        domain: domain.clone(),
        dynamic: dynamic.iter().copied().collect(),
        lease: LEASE,
        options: Default::default(),
        mode: Mode::Server,
        ipv6: None,
        origin: Origin { file: "(the daemon's settings)".into(), line: 1, column: 1 },
    }
}

/// Until the first revision was tried, nobody can be told who is known.
async fn first_revision(mut statuses: watch::Receiver<BTreeMap<Name, SourceStatus>>) {
    let tried = |statuses: &BTreeMap<Name, SourceStatus>| {
        statuses.values().all(|status| status.condition != "Loading")
    };
    let _ = statuses.wait_for(tried).await;
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
