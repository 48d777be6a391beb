//! One request to a controller, on a connection of its own (controllers fail with long-lived ones), bounded
//! in time and size, and only to the host that the manifest names.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Endpoint, Fault, Limits, Login, Trust};
use crate::model::base64;
use crate::model::printable::is_printable;

const AGENT: &str = concat!("voldemort/", env!("CARGO_PKG_VERSION"));
/// Longest head of a response, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// Most characters of a controller's text that a message repeats.
const QUOTE_MAX: usize = 80;

/// A controller, and how to connect to it.
pub(super) struct Line<'a> {
    pub endpoint: Endpoint,
    pub fingerprint: Option<&'a Arc<str>>,
    pub login: Option<&'a Login>,
    pub trust: &'a Trust,
    pub limits: &'a Limits,
}

impl Line<'_> {
    /// The JSON at `path`; with `login` the request is authenticated.
    pub(super) async fn get(&self, path: &Arc<str>, login: bool) -> Result<serde_json::Value, Fault> {
        let mut request = Request::get(&**path)
            .header(header::HOST, self.endpoint.authority())
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0")
            .header(header::CONNECTION, "close");
        if let Some(login) = self.login.filter(|_| login) {
            if self.endpoint.is_open() {
                return Err(Fault::Unprotected);
            }
            request = request.header(header::AUTHORIZATION, authorization(login));
        }
        let odd = |why: String| Fault::Odd { path: path.clone(), why };
        let request = request.body(Empty::new()).map_err(|error| odd(error.to_string()))?;
        let (mut sender, _connection) = self.connect().await?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| Fault::BrokeOff { path: path.clone(), why: chain(&error) })?;
        self.judge(path, &answer)?;
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let kind = kind.map_or_else(|| "of no known kind".to_owned(), |kind| quoted(kind.as_bytes()));
        let body = self.body(path, answer.into_body()).await?;
        serde_json::from_slice(&body).map_err(|_| Fault::NotJson { path: path.clone(), kind })
    }

    fn judge(&self, path: &Arc<str>, answer: &Response<Incoming>) -> Result<(), Fault> {
        let path = path.clone();
        Err(match answer.status() {
            StatusCode::OK => return Ok(()),
            StatusCode::UNAUTHORIZED if self.login.is_none() => Fault::NoLogin,
            StatusCode::UNAUTHORIZED => Fault::WrongLogin,
            StatusCode::FORBIDDEN => Fault::Forbidden(path),
            StatusCode::NOT_FOUND => Fault::Missing(path),
            status if status.is_redirection() => {
                let to = answer.headers().get(header::LOCATION);
                let to = to.map_or_else(|| "nowhere".to_owned(), |to| quoted(to.as_bytes()));
                Fault::Redirected { from: path, to }
            }
            status => Fault::Status { status: status.as_u16(), path },
        })
    }

    async fn body(&self, path: &Arc<str>, mut body: Incoming) -> Result<Vec<u8>, Fault> {
        let most = self.limits.body;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::BrokeOff { path: path.clone(), why: chain(&error) })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Fault::TooLarge { path: path.clone(), most });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    async fn connect(&self) -> Result<(Sender, Connection), Fault> {
        let limit = self.limits.connect;
        let absent = |_| Fault::Absent { endpoint: self.endpoint.clone(), seconds: limit.as_secs() };
        tokio::time::timeout(limit, self.reach()).await.map_err(absent)?
    }

    async fn reach(&self) -> Result<(Sender, Connection), Fault> {
        let fail = |why: String| Fault::Connect { endpoint: self.endpoint.clone(), why };
        let Endpoint { secure, host, port } = &self.endpoint;
        let tcp = TcpStream::connect((&**host, *port)).await.map_err(|error| fail(error.to_string()))?;
        if !secure {
            return shake_hands(tcp).await.map_err(fail);
        }
        let (config, seen) = self.trust.client(self.fingerprint.cloned()).map_err(fail)?;
        let name = ServerName::try_from(host.to_string()).map_err(|error| fail(error.to_string()))?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let tls = tls.map_err(|error| match (seen.refused(), self.fingerprint) {
            (Some((seen, _)), Some(_)) => Fault::OtherCertificate { endpoint: self.endpoint.clone(), seen },
            (Some((seen, why)), None) => Fault::Untrusted { endpoint: self.endpoint.clone(), why, seen },
            (None, _) => fail(format!("TLS: {error}")),
        })?;
        shake_hands(tls).await.map_err(fail)
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

/// The task that drives a connection; it is aborted when the request is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(Sender, Connection), String> {
    let hands =
        hyper::client::conn::http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream));
    let (sender, connection) = hands.await.map_err(|error| chain(&error))?;
    let task = tokio::spawn(async move {
        // A failed request reports the error to its caller.
        let _ = connection.await;
    });
    Ok((sender, Connection(task)))
}

fn authorization(login: &Login) -> HeaderValue {
    let text = format!("Basic {}", base64(format!("{}:{}", login.user, login.password).as_bytes()));
    let mut value = HeaderValue::try_from(text).expect("base64 has only what headers may have");
    value.set_sensitive(true);
    value
}

/// A controller's text, for messages: short, and on one line.
fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(QUOTE_MAX).map(|c| if is_printable(c) { c } else { '?' }).collect()
}

/// hyper's error says what it did, and its source says what went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}
