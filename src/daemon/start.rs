//! From settings to a serving daemon, and back down.

mod answering;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::backend::Daemon;
use super::control::Control;
use super::dhcp::Pulse;
use super::downloads::{Downloads, TFTP_PORT};
use super::hooks::Hooks;
use super::keeper::Keeper;
use super::limits::{keep_memory_private, raise_open_files};
use super::link::{self, Follower};
use super::neighbours::Watch;
use super::reconcile::{Follow, Followed, POSTED, Reconciler};
use super::service::{Board, Part, Row, outage, supervise};
use super::signals::{self, Orders};
use super::underway::Underway;
use super::{Stop, firmware, host, log, manager, posted, power, service, stopped};
use crate::api::router;
use crate::config::{self, Config, Network, Reconcile, Tls};
use crate::desired::Subnet;
use crate::media::{Shelf, loaders};
use crate::model::{Cidr, Inventory, Mode, Name, Origin, Span};
use crate::power::Trust;
use crate::source::{self, SourceConfig};
use crate::store::{Accept, Store};
use crate::table::Server;
use answering::Answering;

/// How long transfers may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long everything else may take to end after that.
const END: Duration = Duration::from_secs(1);
/// The time after SIGTERM at which the process ends whatever hangs.
const LAST_RESORT: Duration = Duration::from_secs(15);
/// How long a service's thread may take for a round before the watchdog is not fed.
const ROUND: Duration = Duration::from_secs(2);
/// How often maintenance windows are looked at.
const CLOCK: Duration = Duration::from_secs(5);
/// Time between two sweeps of the state directory.
const SWEEP: Duration = Duration::from_secs(24 * 3600);
/// Length of leases on the network of the settings file.
const LEASE: Span = Span::seconds(3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT, or until nothing can be served any more, which is an error.
pub fn run(config: Config, accept: Accept) -> Result<(), Failure> {
    // Before there is another thread: each inherits it.
    signals::hold()?;
    log::start();
    if let Err(error) = keep_memory_private() {
        tracing::warn!(%error, "a crash may leave a memory image with secrets in it");
    }
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let orders = signals::listen(LAST_RESORT)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config, accept, orders));
    // What still runs may hang in the file system; nothing of it is waited for.
    runtime.shutdown_background();
    log::flush();
    outcome
}

async fn serve(config: Config, accept: Accept, mut orders: watch::Receiver<Orders>) -> Result<(), Failure> {
    let wanted = config.networks().map(|network| (network.interface.clone(), network.address));
    let follower = Arc::new(Follower::new(wanted));
    let (store, mut saved) = Store::open_accepting(&config.state.directory, random, accept)?;
    saved.new_site = config.state.new_site;
    if saved.new_site && saved.serial > 0 {
        tracing::warn!(
            "--new-site changes nothing: this state directory is in use already; leave the flag out, or a \
             directory that is lost one day is taken for a new site"
        );
    }
    let (kept, control) = (saved.kept.take(), saved.notes.remove("control"));
    let (keeper, thread) = Keeper::spawn(store, saved, server(&config, &follower));
    let noting = keeper.clone();
    let board = Board::new(move |event| noting.note(event));
    let (draining, drain) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let watches = watches(&config, &follower, &keeper);
    let reconciler = Arc::new(reconciler(&config, &keeper, control));
    let hooks = Arc::new(OnceLock::new());
    let daemon = Daemon {
        keeper: keeper.clone(),
        reconciler: reconciler.clone(),
        watches: watches.clone(),
        hooks: hooks.clone(),
        board: board.clone(),
    };
    let control = Control::open(&config.api, random())?;
    let listens = control.lines();
    let api = board.row("api", Part::Daemon);
    control.serve(router(daemon), &stopping, &mut tasks);
    api.serving();
    let underway = Underway::default();
    let downloads = Arc::new(Downloads::new(&config, &keeper, underway.clone(), drain)?);
    for network in follower.networks() {
        let opened = Some(downloads.open(network.address.into())?);
        let address = network.address.into();
        downloads.clone().serve(address, opened, Some(network), &stopping, &board, &mut tasks);
    }
    let answering = Answering::open(&config, downloads, &keeper, watches, follower.stirred(), &board)?;
    let pulse = answering.as_ref().map(Answering::pulse);
    announce(&config, &keeper, &listens);
    let mut helpers = Helpers { board: &board, stop: &stopping, tasks: &mut tasks };
    helpers.interfaces(&follower, &keeper);

    if let Some(kept) = kept {
        reconciler.restore(kept).await;
    }
    let (updates, queue) = mpsc::channel(1);
    let (lost, mut lost_source) = mpsc::channel(1);
    let sources = hooks.get_or_init(|| follow_all(&config, &updates, &lost)).clone();
    helpers.sources(&reconciler, queue);
    helpers.power(&keeper);
    helpers.clock(&keeper);
    helpers.host(&keeper);
    helpers.firmware(&keeper, &config.firmware.paths);
    tasks.spawn(until(stopping.clone(), sweep(config.clone(), reconciler.clone())));
    let failure = {
        let begin = async {
            if let Some(answering) = answering {
                answering.start(reconciler.statuses(), &stopping, &mut tasks).await;
            }
        };
        let fatal = async {
            tokio::select! {
                () = keeper.ended() => "the keeper of the state ended: see the log".to_owned(),
                why = outage(board.clone(), service::PATIENCE) => why,
                Some(name) = lost_source.recv() => format!("the source {name} is not followed any more"),
            }
        };
        tokio::select! {
            () = stop_ordered(&mut orders, &sources) => None,
            why = fatal => Some(why),
            () = attend(begin, &board, &keeper, pulse) => None,
        }
    };
    draining.send_replace(true);
    manager::stopping(LAST_RESORT);
    if failure.is_none() {
        drain_transfers(&underway).await;
    }
    stop.send_replace(true);
    close(tasks, &keeper, thread).await;
    match failure {
        Some(why) => Err(format!("it ends because {why}").into()),
        None => Ok(()),
    }
}

