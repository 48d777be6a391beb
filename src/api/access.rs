//! Who may ask what: every request passes here before it reaches a route, and before its body is read.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::audit::{self, Audit};
use super::busy::Busy;
use super::problem::problem;
use super::quota::{self, Quotas};
use super::route::Route;
use super::routes::Backend;
use crate::model::{By, Caller, Name, Role, Time, Token};
use crate::state::{self, ApiToken};

/// The header in which the daemon says which network namespace of its host it is in: two daemons of
/// one host can share a file system, and so the place of the socket.
pub const NETWORK: &str = "voldemort-network";

/// Most that is read of a file with a token, in bytes.
const TOKEN_MAX: u64 = 4 << 10;

/// How a connection came, and what the kernel says of its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Through the Unix socket, by this user; the role is what that user has, if any.
    Socket { uid: u32, role: Option<Role> },
    /// Through TCP, from this address: only a token says who it is.
    Network(IpAddr),
}

/// Who has a part of all connections at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    User(u32),
    /// As [`quota::network`] has it.
    Network(IpAddr),
}

impl Peer {
    /// Who it is for the limit of connections; `None` for an admin of this host, and for loopback, which all users of
    /// this host share.
    pub fn limited(self) -> Option<Limited> {
        match self {
            Peer::Socket { uid, role } => (role != Some(Role::Admin)).then_some(Limited::User(uid)),
            Peer::Network(address) if address.to_canonical().is_loopback() => None,
            Peer::Network(address) => Some(Limited::Network(quota::network(address))),
        }
    }
}

/// Who it is as long as no token says more.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Socket { uid, role: Some(role) } => write!(f, "user {uid} ({role})"),
            Peer::Socket { uid, role: None } => write!(f, "user {uid}"),
            Peer::Network(_) => f.write_str("nobody known"),
        }
    }
}

/// What this host is called by its clients, besides its loopback and the addresses that the API listens at.
pub trait Names: std::fmt::Debug + Send + Sync {
    /// Whether it is called so: a name of a host or an address, without brackets and port.
    fn has(&self, host: &str) -> bool;
}

/// What the guard knows.
#[derive(Debug)]
pub struct Access {
    /// Every route and the role that it needs.
    pub routes: Vec<Route>,
    /// The TCP addresses that the API listens at.
    pub addresses: Vec<SocketAddr>,
    /// Its other names.
    pub names: Arc<dyn Names>,
    /// SHA-256 of the token that `start` wrote.
    pub token: Option<[u8; 32]>,
    /// A file with the token of programs that read; it is read anew each time.
    pub viewer_token: Option<PathBuf>,
    /// The network namespace of this process.
    pub network: Option<u64>,
    /// What is asked for and refused is entered here.
    pub audit: Audit,
    /// How much each caller asks for.
    pub quotas: Arc<Quotas>,
}

/// The state and the time that a request is judged by.
#[derive(Clone, Copy)]
struct Present<'a> {
    state: &'a state::State,
    now: Time,
}

/// Who may go on to a route.
#[derive(Clone, Debug)]
struct Admitted {
    caller: Caller,
    /// The token that was created for it, if it has one.
    token: Option<Arc<ApiToken>>,
}

impl Admitted {
    fn of(by: By, role: Role) -> Admitted {
        Admitted { caller: Caller { by, role }, token: None }
    }
}

/// The answer to a token that is none. Whether it was one once is nobody's business.
const NO_TOKEN: &str = "the token is not one of this daemon, or was revoked";

impl Access {
    /// What a token gives; the error is why it gives nothing.
    fn holder(&self, token: &str, present: Present<'_>) -> Result<Admitted, String> {
        // Digests are compared: how long that takes says nothing about a token.
        let digest: [u8; 32] = Sha256::digest(token).into();
        if self.token == Some(digest) {
            return Ok(Admitted::of(By::Token(Token::Start), Role::Admin));
        }
        if let Some(known) = present.state.api_token_of(&digest) {
            return match known.expires.filter(|_| known.is_expired(present.now)) {
                // Only who has the secret gets to know that it has expired.
                Some(end) => Err(format!(
                    "the token {} expired at {end}: an admin creates another (`voldemortctl token create`)",
                    known.name
                )),
                None => Ok(Admitted { caller: known.holder(), token: Some(known.clone()) }),
            };
        }
        let of_viewer = self.viewer_token.as_ref().is_some_and(|file| {
            let text = token_in(file)
                .inspect_err(|error| tracing::warn!("the viewer's token {}: {error}", file.display()));
            let known = text.as_deref().unwrap_or_default().trim();
            !known.is_empty() && digest == <[u8; 32]>::from(Sha256::digest(known))
        });
        match of_viewer {
            true => Ok(Admitted::of(By::Token(Token::Viewer), Role::Viewer)),
            false => Err(NO_TOKEN.to_owned()),
        }
    }

