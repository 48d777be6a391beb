//! What every service needs: the state and its keeper, the interfaces, the reconciler.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::active_requests::ActiveRequests;
use super::super::agent::Machines;
use super::super::audit::AuditLog;
use super::super::backend::{Daemon, Parts};
use super::super::control::Control;
use super::super::dhcp::Heartbeat;
use super::super::downloads::{Downloads, TFTP_PORT};
use super::super::fetch::{FETCHED, Web};
use super::super::hooks::Hooks;
use super::super::keeper::Keeper;
use super::super::limits::open_files;
use super::super::link::{self, Follower};
use super::super::other_servers::Watch;
use super::super::reconcile::{Follow, Followed, Reconciler};
use super::super::service::StatusBoard;
use super::super::syslog::Book;
use super::super::webhook::Webhooks;
use super::super::{Files, Stop, log};
use super::{Failure, place, random};
use crate::api::streams::Streams;
use crate::api::{self, router};
use crate::config::{self, Config, Network, Reconcile, Tls};
use crate::desired::Subnet;
use crate::media::{Programs, Shelf, loaders};
use crate::model::{Cidr, Mode, Name, Origin, Span, hex};
use crate::power::driver;
use crate::state::{Revision, Server};
use crate::store::audit::Audit;
use crate::store::{Accept, Store};

/// Length of leases on the network of the settings file.
const LEASE: Span = Span::seconds(3600);

/// The state, the interfaces and the reconciler, before anything is served.
pub(super) struct Base {
    pub config: Config,
    pub follower: Arc<Follower>,
    pub keeper: Keeper,
    pub board: StatusBoard,
    pub watches: Vec<Arc<Watch>>,
    pub reconciler: Arc<Reconciler>,
    pub hooks: Arc<OnceLock<Hooks>>,
    pub heartbeat: Heartbeat,
    pub audit: AuditLog,
    pub webhooks: Webhooks,
    /// What machines log.
    pub logs: Book,
    files: Files,
}

/// What only the start needs.
pub(super) struct Startup {
    /// What was served when the daemon stopped last.
    pub kept: Option<Revision>,
    pub thread: JoinHandle<()>,
}

impl Base {
    /// Opens the state and starts its keeper.
    pub(super) fn open(config: Config, accept: Accept) -> Result<(Base, Startup), Failure> {
        let wanted = config.networks().map(|network| (network.interface.clone(), network.address));
        let follower = Arc::new(Follower::new(wanted));
        let (store, mut saved) = Store::open_accepting(&config.state.directory, random, accept)?;
        saved.new_site = config.state.new_site;
        saved.pace.can_read = |kind| driver(kind).capabilities().read;
        if saved.new_site && saved.serial > 0 {
            tracing::warn!(
                "--new-site changes nothing: this state directory is in use already; leave the flag out, or a \
                 directory that is lost one day counts as a new site"
            );
        }
        let (kept, control) = (saved.kept.take(), saved.notes.remove("control"));
        let webhooks = Webhooks::open(&config.webhooks, &saved.notes)?;
        let (keeper, thread) = Keeper::spawn(store, saved, server(&config, &follower));
        if kept.is_some() {
            keeper.restores();
        }
        let audit = AuditLog::new(Audit::open(&config.state.directory), keeper.clone());
        audit.enter_cut();
        let noting = keeper.clone();
        let board = StatusBoard::new(move |event| noting.note(event));
        let watches = watches(&config, &follower, &keeper);
        let reconciler = Arc::new(reconciler(&config, &keeper, control));
        reconciler.audited_by(audit.clone());
        let (hooks, files) = (Arc::default(), Files::new());
        let heartbeat = Heartbeat::default();
        let base = Base {
            config,
            follower,
            keeper,
            board,
            watches,
            reconciler,
            hooks,
            heartbeat,
            audit,
            webhooks,
            logs: Book::new(&hex(&random::<8>())),
            files,
        };
        Ok((base, Startup { kept, thread }))
    }

