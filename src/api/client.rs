//! The commands' side of the control API.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::types::Failure;

/// Talks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`, or the path of a Unix socket.
    address: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {address}: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("{0}")]
    Refused(String),
    /// The daemon answers, but something that it needs does not.
    #[error("{0}")]
    Unavailable(String),
    #[error("the daemon at {address} sent something unexpected: {why}")]
    Nonsense { address: String, why: String },
}

impl Client {
    /// `address` is `host:port`, a port of this host, or the path of a Unix socket.
    pub fn new(address: &str) -> Client {
        let address = address.strip_prefix("unix:").unwrap_or(address);
        if address.starts_with('/') {
            return Client { address: address.to_owned() };
        }
        let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let address = if address.contains(':') { address.to_owned() } else { format!("127.0.0.1:{address}") };
        Client { address }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.nonsense(error))?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let unreachable = |cause: String| ClientError::Unreachable { address: self.address.clone(), cause };
        let connected = tokio::time::timeout(Duration::from_secs(5), self.connect()).await;
        let stream = connected.map_err(|_| unreachable("timed out".into()))?;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "voldemort")
            .header("Content-Type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.nonsense(error))?;
        let response = sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        let body =
            response.into_body().collect().await.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        drop(sender);
        connection.abort();
        if status != StatusCode::OK {
            let said = serde_json::from_slice::<Failure>(&body).map(|failure| failure.error);
            let said = said.unwrap_or_else(|_| format!("{status}"));
            return Err(match status {
                StatusCode::SERVICE_UNAVAILABLE => ClientError::Unavailable(said),
                _ => ClientError::Refused(said),
            });
        }
        serde_json::from_slice(&body).map_err(|error| self.nonsense(error))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self.address.starts_with('/') {
            true => Box::new(UnixStream::connect(&self.address).await?),
            false => Box::new(TcpStream::connect(&self.address).await?),
        })
    }

    fn nonsense(&self, why: impl ToString) -> ClientError {
        ClientError::Nonsense { address: self.address.clone(), why: why.to_string() }
    }
}

/// Either kind of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
