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
