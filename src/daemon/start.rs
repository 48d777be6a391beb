//! From settings to a serving daemon, and back down.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::keeper::Keeper;
use super::reconcile::Reconciler;
use super::{dhcp, http, now, probe, tftp};
use crate::api::types::{Apply, Outcome, SourceStatus, Status, Tree};
use crate::api::{Backend, router};
use crate::config::{Config, Mode, loaders};
use crate::media::Shelf;
use crate::model::{Mac, Time};
use crate::source::{self, Handle};
use crate::store::Store;
use crate::table::{Event, Server, Stage, Table};

/// How long transfers may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the first look for other DHCP servers takes.
const PROBE: Duration = Duration::from_millis(500);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let (store, saved) = Store::open(&config.state.directory, random)?;
    let server = Server {
        address: config.network.address,
        http_port: config.http.port,
        gives_addresses: config.dhcp.mode == Mode::Server,
        loaders: loaders::find(&config.firmware.paths),
    };
    let (keeper, thread) = Keeper::spawn(store, saved, server);
    let (stop, stopping) = watch::channel(false);
    let api = TcpListener::bind(config.api.listen.as_str()).await.map_err(|error| bind(&config.api.listen, error))?;
    let files = super::files::Files::new();
    let http = http::bind(config.network.address, config.http.port)?;
    let tftp = tftp::bind(config.network.address)?;
    let dhcp = match config.dhcp.mode {
        Mode::Off => None,
        _ => Some(dhcp::bind(&config.network.interface, config.network.address)?),
    };
    announce(&config, &keeper);

    let reconciler = reconciler(&config, &keeper);
    let (updates, queue) = mpsc::channel(1);
    let source = source::spawn(config.source(), updates)?;
    tokio::spawn(reconciler.clone().run(queue));
    let backend = Daemon { keeper: keeper.clone(), reconciler: reconciler.clone(), mode: config.dhcp.mode };
    let mut tasks = tokio::task::JoinSet::new();
    let halt = stopping.clone();
    tasks.spawn(async move {
        let served = axum::serve(api, router(backend)).with_graceful_shutdown(stopped(halt));
        if let Err(error) = served.await {
            tracing::error!(%error, "the control API ended");
        }
    });
    tasks.spawn(http::run(http, keeper.clone(), files.clone(), stopping.clone()));
    tasks.spawn(tftp::run(tftp, keeper.clone(), files, stopping.clone()));
    if let Some(dhcp) = dhcp {
        let mode = settle_mode(&config, &keeper).await;
        first_revision(reconciler.status()).await;
        tasks.spawn(dhcp::run(dhcp, mode, keeper.clone(), stopping.clone()));
    }
    println!("ready");

    wait(&source).await?;
    stop.send_replace(true);
    tracing::info!("stopping: transfers under way have {} s", DRAIN.as_secs());
    drop(source);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some transfers did not end in time");
    }
    drop((keeper, reconciler, tasks));
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(())
}

/// Random bytes for a new state directory, from the kernel.
fn random() -> [u8; 48] {
    let mut bytes = [0; 48];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("/dev/urandom can be read on every Linux");
    bytes
}

fn bind(address: &str, error: std::io::Error) -> Failure {
    format!("the control API can't listen on {address}: {error} (another daemon? see [api] listen)").into()
}

/// The first lines say who listens where.
fn announce(config: &Config, keeper: &Keeper) {
    let address = config.network.address;
    println!("voldemort {} on {} ({address})", env!("CARGO_PKG_VERSION"), config.network.interface);
    match config.dhcp.mode {
        Mode::Off => println!("DHCP off"),
        mode => println!("DHCP {address}:67 on {} ({mode})", config.network.interface),
    }
    println!("TFTP {address}:69");
    println!("HTTP {}", keeper.table().server.url());
    println!("API  http://{}", config.api.listen);
    println!("inventory {}", config.inventory);
}

fn reconciler(config: &Config, keeper: &Keeper) -> Arc<Reconciler> {
    let shelf = Shelf::new(config.media_paths(), Some(config.state.directory.join("digests")));
    let location = config.inventory.to_string();
    Arc::new(Reconciler::new(keeper.clone(), shelf, config.network.subnet(), location))
}

/// A LAN is not ours until said so: where another DHCP server answers, only listen.
async fn settle_mode(config: &Config, keeper: &Keeper) -> Mode {
    let mode = config.dhcp.mode;
    if mode != Mode::Server {
        return mode;
    }
    match probe::probe(&config.network.interface, PROBE).await {
        Ok(foreign) if foreign.is_empty() => mode,
        Ok(foreign) => {
            let servers: Vec<String> = foreign.iter().map(ToString::to_string).collect();
            let text = format!(
                "another DHCP server answers on {} ({}): answering nothing, only listening; \
                 set [dhcp] mode = \"proxy\" to work beside it",
                config.network.interface,
                servers.join(", ")
            );
            println!("{text}");
            tracing::warn!("{text}");
            daemon_event(keeper, text);
            Mode::Listen
        }
        Err(error) => {
            tracing::warn!(%error, "looking for other DHCP servers failed");
            mode
        }
    }
}

fn daemon_event(keeper: &Keeper, text: String) {
    keeper.note(Event {
        at: now(),
        stage: Stage::Daemon,
        mac: None,
        address: None,
        deployment: None,
        arch: None,
        ipxe: None,
        text,
    });
}

/// Until the first revision was tried, nobody can be told who is known.
async fn first_revision(mut status: watch::Receiver<SourceStatus>) {
    let _ = status.wait_for(|status| status.condition != "Loading").await;
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Ends with SIGTERM or SIGINT; SIGHUP has the source read again.
async fn wait(source: &Handle) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
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
    mode: Mode,
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
            mode: self.mode.to_string(),
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
}
