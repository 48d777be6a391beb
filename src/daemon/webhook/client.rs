//! One request after the other to a webhook's server, over one connection while there is something to be sent. A
//! redirect is not followed: the request would go to a server that nobody named.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::signature::Secrets;
use crate::config::Webhook;
use crate::daemon::now;
use crate::model::printable::line;
use crate::source::tls;

/// Longest time for one request: to resolve the name, to connect, to send and to be answered.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest head of an answer, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// Longest body of an answer that is read, so that the connection can be used again.
const BODY_MAX: usize = 64 << 10;
const AGENT: &str = concat!("voldemort/", env!("CARGO_PKG_VERSION"));

/// The client of one webhook.
pub(super) struct Client {
    settings: Webhook,
    connection: Option<Connection>,
}

/// An open connection; its task ends with it.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    /// Read when it was opened, so that a new secret counts for the next one.
    secrets: Secrets,
    _task: JoinSet<()>,
}

impl Client {
    pub(super) fn new(settings: Webhook) -> Client {
        Client { settings, connection: None }
    }

    /// Closes the connection.
    pub(super) fn rest(&mut self) {
        self.connection = None;
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// Why it may not have arrived; neither path nor secret are in it.
    pub(super) async fn send(&mut self, id: &str, body: &Bytes) -> Result<(), String> {
        let sent = tokio::time::timeout(LIMIT, self.attempt(id, body)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("it did not answer within {} s", LIMIT.as_secs())));
        if sent.is_err() {
            self.connection = None;
        }
        sent.map_err(|why| line(&why).into_owned())
    }

    async fn attempt(&mut self, id: &str, body: &Bytes) -> Result<(), String> {
        if let Some(mut connection) = self.connection.take() {
            // A server may close a connection that it was silent on; then it did not answer, and a new one is tried.
            if let Ok(answer) = self.request(&mut connection, id, body).await {
                return self.take(connection, answer).await;
            }
        }
        let mut connection = self.connect().await?;
        let answer = self.request(&mut connection, id, body).await?;
        self.take(connection, answer).await
    }

    async fn request(
        &self,
        connection: &mut Connection,
        id: &str,
        body: &Bytes,
    ) -> Result<Response<Incoming>, String> {
        let seconds = now().0 / 1000;
        let request = Request::post(&*self.settings.url.target)
            .header(header::HOST, self.settings.url.authority())
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", connection.secrets.sign(id, seconds, body))
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        connection.requests.ready().await.map_err(|error| chain(&error))?;
        connection.requests.send_request(request).await.map_err(|error| chain(&error))
    }

    /// What the answer means. The connection is kept where the answer was read to its end.
    async fn take(&mut self, connection: Connection, answer: Response<Incoming>) -> Result<(), String> {
        let status = answer.status();
        if status.is_redirection() {
            return Err(format!(
                "it answers with a redirect ({}): name its target as `url`",
                status.as_u16()
            ));
        }
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        if Limited::new(answer.into_body(), BODY_MAX).collect().await.is_ok() {
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, String> {
        let Webhook { url, secret, ca, .. } = &self.settings;
        let (secret, ca, secure) = (secret.clone(), ca.clone(), url.secure);
        // Files may lie on a file system that hangs.
        let reading = tokio::task::spawn_blocking(move || {
            let secrets = Secrets::read(&secret)?;
            Ok((secrets, secure.then(|| tls::client(ca.as_deref())).transpose()?))
        });
        let (secrets, tls) = reading.await.unwrap_or_else(|panic| Err(panic.to_string()))?;
        let tcp =
            TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| error.to_string())?;
        // Small messages, each of which is waited for.
        let _ = tcp.set_nodelay(true);
        let (requests, task) = match tls {
            None => shake_hands(tcp).await?,
            Some(tls) => shake_hands(over_tls(tls, &url.host, tcp).await?).await?,
        };
        Ok(Connection { requests, secrets, _task: task })
    }
}

async fn over_tls(
    tls: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), String> {
    let hands = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (requests, connection) = hands.map_err(|error| chain(&error))?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // A request that fails says why.
        let _ = connection.await;
    });
    Ok((requests, task))
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
