//! What machines fetch files from, at one address of ours: TFTP, HTTP and, if so set, HTTPS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::tls::{Certificates, Rooted, TlsError};
use super::{Files, Stop, http, tftp};
use crate::config::Config;

pub const TFTP_PORT: u16 = 69;

pub struct Downloads {
    opener: Arc<Rooted<Keeper>>,
    files: Files,
    single_port: bool,
    http_port: u16,
    /// The port of HTTPS, and what it is spoken with.
    secure: Option<(u16, Certificates)>,
}

impl Downloads {
    pub fn new(config: &Config, keeper: &Keeper) -> Result<Downloads, TlsError> {
        let state = &config.state.directory;
        let secure = match &config.http.tls {
            Some(tls) => Some((tls.port, Certificates::open(tls.given.as_ref(), state)?)),
            None => None,
        };
        let authority = secure.as_ref().and_then(|(_, certificates)| certificates.authority());
        Ok(Downloads {
            opener: Arc::new(Rooted::new(Arc::new(keeper.clone()), authority)),
            files: Files::new(),
            single_port: config.tftp.single_port,
            http_port: config.http.port,
            secure,
        })
    }

    /// What is spoken, for people.
    pub fn names(&self) -> &'static str {
        if self.secure.is_some() { "TFTP, HTTP and HTTPS" } else { "TFTP and HTTP" }
    }

    /// Serves at `address` until `stop`: everything, or nothing and which port could not be had.
    pub fn serve(&self, address: IpAddr, stop: &Stop, tasks: &mut JoinSet<()>) -> Result<(), String> {
        let at = |port| SocketAddr::new(address, port);
        let tftp = tftp::Server::bind(at(TFTP_PORT), self.files.clone(), tftp::Limits::default())
            .map_err(taken("TFTP", at(TFTP_PORT)))?
            .single_port(self.single_port);
        let bind = |what: &str, port: u16| {
            http::Server::bind(at(port), self.files.clone(), http::Limits::default())
                .map_err(taken(what, at(port)))
        };
        let http = bind("HTTP", self.http_port)?;
        let https = match &self.secure {
            Some((port, certificates)) => {
                let tls = certificates.of(address).map_err(|error| format!("HTTPS: {error}"))?;
                Some(bind("HTTPS", *port)?.secure(tls))
            }
            None => None,
        };
        let (opener, stop) = (|| self.opener.clone(), || stop.clone());
        tasks.spawn(ended("TFTP", tftp.run(opener(), stop())));
        tasks.spawn(ended("HTTP", http.run(opener(), stop())));
        if let Some(https) = https {
            tasks.spawn(ended("HTTPS", https.run(opener(), stop())));
        }
        Ok(())
    }
}

fn taken(what: &str, at: SocketAddr) -> impl Fn(io::Error) -> String {
    move |error| format!("{what} can't listen on {at}: {error}")
}

async fn ended(what: &'static str, server: impl Future<Output = io::Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "{what} ended");
    }
}