    /// Serves the control API; returns the lines that say where.
    pub(super) fn control(&self, stop: &Stop, tasks: &mut JoinSet<()>) -> Result<Vec<String>, Failure> {
        let control = Control::open(&self.config.api, random(), &self.config.state.directory)?;
        let daemon = Daemon(Arc::new(Parts {
            certificate: control.certificate(),
            quotas: Arc::default(),
            keeper: self.keeper.clone(),
            reconciler: self.reconciler.clone(),
            watches: self.watches.clone(),
            hooks: self.hooks.clone(),
            board: self.board.clone(),
            files: self.files.clone(),
            heartbeat: self.heartbeat.clone(),
            token_uses: Arc::default(),
            audit: self.audit.clone(),
            webhooks: self.webhooks.clone(),
            logs: self.logs.clone(),
        }));
        let listens = control.lines();
        let audit = api::audit::Audit::new(Arc::new(self.audit.clone()));
        let streams = Streams::of_files(open_files());
        if streams.max() < api::streams::MAX {
            tracing::info!(
                "{} clients at most can watch events: the limit of open files is {} (LimitNOFILE, ulimit -n)",
                streams.max(),
                open_files()
            );
        }
        let judges = (audit, daemon.quotas.clone());
        control.serve(daemon.clone(), router(daemon, streams), judges, &self.board, stop, tasks);
        Ok(listens)
    }

    /// Serves files on every network.
    pub(super) fn downloads(
        &self,
        active_requests: &ActiveRequests,
        draining: Stop,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Downloads>, Failure> {
        let files = self.files.clone();
        let machines = Machines::new(self.keeper.clone(), self.logs.clone());
        let downloads = Downloads::new(&self.config, machines, files, active_requests.clone(), draining)?;
        let downloads = Arc::new(downloads);
        downloads.keep_certificate(&self.board, stop, tasks);
        for network in self.follower.networks() {
            let opened = Some(downloads.open(network.address.into())?);
            let address = network.address.into();
            downloads.clone().serve(address, opened, Some(network), stop, &self.board, tasks);
        }
        Ok(downloads)
    }

    /// The first lines say who listens where.
    pub(super) fn announce(&self, listens: &[String]) {
        let (config, keeper) = (&self.config, &self.keeper);
        let on: Vec<String> =
            config.networks().map(|one| format!("{} ({})", one.interface, one.address)).collect();
        log::say(format!("voldemort {} on {}", env!("CARGO_PKG_VERSION"), on.join(", ")));
        let server = keeper.state().server().clone();
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
        let lacking = loaders::missing(&keeper.state().server().loaders);
        for loader in lacking.iter().filter(|one| one.is_usual()).flat_map(|one| &one.programs) {
            log::say(format!("no {} found: install the package {}", loader.name, loader.package));
        }
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

/// The daemon's addresses on further networks. Of an interface that is not there only the address is known.
pub(super) fn others(follower: &Follower) -> Vec<(Cidr, Ipv4Addr)> {
    let network = |network: link::Followed| {
        let cidr = network.now().map_or(Cidr::around(network.address, 32), |interface| interface.cidr);
        (cidr, network.address)
    };
    follower.networks().into_iter().skip(1).map(network).collect()
}

fn reconciler(config: &Config, keeper: &Keeper, control: Option<Vec<u8>>) -> Reconciler {
    let mut media = config.media.paths.clone();
    report_missing(media.clone());
    media.push(config.state.directory.join("media"));
    let programs = Programs { named: config.firmware.agents.clone() };
    let shelf = Shelf::new(media, Some(config.state.directory.join("digests")))
        .making_agents(programs)
        .fetching(config.state.directory.join(FETCHED), Arc::new(Web));
    let fallback = fallback_networks(config);
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

/// Says which folders of media are not there. In a thread of its own: a file server that is away may take its time.
fn report_missing(folders: Vec<PathBuf>) {
    let report = move || {
        for folder in folders.iter().filter(|folder| !folder.is_dir()) {
            tracing::warn!(
                "[media] paths names {}, which is no folder here: nothing is found in it until it is one",
                folder.display()
            );
        }
    };
    if let Err(error) = crate::thread::start("media-paths", report) {
        tracing::warn!("whether the folders of [media] paths are there is not known: {error}");
    }
}

fn location(config: &Config, source: &config::Source) -> String {
    match &config.environment {
        Some(name) => format!("{} (environment {name})", source.inventory),
        None => source.inventory.to_string(),
    }
}

/// What looks for other servers on each network.
fn watches(config: &Config, follower: &Follower, keeper: &Keeper) -> Vec<Arc<Watch>> {
    let hint = keeper.counters().rivals();
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

/// The networks of the settings file, for inventories that declare none.
pub fn fallback_networks(config: &Config) -> Vec<Arc<Subnet>> {
    let subnets = config.networks().filter_map(|network| network.subnet.as_ref());
    subnets.enumerate().map(|(at, subnet)| Arc::new(fallback(at, subnet))).collect()
}

/// One of them.
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
        unknown: Default::default(),
        idle: Default::default(),
        power: None,
        ipv6: None,
        origin: Origin { file: "(the daemon's settings)".into(), line: 1, column: 1 },
    }
}