    /// The caller of a request; the error is the reply.
    fn caller(&self, peer: Peer, headers: &HeaderMap, present: Present<'_>) -> Result<Admitted, Response> {
        match peer {
            Peer::Socket { uid, role: Some(role) } => Ok(Admitted::of(By::User(uid), role)),
            Peer::Socket { uid, role: None } => Err(problem(
                StatusCode::FORBIDDEN,
                &format!(
                    "user {uid} may not use this daemon: it serves root, its own user and members of the \
                     group voldemort; root adds one with `usermod -aG voldemort NAME`"
                ),
            )),
            Peer::Network(_) => {
                let Some(sent) = headers.get(AUTHORIZATION) else {
                    return Err(unauthorized("this address takes a token: `Authorization: Bearer TOKEN`"));
                };
                let token = sent.to_str().ok().and_then(|text| text.split_once(' '));
                let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                let Some((_, token)) = token else { return Err(unauthorized(NO_TOKEN)) };
                self.holder(token.trim(), present).map_err(|why| unauthorized(&why))
            }
        }
    }

    /// Whether a host's name is one of the daemon's: then no page of another site brought a browser here.
    fn is_own(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host();
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let own = |address: IpAddr| {
            address.is_loopback() || self.addresses.iter().any(|listen| listen.ip() == address)
        };
        bare.parse().is_ok_and(own) || self.names.has(bare)
    }

    /// Why a request can't be for this daemon, by its `Host` (RFC 9112, 3.2) and by what browsers send
    /// about the page that it comes from.
    fn stranger(&self, uri: &Uri, headers: &HeaderMap, peer: Peer) -> Option<Response> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Some(problem(StatusCode::BAD_REQUEST, "a request names one `Host`"));
        };
        let host = host.to_str().ok().filter(|host| host.parse::<Authority>().is_ok_and(|it| is_plain(&it)));
        let Some(host) = host else {
            return Some(problem(StatusCode::BAD_REQUEST, "`Host` is no host"));
        };
        // A webhook comes by a proxy with the proxy's host name, and has a secret of its own.
        if is_hook(uri.path()) {
            return foreign_page(headers);
        }
        // In the absolute form of a request the URL counts.
        let host = uri.authority().map_or(host, |authority| authority.as_str());
        if matches!(peer, Peer::Network(_)) && !self.is_own(host) {
            let shown: String = host.chars().take(100).collect();
            let why =
                format!("`{shown}` is no name of this API: `[api] names` in the daemon's file adds one");
            return Some(problem(StatusCode::MISDIRECTED_REQUEST, &why));
        }
        foreign_page(headers)
    }
}

/// The text of a small file: a pipe or a device in its place would never end.
fn token_in(file: &Path) -> io::Result<String> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(file)?.take(TOKEN_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Without a user's name.
fn is_plain(authority: &Authority) -> bool {
    !authority.host().is_empty() && !authority.as_str().contains('@')
}

/// Browsers send the page's origin with every request that is not a plain GET, and the newer ones its
/// relation to this host.
fn foreign_page(headers: &HeaderMap) -> Option<Response> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign = site.is_some_and(|site| site != b"none" && site != b"same-origin");
    (foreign || headers.contains_key(ORIGIN))
        .then(|| problem(StatusCode::FORBIDDEN, "this API is not for pages in a browser"))
}

/// The answer to who does not say who it is, or no more.
pub(super) fn unauthorized(why: &str) -> Response {
    let mut answer = problem(StatusCode::UNAUTHORIZED, why);
    answer.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
    answer
}

/// Right after a start, what was served is read first: nothing that is asked for can be said not to be there before.
fn asks_what_is_served(path: &str) -> bool {
    is_hook(path) || path.starts_with("/v1/") && path != "/v1/status"
}

