//! Git's smart protocol over HTTP/1.1 (gitprotocol-http(5)), as a subtransport of libgit2.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::model::{Access, base64};
use crate::source::git::address::{Address, Web};
use crate::source::tls;

const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Longest silence of a server in the middle of an answer; packing a large repository is quiet.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;
/// Largest request, in bytes: what we have of a repository with very many references.
const MOST_SENT: usize = 64 << 20;
/// The user where a token is all that counts: GitHub, GitLab and Gitea take any name.
const ANY_USER: &str = "x-access-token";
/// Some servers serve git only to clients with this agent.
const AGENT: &str = concat!("git/2.40 (voldemort ", env!("CARGO_PKG_VERSION"), ")");

/// Everything that the requests of one fetch share.
pub(super) struct Shared {
    runtime: Runtime,
    tls: Option<Arc<ClientConfig>>,
    /// As it was configured: only this host gets the credentials.
    first: Web,
    credentials: Option<Credentials>,
    insecure: bool,
    state: Mutex<State>,
}

struct Credentials {
    user: String,
    password: String,
    /// The file they are from, for messages.
    file: Option<PathBuf>,
}

/// What the server taught us.
struct State {
    /// Where the repository really is.
    base: Web,
    /// The server wants the token itself instead of user and password.
    bearer: bool,
}

/// One request to make.
struct Call {
    method: Method,
    /// Behind the repository's path.
    below: &'static str,
    accept: &'static str,
    content: Option<&'static str>,
}

