//! What comes by a listener, before it is a connection on which HTTP is spoken.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::super::certificate::Certificate;
use crate::api::problem;

/// The first byte of a TLS connection: the record of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// Longest time to send a refusal.
const PATIENCE: Duration = Duration::from_millis(100);

/// What HTTP is spoken over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A connection that was accepted.
pub(super) enum Accepted {
    Open(Box<dyn Wire>),
    /// By TCP at an address that other hosts reach.
    Beyond(TcpStream, Arc<Certificate>),
}

impl Accepted {
    pub(super) fn tcp(stream: TcpStream, certificate: Option<Arc<Certificate>>) -> Accepted {
        match certificate {
            Some(certificate) => Accepted::Beyond(stream, certificate),
            None => Accepted::Open(Box::new(stream)),
        }
    }

    /// Agrees with the client on TLS, in a limited time. Who comes from this very host by its loopback need not
    /// speak it: nobody else hears. `None` if there is no agreement.
    pub(super) async fn open(self, limit: Duration) -> Option<Box<dyn Wire>> {
        let (stream, certificate) = match self {
            Accepted::Open(stream) => return Some(stream),
            Accepted::Beyond(stream, certificate) => (stream, certificate),
        };
        let opened = timeout(limit, async {
            let mut first = [0];
            if stream.peek(&mut first).await.ok()? == 0 {
                return None;
            }
            if first[0] == HANDSHAKE {
                let accepted = TlsAcceptor::from(certificate.config()).accept(stream).await;
                let accepted =
                    accepted.inspect_err(|error| tracing::debug!(%error, "API: no agreement on TLS"));
                return Some(Box::new(accepted.ok()?) as Box<dyn Wire>);
            }
            if is_loopback(&stream) {
                return Some(Box::new(stream) as Box<dyn Wire>);
            }
            let detail = "this address takes HTTPS only; `voldemortctl login HOST:PORT` sets that up. If a token was \
                          sent, it went over the network in clear text: revoke it";
            say(stream, StatusCode::BAD_REQUEST, detail).await;
            None
        });
        opened.await.unwrap_or_else(|_| {
            tracing::debug!("API: a client never finished its TLS handshake");
            None
        })
    }

    /// Says to a caller that has all the connections it may have that this one is too many. Under TLS it could not
    /// read it.
    pub(super) async fn refuse(self) {
        let detail = "the daemon works on too many requests of this user at a time: wait for one to end";
        if let Accepted::Open(stream) = self {
            say(stream, StatusCode::SERVICE_UNAVAILABLE, detail).await;
        }
    }
}

/// Whether both ends are loopback addresses of this host.
fn is_loopback(stream: &TcpStream) -> bool {
    let is_near = |ip: IpAddr| ip.to_canonical().is_loopback();
    let ends = (stream.local_addr(), stream.peer_addr());
    matches!(ends, (Ok(own), Ok(other)) if is_near(own.ip()) && is_near(other.ip()))
}

/// One answer, without a request being read.
async fn say(mut stream: impl AsyncWrite + Unpin, status: StatusCode, detail: &str) {
    let body = problem::text(status, detail);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem::TYPE,
        body.len()
    );
    // A new connection has room for as much. Whoever does not read it is not waited for.
    let _ = timeout(PATIENCE, stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())).await;
}
