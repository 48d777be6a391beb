//! One request to a controller, on a connection of its own (controllers fail with long-lived ones), bounded
//! in time and size, and only to the host that the manifest names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Endpoint, Fault, Login, Tools};
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
    pub tools: &'a Tools,
    /// Whether a request that changes something is under way: nobody knows yet what becomes of it.
    pub is_acting: AtomicBool,
}

/// How a request shows whose it is.
#[derive(Clone, Copy)]
pub(super) enum Pass<'a> {
    Nobody,
    Basic(&'a Login),
    /// By the token of a session (DSP0266 section 13.3.4).
    Session(&'a str),
}

/// What is sent besides method and path.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent<'a> {
    pub body: Option<&'a Value>,
    pub if_match: Option<&'a str>,
    /// Whether it changes something about the machine.
    pub acts: bool,
}

impl<'a> Sent<'a> {
    pub(super) fn acting(body: &'a Value) -> Sent<'a> {
        Sent { body: Some(body), if_match: None, acts: true }
    }
}

/// What a controller answers.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Result<Vec<u8>, Fault>,
}

impl Reply {
    /// The text of a header.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The JSON of a good answer to a GET.
    pub(super) fn json(self, path: &Arc<str>) -> Result<Value, Fault> {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or_else(|| "of no known kind".to_owned(), |kind| quoted(kind.as_bytes()));
        serde_json::from_slice(&self.body?).map_err(|_| Fault::NotJson { path: path.clone(), kind })
    }

    /// Why a request was refused, in the controller's words (DSP0266 section 8.6), else its status.
    pub(super) fn complaint(&self) -> String {
        let text = self.body.as_ref().ok().and_then(|body| serde_json::from_slice::<Value>(body).ok());
        let error = text.as_ref().and_then(|text| text.get("error"));
        let extended = error.and_then(|error| error.get("@Message.ExtendedInfo")?.get(0)?.get("Message"));
        let message = extended.or_else(|| error?.get("message")).and_then(Value::as_str);
        let status = self.status.as_u16();
        message.map_or_else(
            || format!("status {status}"),
            |text| format!("{} ({status})", quoted(text.as_bytes())),
        )
    }

    /// Whether the answer's text has this word, in whatever case.
    pub(super) fn mentions(&self, word: &str) -> bool {
        let text = self.body.as_ref().map(|body| String::from_utf8_lossy(body).to_ascii_lowercase());
        text.is_ok_and(|text| text.contains(&word.to_ascii_lowercase()))
    }
}

impl Line<'_> {
    /// One request and its answer, whatever its status.
    pub(super) async fn exchange(
        &self,
        method: &Method,
        path: &Arc<str>,
        sent: Sent<'_>,
        pass: Pass<'_>,
    ) -> Result<Reply, Fault> {
        let odd = |why: String| Fault::Odd { path: path.clone(), why };
        let request = self.request(method, path, sent, pass)?;
        let (mut sender, _connection) = self.connect().await?;
        if sent.acts {
            self.is_acting.store(true, Ordering::Relaxed);
        }
        let answer = sender.send_request(request.map_err(odd)?).await;
        let answer = answer.map_err(|error| Fault::BrokeOff { path: path.clone(), why: chain(&error) })?;
        let (parts, body) = answer.into_parts();
        // A 500, 502 or 504 may come of a request that goes on; all else is a clear answer.
        let is_unclear = parts.status.is_server_error() && parts.status != StatusCode::SERVICE_UNAVAILABLE;
        if sent.acts && !is_unclear {
            self.is_acting.store(false, Ordering::Relaxed);
        }
        let body = self.body(path, body).await;
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    fn request(
        &self,
        method: &Method,
        path: &Arc<str>,
        sent: Sent<'_>,
        pass: Pass<'_>,
    ) -> Result<Result<Request<Full<Bytes>>, String>, Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(&**path)
            .header(header::HOST, self.endpoint.authority())
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0")
            .header(header::CONNECTION, "close");
        if !matches!(pass, Pass::Nobody) && self.endpoint.is_open() {
            return Err(Fault::Unprotected);
        }
        match pass {
            Pass::Nobody => {}
            Pass::Basic(login) => request = request.header(header::AUTHORIZATION, authorization(login)),
            Pass::Session(token) => request = request.header("X-Auth-Token", token),
        }
        if let Some(etag) = sent.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        let body = match sent.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        Ok(request.body(Full::new(body.into())).map_err(|error| error.to_string()))
    }

    /// What is wrong with an answer that is to be 200.
    pub(super) fn judge(&self, path: &Arc<str>, answer: &Reply) -> Result<(), Fault> {
        let path = path.clone();
        Err(match answer.status {
            StatusCode::OK => return Ok(()),
            StatusCode::UNAUTHORIZED if self.login.is_none() => Fault::NoLogin,
            StatusCode::UNAUTHORIZED => Fault::WrongLogin,
            StatusCode::FORBIDDEN => Fault::Forbidden(path),
            StatusCode::NOT_FOUND => Fault::Missing(path),
            status if status.is_redirection() => {
                let to = answer.headers.get(header::LOCATION);
                let to = to.map_or_else(|| "nowhere".to_owned(), |to| quoted(to.as_bytes()));
                Fault::Redirected { from: path, to }
            }
            status => Fault::Status { status: status.as_u16(), path },
        })
    }

    async fn body(&self, path: &Arc<str>, mut body: Incoming) -> Result<Vec<u8>, Fault> {
        let most = self.tools.limits.body;
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
        let limit = self.tools.limits.connect;
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
        let (config, seen) = self.tools.trust.client(self.fingerprint.cloned()).map_err(fail)?;
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

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

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
pub(super) fn quoted(bytes: &[u8]) -> String {
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
