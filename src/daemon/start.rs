//! From settings to a serving daemon, and back down.

mod answering;
mod background;
mod base;

pub use base::fallback_networks;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::active_requests::ActiveRequests;
use super::dhcp::Heartbeat;
use super::hooks::Hooks;
use super::keeper::Keeper;
use super::limits::{keep_memory_private, raise_open_files};
use super::service::{StatusBoard, outage};
use super::signals::{self, Orders};
use super::{Stop, log, service, service_manager, stopped};
use crate::config::{self, Config};
use crate::model::Name;
use crate::source::{self, SourceConfig};
use crate::state::SourceStatus;
use crate::store::Accept;
use answering::{Answering, first_revision};
use background::Background;
use base::{Base, Startup};

/// How long transfers may continue after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long everything else may take to end after that.
const END: Duration = Duration::from_secs(1);
/// The time after SIGTERM at which the process ends whatever hangs.
const LAST_RESORT: Duration = Duration::from_secs(15);
/// How long a source that is still being read keeps requests from being answered, where what was served can't be
/// restored: a person must be able to act then.
const UNREAD: Duration = Duration::from_secs(60);
/// How long a service's thread may take for a round before the watchdog is not fed.
const ROUND: Duration = Duration::from_secs(2);

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
    let (base, Startup { kept, thread }) = Base::open(config, accept)?;
    let (draining, drain) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let listens = base.control(&stopping, &mut tasks)?;
    let active_requests = ActiveRequests::default();
    let downloads = base.downloads(&active_requests, drain, &stopping, &mut tasks)?;
    let answering = {
        let Base { config, keeper, watches, follower, board, heartbeat, .. } = &base;
        let (watches, stirred, heartbeat) = (watches.clone(), follower.stirred(), heartbeat.clone());
        Answering::open(config, downloads, keeper, watches, stirred, board, heartbeat)?
    };
    base.announce(&listens);
    let mut background = Background { board: &base.board, stop: &stopping, tasks: &mut tasks };
    background.interfaces(&base.follower, &base.keeper);
    if let Some(kept) = kept {
        base.reconciler.restore(kept).await;
    }
    let (lost, lost_source) = mpsc::channel(1);
    let sources = follow_sources(&base, &mut background, &lost);
    background.all(&base);
    tasks.spawn(until(stopping.clone(), restored(base.keeper.clone(), base.reconciler.statuses())));
    let begin = async {
        if let Some(answering) = answering {
            answering.start(base.reconciler.statuses(), &stopping, &mut tasks).await;
        }
    };
    let failure = tokio::select! {
        () = stop_ordered(&mut orders, &sources) => None,
        why = fatal(&base.keeper, &base.board, lost_source) => Some(why),
        () = attend(begin, &base.board, &base.keeper, &base.heartbeat) => None,
    };
    draining.send_replace(true);
    service_manager::stopping(LAST_RESORT);
    if failure.is_none() {
        drain_transfers(&active_requests).await;
    }
    base.audit.publish_last().await;
    stop.send_replace(true);
    close(tasks, &base.keeper, thread).await;
    match failure {
        Some(why) => Err(format!("it ends because {why}").into()),
        None => Ok(()),
    }
}

/// Has the API and the file servers say what there is, once that is known: what was served is served again, or every
/// source was tried instead.
async fn restored(keeper: Keeper, statuses: watch::Receiver<BTreeMap<Name, SourceStatus>>) {
    let tried = tokio::time::timeout(UNREAD, first_revision(statuses));
    if tried.await.is_err() {
        tracing::warn!(
            "what was served can't be served, and a source is still being read: requests are answered now"
        );
    }
    keeper.has_restored();
}

/// Returns, with the reason, when the daemon can't go on.
async fn fatal(keeper: &Keeper, board: &StatusBoard, mut lost_source: mpsc::Receiver<Name>) -> String {
    tokio::select! {
        () = keeper.ended() => "the keeper of the state ended: see the log".to_owned(),
        why = outage(board.clone(), service::PATIENCE) => why,
        Some(name) = lost_source.recv() => format!("the source {name} is no longer followed"),
    }
}

/// Follows every source, and has the reconciler take what they report.
fn follow_sources(base: &Base, background: &mut Background<'_>, lost: &mpsc::Sender<Name>) -> Hooks {
    let (updates, queue) = mpsc::channel(1);
    let sources = base.hooks.get_or_init(|| follow_all(&base.config, &updates, lost)).clone();
    background.sources(&base.reconciler, queue);
    sources
}

/// Begins to answer, and keeps the host's service manager informed meanwhile and afterwards: a first
/// revision that hangs hinders nothing else. Never ends.
async fn attend(
    begin: impl Future<Output = ()>,
    board: &StatusBoard,
    keeper: &Keeper,
    heartbeat: &Heartbeat,
) {
    let ready = async {
        begin.await;
        log::say("ready");
        service_manager::ready();
        std::future::pending::<()>().await
    };
    let alive = async || heartbeat.is_alive(ROUND).await;
    tokio::select! {
        () = ready => {}
        () = service_manager::show(board.clone()) => {}
        () = service_manager::watchdog(keeper.clone(), alive) => {}
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
        tracing::warn!("the last changes could not be stored in time");
    }
}

/// Lets what is being fetched end.
async fn drain_transfers(active_requests: &ActiveRequests) {
    let count = active_requests.count();
    if count > 0 {
        tracing::info!("stopping: {count} transfers under way have {} s", DRAIN.as_secs());
    }
    if tokio::time::timeout(DRAIN, active_requests.none()).await.is_err() {
        tracing::warn!("{} transfers did not end in time and are cut off", active_requests.count());
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

/// Runs until it is time to stop.
async fn until(mut stop: Stop, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped(&mut stop) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::state::Server;
    use crate::store::Store;

    #[tokio::test]
    async fn a_panic_of_the_keeper_ends_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let (store, saved) = Store::open(folder.path(), || [7; 48]).unwrap();
        let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        assert!(service_manager::is_alive(&keeper).await);
        let (_lost, lost_source) = mpsc::channel(1);
        // Whatever is done on the keeper's thread may have a mistake.
        keeper.lease(Vec::new(), |_| panic!("a mistake"));
        let (start, board) = (Instant::now(), StatusBoard::new(drop));
        let why = fatal(&keeper, &board, lost_source).await;
        assert_eq!(why, "the keeper of the state ended: see the log");
        assert!(!service_manager::is_alive(&keeper).await, "the watchdog is not fed any more");
        // Nothing of the end waits for the dead.
        close(JoinSet::new(), &keeper, thread).await;
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}
