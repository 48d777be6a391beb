//! The commands' side of the control API.

mod tls;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::LINK;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::access::NETWORK;
use super::problem::Problem;
pub use tls::{Chain, Trust, host_of};

/// Longest time until a connection stands, and again until the daemon says that it is there.
const CONNECT: Duration = Duration::from_secs(5);

/// Talks to one daemon: the first of some addresses at which it is found.
#[derive(Clone, Debug)]
pub struct Client {
    addresses: Vec<Address>,
}

/// Where a daemon may be.
#[derive(Clone, Debug)]
pub enum Address {
    /// A Unix socket; if it is not of this network namespace it is another daemon's.
    Socket { path: PathBuf, network: Option<u64> },
    /// `host:port`, and the token that it takes.
    Tcp { address: String, token: Token, trust: Trust },
}

/// A token, or why there is none.
#[derive(Clone, Debug)]
pub enum Token {
    /// The command line names it for this address.
    Given(Result<String, String>),
    /// A daemon of this host left it, for a server of this address: it goes to no other host. It is looked up for each
    /// connection, for a daemon that is started again leaves another one.
    Left(fn(&str) -> Result<String, String>),
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {address}: {cause}")]
    Unreachable { address: String, cause: String },
    /// It was asked, and its answer never came: it ended, or the connection did.
    #[error("the daemon at {address} broke off before it had answered ({cause}){}", unknown_whether(*.changes))]
    Broken { address: String, cause: String, changes: bool },
    /// A daemon is there and does not serve this caller.
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Refused(String),
    /// What was asked about is not there any more, such as events that were forgotten.
    #[error("{0}")]
    Gone(String),
    /// The daemon answers, but something that it needs does not.
    #[error("{0}")]
    Unavailable(String),
    #[error("the daemon at {address} sent something unexpected: {why}")]
    Nonsense { address: String, why: String },
}

impl ClientError {
    /// Whether a daemon that is started again may answer, or has just been started and soon will.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            ClientError::Unreachable { .. } | ClientError::Broken { .. } | ClientError::Unavailable(_)
        )
    }
}

fn unknown_whether(changes: bool) -> &'static str {
    if changes { ": whether it did what it was asked is not known; look before you ask again" } else { "" }
}

/// A connection on which requests are sent.
struct Connection {
    address: String,
    token: Option<String>,
    sender: SendRequest<Full<Bytes>>,
    task: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Tries the addresses in their order.
    pub fn new(addresses: Vec<Address>) -> Client {
        Client { addresses }
    }

    /// Only finds out whether the daemon answers, as the one that it is believed to be.
    pub async fn find(&self) -> Result<(), ClientError> {
        self.connect().await.map(drop)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| nonsense("this command", error))?;
        self.send(Method::POST, path, body.into()).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::DELETE, path, Bytes::new()).await
    }

    /// The rows of one page, and the path of the next.
    pub async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Vec<T>, Option<String>), ClientError> {
        let (rows, headers) = self.exchange(Method::GET, path, Bytes::new()).await?;
        let link = headers.get(LINK).and_then(|link| link.to_str().ok());
        let next = link.and_then(|link| link.strip_prefix('<')?.strip_suffix(">; rel=\"next\""));
        Ok((rows, next.map(str::to_owned)))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        Ok(self.exchange(method, path, body).await?.0)
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(T, HeaderMap), ClientError> {
        let mut connection = self.connect().await?;
        let address = connection.address.clone();
        let changes = method != Method::GET;
        let broken = |cause: String| ClientError::Broken { address: address.clone(), cause, changes };
        let response = connection.ask(method, path, body).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| broken(error.to_string()))?;
        Ok((understood(&address, head.status, &body.to_bytes())?, head.headers))
    }

    /// A connection to the first address where this host's daemon answers.
    async fn connect(&self) -> Result<Connection, ClientError> {
        let (mut tried, mut causes, mut forbidden) = (Vec::new(), Vec::new(), None);
        for address in &self.addresses {
            match address.connect().await {
                Ok(connection) => return Ok(connection),
                Err(No::Away(cause)) => {
                    tried.push(address.to_string());
                    causes.push(cause);
                }
                Err(No::Forbidden(why)) => {
                    // Where more than one way is closed, the last one says how to open it.
                    forbidden = Some(match forbidden {
                        Some(before) => format!("{before}; {why}"),
                        None => why,
                    });
                }
            }
        }
        match forbidden {
            Some(why) => Err(ClientError::NotAllowed(why)),
            None => Err(ClientError::Unreachable { address: tried.join(" and "), cause: causes.join("; ") }),
        }
    }
}

