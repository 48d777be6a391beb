//! Listens for the control API: no more connections at once than the daemon can do without, and none
//! that takes for ever to say what it wants. Webhooks come from outside, if by a proxy.

mod connections;
mod json_errors;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::Gid;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::service::{Part, Row, StatusBoard, supervise};
use super::socket::{self, SocketFile};
use super::token::Token;
use super::{Stop, stopped};
use crate::api::Backend;
use crate::api::access::{Access, Peer, guard};
use crate::api::audit::Audit;
use crate::api::busy::Busy;
use crate::api::problem;
use crate::api::route::Route;
use crate::config::{Api, Listen, runtime};
use crate::model::Role;
use connections::Connections;
use json_errors::JsonErrors;

/// Longest time to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// Time between two looks whether the files of the API are still there.
const LOOK: Duration = Duration::from_secs(2);
/// After a connection could not be taken: all descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Open listeners, and what they leave on this host's file system while they last.
#[derive(Debug)]
pub struct Control {
    /// In the order of the settings.
    endpoints: Vec<Endpoint>,
    token: Token,
    settings: Api,
}

/// What became of a listener at the start.
#[derive(Debug)]
enum Endpoint {
    Open(Listener),
    /// It is tried again.
    Later,
    /// Another daemon has it, and keeps it.
    Foreign,
}

/// A listener, with its file.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Control {
    /// Binds everything in the settings. The default socket is done without where it can't be made.
    pub fn open(settings: &Api, random: [u8; 32]) -> Result<Control, String> {
        let mut endpoints = Vec::new();
        for listen in &settings.listen {
            match bind(listen) {
                Ok(listener) => endpoints.push(Endpoint::Open(listener)),
                Err(error) if settings.is_default() && matches!(listen, Listen::Unix(_)) => {
                    tracing::warn!(
                        "the control API has no socket {listen}: {error}; it is served by TCP alone, which \
                         takes a token"
                    );
                    let is_foreign = error.kind() == io::ErrorKind::AddrInUse;
                    endpoints.push(if is_foreign { Endpoint::Foreign } else { Endpoint::Later });
                }
                Err(error) => {
                    return Err(format!(
                        "the control API can't listen on {listen}: {error} (another daemon? see [api] listen)"
                    ));
                }
            }
        }
        let token = Token::write(random, addresses(&endpoints).map(|address| address.port()));
        Ok(Control { endpoints, token, settings: settings.clone() })
    }

    /// The lines at the start: which callers are served where.
    pub fn lines(&self) -> Vec<String> {
        let tokens: Vec<String> = self.token.files().iter().map(|file| file.display().to_string()).collect();
        let tokens = if tokens.is_empty() { "written nowhere".to_owned() } else { tokens.join(", ") };
        let line = |endpoint: &Endpoint| match endpoint {
            Endpoint::Open(Listener::Tcp(tcp)) => {
                let address = tcp.local_addr().map(|address| address.to_string()).unwrap_or_default();
                Some(format!("API  {address} (token: {tokens})"))
            }
            Endpoint::Open(Listener::Unix(_, file)) => Some(format!("API  unix:{}", file.path().display())),
            Endpoint::Later | Endpoint::Foreign => None,
        };
        self.endpoints.iter().filter_map(line).collect()
    }

    /// Serves in tasks until it is time to stop, each listener under supervision: one whose socket was
    /// removed is opened again.
    pub fn serve<B: Backend>(
        self,
        backend: B,
        (router, routes): (Router, Vec<Route>),
        audit: Audit,
        board: &StatusBoard,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) {
        let Control { endpoints, token, settings } = self;
        let access = Arc::new(Access {
            routes,
            addresses: addresses(&endpoints).collect(),
            token: Some(Sha256::digest(token.text()).into()),
            viewer_token: settings.viewer_token.clone(),
            network: runtime::network(),
            audit,
        });
        let router = router.layer(from_fn_with_state((access, backend), guard::<B>));
        let (members, group) = (settings.group_role, socket::group());
        let service = Service { router, members, group, token: Arc::new(token) };
        for (listen, endpoint) in settings.listen.into_iter().zip(endpoints) {
            let (listener, part) = match endpoint {
                Endpoint::Open(listener) => (Some(listener), Part::Daemon),
                Endpoint::Later => (None, Part::Auxiliary),
                Endpoint::Foreign => continue,
            };
            let rows: Arc<[Row]> = [board.row(format!("api {listen}"), part)].into();
            let (first, mine) = (Mutex::new(listener), rows.clone());
            let (service, stop) = (service.clone(), stop.clone());
            let attempt = move || {
                let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (listen, rows) = (listen.clone(), mine.clone());
                let (service, stop) = (service.clone(), stop.clone());
                async move { service.attempt(listen, first, &rows[0], stop).await }
            };
            tasks.spawn(supervise(rows, attempt));
        }
    }
}

