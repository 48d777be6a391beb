//! Listens for the control API: no more connections at once than the daemon can do without, and none
//! that takes for ever to say what it wants. Webhooks come from outside, if by a proxy.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Stop, stopped};
use crate::config::Listen;

/// Connections at once; more wait until one ends.
const CONNECTIONS: usize = 512;
/// Longest time to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// After a connection could not be taken: all descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds now; serves in a task until it is time to stop.
pub async fn serve(listen: &Listen, router: Router, stop: Stop, tasks: &mut JoinSet<()>) -> io::Result<()> {
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            tasks.spawn(async move { run(async || Ok(listener.accept().await?.0), router, stop).await });
        }
        Listen::Unix(path) => {
            // A socket left by a daemon that was killed; a living one still answers on it.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path)?;
            tasks.spawn(async move { run(async || Ok(listener.accept().await?.0), router, stop).await });
        }
    }
    Ok(())
}

async fn run<F, S>(accept: impl Fn() -> F, router: Router, mut stop: Stop)
where
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    let ending = stop.clone();
    let take = async {
        loop {
            let place = room.clone().acquire_owned().await.expect("nobody closes it");
            match accept().await {
                Ok(stream) => {
                    let (router, stop) = (router.clone(), ending.clone());
                    tasks.spawn(async move {
                        answer(stream, router, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control API can't take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = take => {}
        () = stopped(&mut stop) => {}
    }
    while tasks.join_next().await.is_some() {}
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut stop: Stop,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong with a connection is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
