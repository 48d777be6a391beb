//! The servers that machines fetch files from, at one address of the daemon: TFTP, HTTP and, if configured,
//! HTTPS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::active_requests::ActiveRequests;
use super::agent::Machines;
use super::link::Followed;
use super::service::{Part, Row, StatusBoard, mirror, supervise};
use super::tls::{Certificates, Rooted, TlsError};
use super::{Files, Stop, http, tftp};
use crate::config::Config;

pub(super) const TFTP_PORT: u16 = 69;

pub struct Downloads {
    handler: Arc<Rooted<Machines>>,
    files: Files,
    single_port: bool,
    http_port: u16,
    /// The port of HTTPS, and its certificate.
    secure: Option<(u16, Certificates)>,
    active_requests: ActiveRequests,
    /// Turns true when the daemon begins to stop: idle connections are closed from then on.
    draining: Stop,
}

/// The servers of one address, bound and not yet served.
pub struct Opened {
    tftp: tftp::Server,
    http: http::Server,
    https: Option<http::Server>,
}

impl Downloads {
    pub(super) fn new(
        config: &Config,
        machines: Machines,
        files: Files,
        active_requests: ActiveRequests,
        draining: Stop,
    ) -> Result<Downloads, TlsError> {
        let state = &config.state.directory;
        let secure = match &config.http.tls {
            Some(tls) => Some((tls.port, Certificates::open(tls.given.as_ref(), state)?)),
            None => None,
        };
        let authority = secure.as_ref().and_then(|(_, certificates)| certificates.authority());
        Ok(Downloads {
            handler: Arc::new(Rooted::new(Arc::new(machines), authority)),
            files,
            single_port: config.tftp.single_port,
            http_port: config.http.port,
            secure,
            active_requests,
            draining,
        })
    }

    /// Has given files of the certificate read again when they change, until the stop.
    pub(super) fn keep_certificate(&self, board: &StatusBoard, stop: &Stop, tasks: &mut JoinSet<()>) {
        if let Some(given) = self.secure.as_ref().and_then(|(_, certificates)| certificates.given()) {
            given.clone().kept("https certificate", board, stop, tasks);
        }
    }

    /// The protocols, for people.
    pub fn names(&self) -> &'static str {
        if self.secure.is_some() { "TFTP, HTTP and HTTPS" } else { "TFTP and HTTP" }
    }

    /// Binds everything at `address`, or says which port could not be bound. The host need not have the
    /// address yet.
    pub fn open(&self, address: IpAddr) -> Result<Opened, String> {
        let https = self.secure.is_some().then(|| self.open_https(address)).transpose()?;
        Ok(Opened { tftp: self.open_tftp(address)?, http: self.open_http(address)?, https })
    }

    /// Serves at `address` until `stop`, each server under supervision; `opened` are those that are bound
    /// already, and `network` is the interface with the address, if that is followed.
    pub fn serve(
        self: Arc<Downloads>,
        address: IpAddr,
        opened: Option<Opened>,
        network: Option<Followed>,
        stop: &Stop,
        board: &StatusBoard,
        tasks: &mut JoinSet<()>,
    ) {
        let (tftp, http, https) = match opened {
            Some(Opened { tftp, http, https }) => (Some(tftp), Some(http), https),
            None => (None, None, None),
        };
        let row = |what: &str| board.row(format!("{what} {address}"), Part::Machines);
        let at = At { downloads: self, network, stop: stop.clone() };
        let open = move |downloads: &Downloads| downloads.open_tftp(address);
        at.spawn(tasks, row("tftp"), tftp, open, |server, handler, stop| server.run(handler, stop));
        let open = move |downloads: &Downloads| downloads.open_http(address);
        at.spawn(tasks, row("http"), http, open, |server, handler, stop| server.run(handler, stop));
        if at.downloads.secure.is_some() {
            let open = move |downloads: &Downloads| downloads.open_https(address);
            at.spawn(tasks, row("https"), https, open, |server, handler, stop| server.run(handler, stop));
        }
    }

    fn open_tftp(&self, address: IpAddr) -> Result<tftp::Server, String> {
        let at = SocketAddr::new(address, TFTP_PORT);
        let server = tftp::Server::bind(at, self.files.clone(), tftp::Limits::default());
        let server = server.map_err(taken("TFTP", at))?;
        Ok(server.single_port(self.single_port).counted(self.active_requests.clone()))
    }

    fn open_http(&self, address: IpAddr) -> Result<http::Server, String> {
        self.bind("HTTP", SocketAddr::new(address, self.http_port))
    }

    fn open_https(&self, address: IpAddr) -> Result<http::Server, String> {
        let Some((port, certificates)) = &self.secure else { return Err("HTTPS is not set up".to_owned()) };
        let tls = certificates.of(address).map_err(|error| format!("HTTPS: {error}"))?;
        Ok(self.bind("HTTPS", SocketAddr::new(address, *port))?.secure(tls))
    }

    fn bind(&self, what: &str, at: SocketAddr) -> Result<http::Server, String> {
        let server = http::Server::bind(at, self.files.clone(), http::Limits::default());
        let server = server.map_err(taken(what, at))?;
        Ok(server.draining(self.draining.clone(), self.active_requests.clone()))
    }
}

/// What the servers of one address have in common.
struct At {
    downloads: Arc<Downloads>,
    network: Option<Followed>,
    stop: Stop,
}

impl At {
    /// Supervises one server: `first` is it if it is open already.
    fn spawn<S, R>(
        &self,
        tasks: &mut JoinSet<()>,
        row: Row,
        first: Option<S>,
        open: impl Fn(&Downloads) -> Result<S, String> + Send + Sync + 'static,
        run: impl Fn(S, Arc<Rooted<Machines>>, Stop) -> R + Send + Sync + 'static,
    ) where
        S: Send + 'static,
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        let rows: Arc<[Row]> = [row].into();
        let (downloads, network, stop) = (self.downloads.clone(), self.network.clone(), self.stop.clone());
        let (mine, first) = (rows.clone(), Mutex::new(first));
        let attempt = move || {
            let opened = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            let opened = opened.map_or_else(|| open(&downloads), Ok);
            let running = opened.map(|server| run(server, downloads.handler.clone(), stop.clone()));
            let (rows, network) = (mine.clone(), network.clone());
            async move {
                let running = running?;
                tokio::select! {
                    ended = running => ended.map_err(|error| error.to_string()),
                    () = shown(&rows[0], network) => Ok(()),
                }
            }
        };
        tasks.spawn(supervise(rows, attempt));
    }
}

/// Shows how a server stands that is open. Never ends.
async fn shown(row: &Row, network: Option<Followed>) {
    match network {
        Some(network) => mirror(row, network).await,
        None => {
            row.serving();
            std::future::pending().await
        }
    }
}

fn taken(what: &str, at: SocketAddr) -> impl Fn(io::Error) -> String {
    move |error| format!("{what} can't listen on {at}: {error}")
}