/// Where TCP listens.
fn addresses(endpoints: &[Endpoint]) -> impl Iterator<Item = SocketAddr> {
    endpoints.iter().filter_map(|endpoint| match endpoint {
        Endpoint::Open(Listener::Tcp(tcp)) => tcp.local_addr().ok(),
        Endpoint::Open(Listener::Unix(..)) | Endpoint::Later | Endpoint::Foreign => None,
    })
}

/// What every listener needs.
#[derive(Clone)]
struct Service {
    router: Router,
    members: Role,
    group: Option<Gid>,
    token: Arc<Token>,
}

impl Service {
    /// Serves until it is time to stop, which is no error.
    async fn attempt(
        self,
        listen: Listen,
        listener: Option<Listener>,
        row: &Row,
        mut stop: Stop,
    ) -> Result<(), String> {
        if *stop.borrow_and_update() {
            return Ok(());
        }
        let listener = match listener {
            Some(listener) => listener,
            None => {
                let opening = tokio::task::spawn_blocking(move || bind(&listen)).await;
                opening
                    .unwrap_or_else(|panic| Err(io::Error::other(panic)))
                    .map_err(|error| error.to_string())?
            }
        };
        row.serving();
        let Service { router, members, group, token } = self;
        match listener {
            Listener::Tcp(tcp) => {
                let accept = async || Ok((tcp.accept().await?.0, Peer::Network));
                let keep_token = || {
                    token.mend();
                    true
                };
                run(accept, router, stop, keep_token).await;
            }
            Listener::Unix(unix, file) => {
                let accept = async || {
                    let (stream, _) = unix.accept().await?;
                    let peer = socket::peer(&stream, group, members)?;
                    Ok((stream, peer))
                };
                run(accept, router, stop.clone(), || file.is_ours()).await;
                if !*stop.borrow() {
                    return Err("its socket was removed".to_owned());
                }
            }
        }
        Ok(())
    }
}

fn bind(listen: &Listen) -> io::Result<Listener> {
    match listen {
        Listen::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(TcpListener::from_std(listener)?))
        }
        Listen::Unix(path) => {
            let (listener, file) = socket::open(path)?;
            Ok(Listener::Unix(UnixListener::from_std(listener)?, file))
        }
    }
}

/// Serves until it is time to stop, or `is_there`, which is asked now and then, says no.
async fn run<F, S>(accept: impl Fn() -> F, router: Router, mut stop: Stop, is_there: impl Fn() -> bool)
where
    F: Future<Output = io::Result<(S, Peer)>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = Connections::default();
    let mut tasks = JoinSet::new();
    let ending = stop.clone();
    let take = async {
        loop {
            match accept().await {
                Ok((stream, peer)) => {
                    let user = peer.limited_user();
                    if !connections.admits(user) {
                        refuse(stream).await;
                        continue;
                    }
                    // Only for somebody who is there: the newest is the last to make room.
                    connections.room().await;
                    let (router, stop, busy) = (router.clone(), ending.clone(), Busy::default());
                    let task = tasks.spawn(answer(stream, peer, router, stop, busy.clone()));
                    connections.enter(busy, task, user);
                }
                Err(error) => {
                    tracing::warn!(%error, "the control API can't accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    };
    let gone = async {
        while is_there() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = take => {}
        // Existing connections stay.
        () = gone => tasks.detach_all(),
        () = stopped(&mut stop) => {}
    }
    while tasks.join_next().await.is_some() {}
}

/// Says to a user that has all the connections it may have that this one is too many.
async fn refuse(mut stream: impl AsyncWrite + Unpin) {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = "the daemon works on too many requests of this user at a time: wait for one to end";
    let body = problem::text(status, detail);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem::TYPE,
        body.len()
    );
    // A new connection has room for as much. Whoever does not read it is not waited for.
    let _ = tokio::time::timeout(PAUSE, stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())).await;
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
    let mut connection = pin!(builder.serve_connection(TokioIo::new(JsonErrors::new(stream)), service));
    // What goes wrong with a connection is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