/// Begins to answer, and keeps the host's service manager informed meanwhile and afterwards: a first
/// revision that hangs hinders nothing else. Never ends.
async fn attend(begin: impl Future<Output = ()>, board: &Board, keeper: &Keeper, pulse: Option<Pulse>) {
    let ready = async {
        begin.await;
        log::say("ready");
        manager::ready();
        std::future::pending::<()>().await
    };
    let alive = async || match &pulse {
        Some(pulse) => pulse.beats(ROUND).await,
        None => true,
    };
    tokio::select! {
        () = ready => {}
        () = manager::show(board.clone()) => {}
        () = manager::watchdog(keeper.clone(), alive) => {}
    }
}

/// Returns at the order to stop; at others the sources are read again.
async fn stop_ordered(orders: &mut watch::Receiver<Orders>, sources: &Hooks) {
    let mut reloads = 0;
    loop {
        let now = *orders.borrow_and_update();
        if now.stop {
            return;
        }
        if now.reloads != reloads {
            reloads = now.reloads;
            sources.poke_all();
        }
        if orders.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Ends everything that runs, and has the state stored. A job that hangs holds up neither.
async fn close(mut tasks: JoinSet<()>, keeper: &Keeper, thread: std::thread::JoinHandle<()>) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(END, ended).await.is_err() {
        tasks.abort_all();
    }
    let stored = async {
        keeper.close().await;
        tokio::task::spawn_blocking(move || thread.join()).await
    };
    if tokio::time::timeout(END * 3, stored).await.is_err() {
        tracing::warn!("the state directory does not take the last changes in time");
    }
}

/// Lets what is being fetched end.
async fn drain_transfers(underway: &Underway) {
    let count = underway.count();
    if count > 0 {
        tracing::info!("stopping: {count} transfers under way have {} s", DRAIN.as_secs());
    }
    if tokio::time::timeout(DRAIN, underway.none()).await.is_err() {
        tracing::warn!("{} transfers did not end in time and are cut off", underway.count());
    }
}

/// What runs beside the servers, each under supervision.
struct Helpers<'h> {
    board: &'h Board,
    stop: &'h Stop,
    tasks: &'h mut JoinSet<()>,
}

impl Helpers<'_> {
    fn add<A>(&mut self, name: &str, part: Part, attempt: impl Fn() -> A + Send + 'static)
    where
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        let rows: Arc<[Row]> = [self.board.row(name, part)].into();
        let row = rows.clone();
        let attempt = move || {
            row[0].serving();
            attempt()
        };
        self.tasks.spawn(until(self.stop.clone(), supervise(rows, attempt)));
    }

    /// Follows the interfaces, and has the table know the networks that we have addresses on.
    fn interfaces(&mut self, follower: &Arc<Follower>, keeper: &Keeper) {
        let (own, keeper) = (follower.clone(), keeper.clone());
        self.add("interfaces", Part::Daemon, move || {
            let (follower, keeper) = (own.clone(), keeper.clone());
            async move {
                let mut changes = JoinSet::new();
                for mut network in follower.networks().into_iter().skip(1) {
                    let (follower, keeper) = (follower.clone(), keeper.clone());
                    changes.spawn(async move {
                        loop {
                            network.changed().await;
                            keeper.networks(others(&follower)).await;
                        }
                    });
                }
                follower.run().await.map_err(|error| error.to_string())
            }
        });
    }

    /// Hands what the sources report to the reconciler.
    fn sources(&mut self, reconciler: &Arc<Reconciler>, queue: mpsc::Receiver<(Name, source::Update)>) {
        let (reconciler, queue) = (reconciler.clone(), Arc::new(tokio::sync::Mutex::new(queue)));
        self.add("sources", Part::Daemon, move || {
            let (reconciler, queue) = (reconciler.clone(), queue.clone());
            async move {
                let (out, updates) = mpsc::channel(1);
                let pass_on = async {
                    let mut queue = queue.lock().await;
                    while let Some(update) = queue.recv().await {
                        let _ = out.send(update).await;
                    }
                };
                tokio::select! {
                    () = reconciler.run(updates) => Err("the reconciler ended".to_owned()),
                    () = pass_on => Err("no source is followed any more".to_owned()),
                }
            }
        });
    }

    fn power(&mut self, keeper: &Keeper) {
        let (keeper, stop) = (keeper.clone(), self.stop.clone());
        self.add("power", Part::Daemon, move || {
            let (keeper, stop) = (keeper.clone(), stop.clone());
            async move {
                power::watch(keeper, Trust::of_host(), power::Pace::default(), stop).await;
                Ok(())
            }
        });
    }

    /// Follows the addresses of this host, which are given to nobody.
    fn host(&mut self, keeper: &Keeper) {
        let (keeper, stop) = (keeper.clone(), self.stop.clone());
        self.add("own-addresses", Part::Daemon, move || {
            let (keeper, stop) = (keeper.clone(), stop.clone());
            async move {
                host::follow(keeper, stop).await;
                Ok(())
            }
        });
    }

    /// Follows the boot programs in the directories of the settings.
    fn firmware(&mut self, keeper: &Keeper, paths: &[PathBuf]) {
        let (keeper, paths, stop) = (keeper.clone(), paths.to_owned(), self.stop.clone());
        self.add("boot-programs", Part::Daemon, move || {
            let (keeper, paths, stop) = (keeper.clone(), paths.clone(), stop.clone());
            async move {
                firmware::follow(keeper, paths, stop).await;
                Ok(())
            }
        });
    }

    fn clock(&mut self, keeper: &Keeper) {
        let keeper = keeper.clone();
        self.add("clock", Part::Daemon, move || {
            let keeper = keeper.clone();
            async move {
                keep_time(keeper).await;
                Ok(())
            }
        });
    }
}