impl Shared {
    pub(super) fn new(web: Web, access: &Access) -> Result<Arc<Shared>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let credentials = match &access.token {
            Some(file) => Some(token(file, &web)?),
            None => web.password.clone().map(|password| Credentials {
                user: web.user.clone().unwrap_or_default(),
                password,
                file: None,
            }),
        };
        Ok(Arc::new(Shared {
            runtime: runtime.map_err(|error| error.to_string())?,
            tls: web.secure.then(|| tls::client(access.ca.as_deref())).transpose()?,
            state: Mutex::new(State { base: web.clone(), bearer: false }),
            first: web,
            credentials,
            insecure: access.insecure,
        }))
    }

    /// Sends a request and follows redirects if `call` is the first one of a fetch.
    fn exchange(&self, call: &Call, body: &Bytes) -> Result<Incoming, String> {
        self.runtime.block_on(async {
            for _ in 0..=MOST_REDIRECTS {
                let (base, bearer) = {
                    let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    (state.base.clone(), state.bearer)
                };
                let response = self.send(&base, bearer, call, body.clone()).await?;
                match response.status() {
                    StatusCode::OK => return accepted(response, call.accept),
                    StatusCode::UNAUTHORIZED if !bearer && self.wants_bearer(response.headers()) => {
                        self.learn(base, true);
                    }
                    status if status.is_redirection() && call.method == Method::GET => {
                        let next = self.redirected(&base, call, response.headers())?;
                        self.learn(next, bearer);
                    }
                    status => return Err(self.refused(status)),
                }
            }
            Err(format!("more than {MOST_REDIRECTS} redirects"))
        })
    }

    fn learn(&self, base: Web, bearer: bool) {
        *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = State { base, bearer };
    }

    async fn send(
        &self,
        web: &Web,
        bearer: bool,
        call: &Call,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", web.path, call.below))
            .header(header::HOST, web.authority())
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, call.accept)
            .header(header::CACHE_CONTROL, "no-cache");
        if let Some(content) = call.content {
            request = request.header(header::CONTENT_TYPE, content);
        }
        // A server that the request was redirected to must not get the token.
        if let Some(credentials) = self.credentials.as_ref().filter(|_| web.origin() == self.first.origin()) {
            request = request.header(header::AUTHORIZATION, credentials.header(bearer)?);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let connected = tokio::time::timeout(CONNECT_LIMIT, self.connect(web)).await;
        let place = format!("{}:{}", web.host, web.port);
        let mut sender = connected
            .map_err(|_| format!("{place} does not answer within {} s", CONNECT_LIMIT.as_secs()))?
            .map_err(|why| format!("{place}: {why}"))?;
        tokio::time::timeout(SILENCE_LIMIT, sender.send_request(request))
            .await
            .map_err(|_| format!("{place} said nothing for {} s", SILENCE_LIMIT.as_secs()))?
            .map_err(|error| format!("{place}: {error}"))
    }

    async fn connect(&self, web: &Web) -> Result<Sender, String> {
        let tcp =
            TcpStream::connect((web.host.as_str(), web.port)).await.map_err(|error| error.to_string())?;
        let Some(tls) = self.tls.clone().filter(|_| web.secure) else { return shake_hands(tcp).await };
        let name = ServerName::try_from(web.host.clone()).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await;
        shake_hands(tls.map_err(|error| format!("TLS: {error}"))?).await
    }

    fn wants_bearer(&self, headers: &HeaderMap) -> bool {
        let offered = |scheme: &str| {
            let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
            challenges.filter_map(|value| value.to_str().ok()).any(|value| {
                value.split(',').any(|part| {
                    part.trim_start()
                        .get(..scheme.len())
                        .is_some_and(|word| word.eq_ignore_ascii_case(scheme))
                })
            })
        };
        self.credentials.is_some() && offered("Bearer") && !offered("Basic")
    }

    /// The repository's place after a redirect of its first request.
    fn redirected(&self, from: &Web, call: &Call, headers: &HeaderMap) -> Result<Web, String> {
        let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let target = target.ok_or("a redirect that leads nowhere")?;
        let odd = || format!("the redirect to {target} leads to no repository");
        let path_of = |path: &str| path.strip_suffix(call.below).map(str::to_owned).ok_or_else(odd);
        if target.starts_with('/') && !target.starts_with("//") {
            return Ok(Web { path: path_of(target)?, ..from.clone() });
        }
        let uri: Uri = target.parse().map_err(|_| odd())?;
        let whole = uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
        let Ok(Address::Web(next)) = Address::parse(target) else { return Err(odd()) };
        let next = Web { path: path_of(whole)?, user: None, password: None, ..next };
        let weaker = from.secure && !next.secure;
        if weaker || (next.is_open() && !self.insecure) {
            return Err(format!("the redirect to {target} would travel unprotected"));
        }
        if next.secure && self.tls.is_none() {
            return Err(format!("it moved: name {target} as `git`"));
        }
        Ok(next)
    }

    fn refused(&self, status: StatusCode) -> String {
        let file = self.credentials.as_ref().and_then(|credentials| credentials.file.as_ref());
        match (status, &self.credentials, file) {
            (StatusCode::UNAUTHORIZED, None, _) => {
                "the server requires a login (401): name a file with a token as `token`".to_owned()
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_), Some(file)) => {
                format!("the server refuses the token in {} ({})", file.display(), status.as_u16())
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, ..) => {
                format!("the server refuses us ({})", status.as_u16())
            }
            (StatusCode::NOT_FOUND, ..) => {
                "there is no such repository, or we may not see it (404)".to_owned()
            }
            _ => format!("the server answered {status}"),
        }
    }
}

