//! Listens for the control API: no more connections at once than the daemon can do without, and none
//! that takes for ever to say what it wants. Webhooks come from outside, if by a proxy.

mod crowd;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::socket::{self, SocketFile};
use super::token::Token;
use super::{Stop, stopped};
use crate::api::access::{Access, Busy, Peer, guard};
use crate::config::{Api, Listen, runtime};
use crowd::Crowd;

/// Longest time to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// After a connection could not be taken: all descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Open listeners, and what they leave on this host's file system while they last.
#[derive(Debug)]
pub struct Control {
    listeners: Vec<Listener>,
    token: Token,
    _files: Vec<SocketFile>,
    settings: Api,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Control {
    /// Binds everything in the settings. The default socket is done without where it can't be made.
    pub fn open(settings: &Api, random: [u8; 32]) -> Result<Control, String> {
        let (mut listeners, mut files, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for listen in &settings.listen {
            match bind(listen) {
                Ok((listener, file)) => {
                    if let Listener::Tcp(tcp) = &listener {
                        ports.extend(tcp.local_addr().map(|address| address.port()));
                    }
                    listeners.push(listener);
                    files.extend(file);
                }
                Err(error) if settings.is_default() && matches!(listen, Listen::Unix(_)) => {
                    tracing::warn!(
                        "the control API has no socket {listen}: {error}; it is served by TCP alone, which \
                         takes a token"
                    );
                }
                Err(error) => {
                    return Err(format!(
                        "the control API can't listen on {listen}: {error} (another daemon? see [api] listen)"
                    ));
                }
            }
        }
        let token = Token::write(random, ports.into_iter());
        Ok(Control { listeners, token, _files: files, settings: settings.clone() })
    }

    /// What people are told at the start: who is served where.
    pub fn lines(&self) -> Vec<String> {
        let tokens: Vec<String> = self.token.files().iter().map(|file| file.display().to_string()).collect();
        let tokens = if tokens.is_empty() { "written nowhere".to_owned() } else { tokens.join(", ") };
        let line = |listener: &Listener| match listener {
            Listener::Tcp(tcp) => {
                let address = tcp.local_addr().map(|address| address.to_string()).unwrap_or_default();
                format!("API  {address} (token: {tokens})")
            }
            Listener::Unix(unix) => {
                let path = unix.local_addr().ok();
                let path = path.and_then(|path| Some(path.as_pathname()?.display().to_string()));
                format!("API  unix:{}", path.unwrap_or_default())
            }
        };
        self.listeners.iter().map(line).collect()
    }

    /// Serves in tasks until it is time to stop.
    pub fn serve(self, router: Router, stop: &Stop, tasks: &mut JoinSet<()>) {
        let Control { listeners, token, _files: files, settings } = self;
        let addresses = listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(_) => None,
        });
        let access = Arc::new(Access {
            addresses: addresses.collect(),
            token: Some(Sha256::digest(token.text()).into()),
            viewer_token: settings.viewer_token.clone(),
            network: runtime::network(),
        });
        let router = router.layer(from_fn_with_state(access, guard));
        let (members, group) = (settings.group_role, socket::group());
        for listener in listeners {
            let (router, stop) = (router.clone(), stop.clone());
            match listener {
                Listener::Tcp(tcp) => tasks.spawn(async move {
                    run(async || Ok((tcp.accept().await?.0, Peer::Network)), router, stop).await;
                }),
                Listener::Unix(unix) => tasks.spawn(async move {
                    let accept = async || {
                        let (stream, _) = unix.accept().await?;
                        let peer = socket::peer(&stream, group, members)?;
                        Ok((stream, peer))
                    };
                    run(accept, router, stop).await;
                }),
            };
        }
        let mut stop = stop.clone();
        tasks.spawn(async move {
            stopped(&mut stop).await;
            drop((files, token));
        });
    }
}

fn bind(listen: &Listen) -> io::Result<(Listener, Option<SocketFile>)> {
    match listen {
        Listen::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((Listener::Tcp(TcpListener::from_std(listener)?), None))
        }
        Listen::Unix(path) => {
            let (listener, file) = socket::open(path)?;
            Ok((Listener::Unix(UnixListener::from_std(listener)?), Some(file)))
        }
    }
}

async fn run<F, S>(accept: impl Fn() -> F, router: Router, mut stop: Stop)
where
    F: Future<Output = io::Result<(S, Peer)>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut crowd = Crowd::default();
    let mut tasks = JoinSet::new();
    let ending = stop.clone();
    let take = async {
        loop {
            match accept().await {
                Ok((stream, peer)) => {
                    // Only for somebody who is there: the newest is the last to make room.
                    crowd.room().await;
                    let (router, stop, busy) = (router.clone(), ending.clone(), Busy::default());
                    let task = tasks.spawn(answer(stream, peer, router, stop, busy.clone()));
                    crowd.enter(busy, task);
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
    peer: Peer,
    router: Router,
    mut stop: Stop,
    busy: Busy,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(busy.clone());
        routes.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong with a connection is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