fn server(config: &Config, follower: &Follower) -> Server {
    Server {
        address: config.network.address,
        others: others(follower),
        http_port: config.http.port,
        gives_addresses: config.networks().all(|network| config.mode(network) == Mode::Server),
        loaders: loaders::find(&config.firmware.paths),
    }
}

/// Our addresses on further networks. Of one that is not there only the address is known.
fn others(follower: &Follower) -> Vec<(Cidr, Ipv4Addr)> {
    let network = |network: link::Followed| {
        let cidr = network.now().map_or(Cidr::around(network.address, 32), |interface| interface.cidr);
        (cidr, network.address)
    };
    follower.networks().into_iter().skip(1).map(network).collect()
}

/// Removes once a day what no source needs any more of the state directory.
async fn sweep(config: Config, reconciler: Arc<Reconciler>) {
    let state = config.state.directory;
    let repositories = config.sources.iter().filter_map(|source| match &source.inventory {
        Inventory::Git(git) => Some(source::git::mirror_of(git, &state)),
        Inventory::Directory(_) | Inventory::Own => None,
    });
    let mirrors: Vec<PathBuf> = repositories.collect();
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut used = reconciler.copies();
        used.extend(mirrors.iter().cloned());
        let place = source::git::place(&state);
        let (posted, served) = (state.join(POSTED), reconciler.media());
        let work = move || {
            source::git::sweep(&place, &used);
            posted::sweep(&posted, &served);
        };
        let _ = tokio::task::spawn_blocking(work).await;
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

/// Starts to follow every source; each update comes with its source's name. The name of one that ended
/// goes to `lost`.
fn follow_all(
    config: &Config,
    updates: &mpsc::Sender<(Name, source::Update)>,
    lost: &mpsc::Sender<Name>,
) -> Hooks {
    let mut handles = BTreeMap::new();
    for source in &config.sources {
        let (out, mut found) = mpsc::channel(1);
        let handle = source::spawn(place(config, source), out);
        handles.insert(source.name.clone(), (handle, source.webhook.clone()));
        let (name, updates, lost) = (source.name.clone(), updates.clone(), lost.clone());
        tokio::spawn(async move {
            while let Some(update) = found.recv().await {
                if updates.send((name.clone(), update)).await.is_err() {
                    return;
                }
            }
            let _ = lost.send(name).await;
        });
    }
    Hooks::new(handles)
}

/// Random bytes from the kernel.
pub fn random<const LENGTH: usize>() -> [u8; LENGTH] {
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

/// What looks for other servers on each network.
fn watches(config: &Config, follower: &Follower, keeper: &Keeper) -> Vec<Arc<Watch>> {
    let hint = keeper.tally().rivals();
    let watch = |(settings, network): (&Network, link::Followed)| {
        let keeper = keeper.clone();
        let configured = config.mode(settings);
        let mode = watch::Sender::new(configured);
        let note = Arc::new(move |event| keeper.note(event));
        Arc::new(Watch {
            network,
            configured,
            mode,
            others: watch::Sender::default(),
            hint: hint.clone(),
            note,
        })
    };
    std::iter::zip(config.networks(), follower.networks()).map(watch).collect()
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

/// Maintenance windows open and close while nothing else happens.
async fn keep_time(keeper: Keeper) {
    let mut clock = tokio::time::interval(CLOCK);
    loop {
        clock.tick().await;
        keeper.tick();
    }
}

/// Runs until it is time to stop.
async fn until(mut stop: Stop, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped(&mut stop) => {}
    }
}
