//! Listens for the control API: no more connections at once than the daemon can do without, and none
//! that takes for ever to say what it wants. Webhooks come from outside, if by a proxy.

mod connections;
mod json_errors;
mod patient;
mod wire;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::Gid;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::task::JoinSet;

use super::certificate::Certificate;
use super::service::{Part, Row, StatusBoard, supervise};
use super::socket::{self, SocketFile};
use super::token::Token;
use super::{Stop, bind_early, stopped};
use crate::api::Backend;
use crate::api::access::{Access, Names, Peer, guard};
use crate::api::audit::Audit;
use crate::api::busy::Busy;
use crate::api::quota::Quotas;
use crate::api::route::Route;
use crate::config::{Api, Listen, runtime};
use crate::model::Role;
use connections::Connections;
use json_errors::JsonErrors;
use patient::{PATIENCE, Patient};
use wire::Accepted;

/// Longest time to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// What may wait in memory for a client, and what a request's head may take, in bytes.
const BUFFER_MAX: usize = 128 << 10;
/// Time between two looks whether the files of the API are still there.
const LOOK: Duration = Duration::from_secs(2);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// After a connection could not be taken: all descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Open listeners, and what they leave on this host's file system while they last.
#[derive(Debug)]
pub struct Control {
    /// In the order of the settings.
    endpoints: Vec<Endpoint>,
    token: Token,
    settings: Api,
    /// What is shown beyond loopback, if it listens there.
    certificate: Option<Arc<Certificate>>,
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
    /// Binds everything in the settings. The default socket is done without where it can't be made; nothing listens
    /// beyond loopback without a certificate, which the authority in the directory `state` signs if none is given.
    pub fn open(settings: &Api, random: [u8; 32], state: &Path) -> Result<Control, String> {
        let beyond = settings.listen.iter().filter_map(|listen| match listen {
            Listen::Tcp(address) if listen.is_beyond_loopback() => Some(address.ip()),
            Listen::Tcp(_) | Listen::Unix(_) => None,
        });
        let beyond: Vec<IpAddr> = beyond.collect();
        let certificate = match beyond.is_empty() {
            true => None,
            false => {
                let opened = Certificate::open(settings.given.as_ref(), &settings.names, beyond, state);
                Some(Arc::new(opened.map_err(|error| {
                    format!("the control API does not listen beyond loopback without a certificate: {error}")
                })?))
            }
        };
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
        Ok(Control { endpoints, token, settings: settings.clone(), certificate })
    }

    /// What is shown beyond loopback.
    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// The lines at the start: which callers are served where.
    pub fn lines(&self) -> Vec<String> {
        let tokens: Vec<String> = self.token.files().iter().map(|file| file.display().to_string()).collect();
        let tokens = if tokens.is_empty() { "written nowhere".to_owned() } else { tokens.join(", ") };
        let line = |endpoint: &Endpoint| match endpoint {
            Endpoint::Open(Listener::Tcp(tcp)) => {
                let address = tcp.local_addr().ok()?;
                let secure = self.certificate.as_ref().filter(|_| Listen::Tcp(address).is_beyond_loopback());
                let secure = secure.map(|one| format!("TLS, CA {}; ", one.fingerprint()));
                Some(format!("API  {address} ({}token: {tokens})", secure.unwrap_or_default()))
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
        (audit, quotas): (Audit, Arc<Quotas>),
        board: &StatusBoard,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) {
        let Control { endpoints, token, settings, certificate } = self;
        let access = Arc::new(Access {
            routes,
            addresses: addresses(&endpoints).collect(),
            names: Arc::new(Known { names: settings.names.clone(), certificate: certificate.clone() }),
            token: Some(Sha256::digest(token.text()).into()),
            viewer_token: settings.viewer_token.clone(),
            network: runtime::network(),
            audit,
            quotas: quotas.clone(),
        });
        let router = router.layer(from_fn_with_state((access, backend), guard::<B>));
        let (members, group) = (settings.group_role, socket::group());
        if let Some(certificate) = certificate.clone() {
            certificate.kept("api certificate", board, stop, tasks);
        }
        let service = Service { router, members, group, token: Arc::new(token), certificate, quotas };
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

/// What this host is called by its clients.
#[derive(Debug)]
struct Known {
    names: Vec<String>,
    certificate: Option<Arc<Certificate>>,
}

impl Names for Known {
    fn has(&self, host: &str) -> bool {
        let is_named = self.names.iter().any(|name| name.eq_ignore_ascii_case(host));
        is_named || self.certificate.as_ref().is_some_and(|certificate| certificate.is_for(host))
    }
}

/// What every listener needs.
#[derive(Clone)]
struct Service {
    router: Router,
    members: Role,
    group: Option<Gid>,
    token: Arc<Token>,
    certificate: Option<Arc<Certificate>>,
    quotas: Arc<Quotas>,
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
        let Service { router, members, group, token, certificate, quotas } = self;
        match listener {
            Listener::Tcp(tcp) => {
                let beyond = tcp.local_addr().is_ok_and(|own| Listen::Tcp(own).is_beyond_loopback());
                let certificate = certificate.filter(|_| beyond);
                let accept = async || {
                    let (stream, from) = tcp.accept().await?;
                    Ok((Accepted::tcp(stream, certificate.clone()), Peer::Network(from.ip())))
                };
                let keep_token = || {
                    token.mend();
                    true
                };
                run(accept, router, quotas, stop, keep_token).await;
            }
            Listener::Unix(unix, file) => {
                let accept = async || {
                    let (stream, _) = unix.accept().await?;
                    let peer = socket::peer(&stream, group, members)?;
                    Ok((Accepted::Open(Box::new(stream)), peer))
                };
                run(accept, router, quotas, stop.clone(), || file.is_ours()).await;
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
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            // Its interface may come later, as those of machines may.
            bind_early(&socket, *address)?;
            socket.bind(*address)?;
            Ok(Listener::Tcp(socket.listen(BACKLOG)?))
        }
        Listen::Unix(path) => {
            let (listener, file) = socket::open(path)?;
            Ok(Listener::Unix(UnixListener::from_std(listener)?, file))
        }
    }
}

/// Serves until it is time to stop, or `is_there`, which is asked now and then, says no.
async fn run<F>(
    accept: impl Fn() -> F,
    router: Router,
    quotas: Arc<Quotas>,
    mut stop: Stop,
    is_there: impl Fn() -> bool,
) where
    F: Future<Output = io::Result<(Accepted, Peer)>>,
{
    let mut connections = Connections::default();
    let mut tasks = JoinSet::new();
    let ending = stop.clone();
    let take = async {
        loop {
            match accept().await {
                Ok((accepted, peer)) => {
                    let user = peer.limited();
                    if !connections.admits(user) {
                        quotas.connection();
                        accepted.refuse().await;
                        continue;
                    }
                    // Only for somebody who is there: the newest is the last to make room.
                    connections.room().await;
                    let (router, stop, busy) = (router.clone(), ending.clone(), Busy::default());
                    let task = tasks.spawn(answer(accepted, peer, router, stop, busy.clone()));
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

async fn answer(accepted: Accepted, peer: Peer, router: Router, mut stop: Stop, busy: Busy) {
    let opened = tokio::select! {
        opened = accepted.open(HEAD) => opened,
        () = stopped(&mut stop) => return,
    };
    let Some(stream) = opened else { return };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER_MAX);
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(busy.clone());
        routes.call(request)
    });
    let mut connection = pin!(
        builder.serve_connection(TokioIo::new(JsonErrors::new(Patient::new(stream, PATIENCE))), service)
    );
    // What goes wrong with a connection is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