impl Credentials {
    fn header(&self, bearer: bool) -> Result<HeaderValue, String> {
        let text = match bearer {
            true => format!("Bearer {}", self.password),
            false => format!("Basic {}", base64(format!("{}:{}", self.user, self.password).as_bytes())),
        };
        let mut value =
            HeaderValue::try_from(text).map_err(|_| "the token has characters that none can have")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The token in `file`: its first line.
fn token(file: &Path, web: &Web) -> Result<Credentials, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("`token` {}: {error}", file.display()))?;
    let password = text.lines().next().unwrap_or_default().trim().to_owned();
    if password.is_empty() {
        return Err(format!("`token` {}: the file is empty", file.display()));
    }
    let user = web.user.clone().unwrap_or_else(|| ANY_USER.to_owned());
    Ok(Credentials { user, password, file: Some(file.to_owned()) })
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

async fn shake_hands(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, String> {
    let hands = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = hands.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The body, if it is what was asked for: a web page is no repository.
fn accepted(response: Response<Incoming>, wanted: &str) -> Result<Incoming, String> {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("nothing known");
    if kind.split(';').next().map(str::trim) == Some(wanted) {
        return Ok(response.into_body());
    }
    Err(format!("the server answered with {kind} and not as a git server does: is this the clone URL?"))
}

/// The subtransport.
pub(super) struct Http(pub Arc<Shared>);

impl SmartSubtransport for Http {
    fn action(&self, _: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let (method, below, accept, content) = match service {
            Service::UploadPackLs => (
                Method::GET,
                "/info/refs?service=git-upload-pack",
                "application/x-git-upload-pack-advertisement",
                None,
            ),
            Service::UploadPack => (
                Method::POST,
                "/git-upload-pack",
                "application/x-git-upload-pack-result",
                Some("application/x-git-upload-pack-request"),
            ),
            Service::ReceivePackLs => (
                Method::GET,
                "/info/refs?service=git-receive-pack",
                "application/x-git-receive-pack-advertisement",
                None,
            ),
            Service::ReceivePack => (
                Method::POST,
                "/git-receive-pack",
                "application/x-git-receive-pack-result",
                Some("application/x-git-receive-pack-request"),
            ),
        };
        let call = Call { method, below, accept, content };
        Ok(Box::new(Stream {
            shared: self.0.clone(),
            call,
            sent: Vec::new(),
            answer: None,
            rest: Bytes::new(),
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request, which is sent when its answer is first read.
struct Stream {
    shared: Arc<Shared>,
    call: Call,
    sent: Vec<u8>,
    answer: Option<Incoming>,
    rest: Bytes,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sent.len() + bytes.len() > MOST_SENT {
            return Err(io::Error::other("the request grows too large"));
        }
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => {
                let body = Bytes::from(std::mem::take(&mut self.sent));
                let answer = self.shared.exchange(&self.call, &body).map_err(io::Error::other)?;
                self.answer.insert(answer)
            }
        };
        while self.rest.is_empty() {
            let frame = self
                .shared
                .runtime
                .block_on(async { tokio::time::timeout(SILENCE_LIMIT, answer.frame()).await });
            match frame {
                Err(_) => return Err(io::Error::other("the server stopped answering")),
                Ok(None) => return Ok(0),
                Ok(Some(frame)) => {
                    let frame =
                        frame.map_err(|error| io::Error::other(format!("the answer broke off: {error}")))?;
                    self.rest = frame.into_data().unwrap_or_default();
                }
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(url: &str) -> Web {
        match Address::parse(url) {
            Ok(Address::Web(web)) => web,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn redirects_never_weaken() {
        let shared = Shared::new(web("http://127.0.0.1:8000/x"), &Access::default()).unwrap();
        let call = Call {
            method: Method::GET,
            below: "/info/refs?service=git-upload-pack",
            accept: "",
            content: None,
        };
        let to = |from: &str, target: &str| {
            let headers = [(header::LOCATION, HeaderValue::from_str(target).unwrap())].into_iter().collect();
            shared.redirected(&web(from), &call, &headers).map(|web| web.path)
        };
        let tail = call.below;
        assert_eq!(to("http://127.0.0.1/x", &format!("/y.git{tail}")), Ok("/y.git".into()));
        assert_eq!(to("http://127.0.0.1/x", &format!("http://127.0.0.2/z{tail}")), Ok("/z".into()));
        for (from, target) in [
            ("https://h/x", format!("http://127.0.0.1/x{tail}")),
            ("http://127.0.0.1/x", format!("http://example.org/x{tail}")),
            ("http://127.0.0.1/x", "/login".to_owned()),
            ("http://127.0.0.1/x", format!("//example.org/x{tail}")),
            ("http://127.0.0.1/x", "file:///etc/passwd".to_owned()),
        ] {
            assert!(to(from, &target).is_err(), "{from} {target}");
        }
    }
}