/// The answer where that takes long.
fn restoring() -> Response {
    let why = "the daemon was just started and still reads what it served: try again in a moment";
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn is_hook(path: &str) -> bool {
    path.starts_with("/hooks/")
}

/// A parameter that would be dropped in silence.
fn unknown_parameter(uri: &Uri, route: Option<&Route>) -> Option<Response> {
    if route.is_some_and(|route| route.any_parameters) {
        return None;
    }
    let known = route.map(|route| route.parameters.as_slice()).unwrap_or_default();
    let names = uri.query()?.split('&').filter(|part| !part.is_empty());
    let mut names = names.map(|part| part.split('=').next().unwrap_or_default());
    let unknown = names.find(|name| known.iter().all(|parameter| parameter.name != *name))?;
    let takes = match known {
        [] => "this resource takes none".to_owned(),
        known => {
            let names: Vec<&str> = known.iter().map(|parameter| &*parameter.name).collect();
            format!("this resource takes {}", names.join(", "))
        }
    };
    let shown: String = unknown.chars().take(100).collect();
    Some(problem(StatusCode::BAD_REQUEST, &format!("unknown query parameter `{shown}`: {takes}")))
}

/// Lets a request pass, with its [`Caller`], or answers it.
pub async fn guard<B: Backend>(
    State((access, backend)): State<(Arc<Access>, B)>,
    mut request: Request,
    next: Next,
) -> Response {
    // A connection without a known peer has no role.
    let nowhere = Peer::Network(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(nowhere);
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = path.and_then(|path| Route::find(&access.routes, request.method(), path));
    let state = backend.state();
    let present = Present { state: &state, now: backend.now() };
    let admitted = access.admitted(&request, route, peer, present);
    drop(state);
    let is_known = matches!(&admitted, Ok(Some(_)));
    let busy = request.extensions().get::<Busy>().filter(|_| is_known).cloned();
    let _under_way = busy.as_ref().map(Busy::begin);
    let waits = admitted.is_ok() && asks_what_is_served(request.uri().path());
    let admitted = if waits && !backend.restored().await { Err(restoring()) } else { admitted };
    let mut answer = match admitted {
        Ok(admitted) => {
            if let Some(Admitted { caller, token }) = admitted {
                if !matches!(request.method().as_str(), "GET" | "HEAD") {
                    tracing::info!("API: {} {} by {caller}", request.method(), request.uri().path());
                }
                request.extensions_mut().insert(caller);
                if let Some(token) = token {
                    backend.note_token(&token);
                    request.extensions_mut().insert(token);
                }
            }
            let caller = request.extensions().get::<Caller>().cloned();
            access.audit.around(route, caller, request, next).await
        }
        Err(answer) => {
            tracing::debug!(status = %answer.status(), ?peer, "API: a request was refused");
            let by = answer.extensions().get::<Caller>().map_or_else(|| peer.to_string(), Caller::to_string);
            let (entry, status) = (audit::entry(route, &request, by), answer.status());
            access.audit.refused(entry, status).await;
            answer
        }
    };
    if let (Peer::Socket { .. }, Some(network)) = (peer, access.network) {
        answer.headers_mut().insert(NETWORK, network.into());
    }
    answer
}

impl Access {
    /// The caller, if the request needs one; the error is the reply.
    fn admitted(
        &self,
        request: &Request,
        route: Option<&Route>,
        peer: Peer,
        present: Present<'_>,
    ) -> Result<Option<Admitted>, Response> {
        let (uri, headers) = (request.uri(), request.headers());
        if let Some(answer) = self.stranger(uri, headers, peer) {
            return Err(answer);
        }
        // Whoever may ask for anything learns that there is no such route.
        let needed = match route {
            Some(Route { role: None, .. }) => {
                // Webhooks of all senders may come by one proxy, and have limits of their own.
                if !is_hook(uri.path()) {
                    self.quotas.request(None, peer)?;
                }
                return unknown_parameter(uri, route).map_or(Ok(None), Err);
            }
            Some(Route { role: Some(role), .. }) => *role,
            None => Role::Viewer,
        };
        let admitted = match self.caller(peer, headers, present) {
            Ok(admitted) => admitted,
            Err(answer) => return Err(self.quotas.failure(peer).err().unwrap_or(answer)),
        };
        let caller = &admitted.caller;
        self.quotas.request(Some(caller), peer)?;
        if caller.role < needed {
            let why = format!("this needs the role {needed}, which {caller} does not have");
            let mut answer = problem(StatusCode::FORBIDDEN, &why);
            answer.extensions_mut().insert(caller.clone());
            return Err(answer);
        }
        if let Some(token) = admitted.token.as_ref().filter(|token| !token.pools.is_empty())
            && route.is_none_or(|route| route.changes() && !route.judges_pools)
        {
            let pools: Vec<&str> = token.pools.iter().map(Name::as_str).collect();
            let why = format!(
                "{caller} may claim machines of the pools {}, change their deployments by edits, and nothing else",
                pools.join(", ")
            );
            let mut answer = problem(StatusCode::FORBIDDEN, &why);
            answer.extensions_mut().insert(caller.clone());
            return Err(answer);
        }
        unknown_parameter(uri, route).map_or(Ok(Some(admitted)), Err)
    }
}

#[cfg(test)]
mod tests;