/// Why an address is not used.
enum No {
    /// The daemon is not there.
    Away(String),
    /// It may be there, and refuses this user.
    Forbidden(String),
}

impl Address {
    async fn connect(&self) -> Result<Connection, No> {
        match self {
            Address::Socket { path, network } => {
                let stream = within(UnixStream::connect(path)).await;
                let stream = stream.map_err(|error| match error.kind() {
                    io::ErrorKind::PermissionDenied => No::Forbidden(format!(
                        "the socket {} may be used by root and by members of its group (voldemort): `sudo` \
                         does, or `usermod -aG voldemort $USER` and a new login",
                        path.display()
                    )),
                    io::ErrorKind::NotFound => No::Away("there is no such socket".into()),
                    _ => No::Away(error.to_string()),
                })?;
                let mut connection = Connection::over(stream, self.to_string(), None).await?;
                connection.greet(*network).await?;
                Ok(connection)
            }
            Address::Tcp { address, token, trust } => {
                let stream = within(TcpStream::connect(address)).await;
                let stream = stream.map_err(|error| No::Away(error.to_string()))?;
                let peer = stream.peer_addr().map_err(|error| No::Away(error.to_string()))?;
                // A server there must not get a token that was not meant for it.
                if matches!(token, Token::Left(_)) && !is_here(&stream) {
                    return Err(No::Forbidden(format!(
                        "{address} is another host, and gets no token that a daemon of this one left: name its \
                         token with --token-file FILE or VOLDEMORT_TOKEN"
                    )));
                }
                let mut connection = match trust.is_secure(peer.ip()) {
                    true => {
                        let stream = tls::secure(stream, address, trust).await?;
                        Connection::over(stream, address.clone(), None).await?
                    }
                    false => Connection::over(stream, address.clone(), None).await?,
                };
                connection.greet(None).await?;
                // A daemon that answers has left its own by now.
                let found = match token {
                    Token::Given(token) => token.clone(),
                    Token::Left(look_up) => look_up(address),
                };
                let found = found.map_err(|why| {
                    No::Forbidden(format!("the daemon at {address} needs a token, and {why}"))
                })?;
                connection.token = Some(found);
                Ok(connection)
            }
        }
    }
}

/// What a server shows that nobody trusts yet, and its clock as it writes it (RFC 9110, 6.6.1). Nothing secret is sent.
///
/// # Errors
/// Nobody answers there, or speaks TLS; with which side may have to act.
pub async fn look(address: &str) -> Result<(Chain, Option<String>), ClientError> {
    let failed = |no: No| match no {
        No::Away(cause) => ClientError::Unreachable { address: address.to_owned(), cause },
        No::Forbidden(why) => ClientError::NotAllowed(why),
    };
    let stream = within(TcpStream::connect(address)).await.map_err(|error| {
        failed(No::Away(format!(
            "{error}. Is the daemon running there, does `[api] listen` in its file have an address that this host \
             reaches (0.0.0.0:12345), and is there a firewall between?"
        )))
    })?;
    let (stream, chain) = tls::look(stream, address).await.map_err(failed)?;
    let mut connection = Connection::over(stream, address.to_owned(), None).await.map_err(failed)?;
    let asked = connection.ask(Method::HEAD, "/healthz", Bytes::new());
    let answer = tokio::time::timeout(CONNECT, asked).await.ok().and_then(Result::ok);
    let clock = answer.and_then(|answer| Some(answer.headers().get("date")?.to_str().ok()?.to_owned()));
    Ok((chain, clock))
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Socket { path, network: _ } => write!(f, "unix:{}", path.display()),
            Address::Tcp { address, .. } => f.write_str(address),
        }
    }
}

/// Whether the other end is on this host: it is on loopback, or has the same address as this end.
fn is_here(stream: &TcpStream) -> bool {
    let (Ok(own), Ok(other)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    let other = other.ip().to_canonical();
    other.is_loopback() || own.ip().to_canonical() == other
}

async fn within<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "timed out");
    tokio::time::timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(late()))
}

impl Connection {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: String,
        token: Option<String>,
    ) -> Result<Connection, No> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| No::Away(error.to_string()))?;
        Ok(Connection { address, token, sender, task: tokio::spawn(connection) })
    }

    /// Whether an HTTP server answers; a later request may take its time. On the socket also whether that
    /// daemon is in this process's network namespace: another one serves other machines.
    async fn greet(&mut self, network: Option<u64>) -> Result<(), No> {
        let asked = tokio::time::timeout(CONNECT, self.ask(Method::HEAD, "/healthz", Bytes::new())).await;
        let late = || Err("it accepts connections and does not answer".to_owned());
        let answer = asked.unwrap_or_else(|_| late()).map_err(No::Away)?;
        let theirs = answer.headers().get(NETWORK).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        match (theirs, network) {
            (Some(theirs), Some(network)) if theirs != network => {
                Err(No::Away("the daemon there is of another network namespace".into()))
            }
            _ => Ok(()),
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<hyper::body::Incoming>, String> {
        let host = if self.address.starts_with("unix:") { "localhost" } else { self.address.as_str() };
        let mut request = Request::builder().method(method).uri(path).header("Host", host);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request = request.header("Content-Type", "application/json");
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let closed = |_| "it closed the connection before it was asked".to_owned();
        self.sender.ready().await.map_err(closed)?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }
}

/// A word of a path or of a query: what is no letter, digit or sign of a name or address, as URLs write it.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Decodes an answer. An error with a typed outcome is an answer like another.
fn understood<T: DeserializeOwned>(address: &str, status: StatusCode, body: &[u8]) -> Result<T, ClientError> {
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(|error| nonsense(address, error));
    }
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if value.get("outcome").is_some() {
        return serde_json::from_value(value).map_err(|error| nonsense(address, error));
    }
    let said = serde_json::from_value::<Problem>(value).map(|problem| problem.detail);
    let said = said.unwrap_or_else(|_| format!("{status}"));
    Err(match status {
        StatusCode::SERVICE_UNAVAILABLE => ClientError::Unavailable(said),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::NotAllowed(said),
        StatusCode::GONE => ClientError::Gone(said),
        _ => ClientError::Refused(said),
    })
}

fn nonsense(address: &str, why: impl ToString) -> ClientError {
    ClientError::Nonsense { address: address.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// A daemon that says that it is there, and ends when it is asked for more.
    async fn ends_when_asked(listener: UnixListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let _ = stream.read(&mut request).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_daemon_that_ends_while_it_is_asked_is_not_called_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let away = Client::new(vec![Address::Socket { path: path.clone(), network: None }]);
        let error = away.get::<u8>("/v1/status").await.unwrap_err();
        assert!(error.to_string().starts_with("no daemon answers at unix:") && error.is_passing(), "{error}");
        tokio::spawn(ends_when_asked(UnixListener::bind(&path).unwrap()));
        let client = Client::new(vec![Address::Socket { path, network: None }]);
        let read = client.get::<u8>("/v1/status").await.unwrap_err();
        assert!(read.to_string().contains("broke off before it had answered") && read.is_passing(), "{read}");
        assert!(!read.to_string().contains("not known"), "{read}");
        let changed = client.post::<u8>("/v1/edits", &1).await.unwrap_err().to_string();
        assert!(changed.contains("whether it did what it was asked is not known"), "{changed}");
    }
}
