//! One file from a web server: redirects, and going on where an earlier attempt broke off (RFC 9110 sections
//! 13.1.5 and 14).

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::git::address::{Address, Web};
use super::tls;

const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Longest silence of a server.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 8;
/// Attempts in a row that bring no byte.
const MOST_FAILURES: usize = 3;
/// Longest text that `text` takes: lists of checksums have a few kilobytes.
const MOST_TEXT: usize = 1 << 20;
const AGENT: &str = concat!("voldemort/", env!("CARGO_PKG_VERSION"));

/// Called with how far a download is; `total` is `None` where the server does not say. False ends it.
pub type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>) -> bool;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{0}: {1}")]
    Address(String, String),
    /// The server has no such file, or does not give it to us.
    #[error("{url}: the server answered {status}")]
    Status { url: String, status: StatusCode },
    /// What has come is kept.
    #[error("{url}: {why}{}", kept_text(*kept, part))]
    BrokeOff { url: String, why: String, kept: u64, part: PathBuf },
    #[error("{}: {why}", path.display())]
    Disk { path: PathBuf, why: String },
    /// Nobody wants it any more; what has come is kept.
    #[error("{0}: nobody wants it any more")]
    Abandoned(String),
}

fn kept_text(kept: u64, part: &Path) -> String {
    match kept {
        0 => String::new(),
        _ => format!("; {kept} bytes are kept in {}, and the next attempt goes on there", part.display()),
    }
}

/// A file on its way: what came so far is in `part`, and beside it where that is from.
#[derive(Debug)]
pub struct Download {
    url: String,
    part: PathBuf,
    origin: PathBuf,
}

/// What the server said of the bytes that it sends.
struct Begun {
    body: Incoming,
    from: u64,
    total: Option<u64>,
    validator: Option<String>,
}

impl Download {
    /// A download of `url` that will become `file`.
    pub fn new(url: &str, file: &Path) -> Download {
        let beside = |end: &str| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(end);
            file.with_file_name(name)
        };
        Download { url: url.to_owned(), part: beside(".part"), origin: beside(".part.origin") }
    }

    /// Where the bytes are until they are known to be right.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Fetches the whole file into `part`; then comes `keep` or `discard`.
    pub fn run(&self, progress: Progress<'_>) -> Result<(), DownloadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.address(error.to_string()))?;
        let mut failures = 0;
        loop {
            let before = self.kept();
            let why = match runtime.block_on(self.attempt(progress)) {
                Ok(()) => return Ok(()),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(why)) => why,
            };
            failures = if self.kept() > before { 0 } else { failures + 1 };
            if failures == MOST_FAILURES {
                let (url, part) = (self.url.clone(), self.part.clone());
                return Err(DownloadError::BrokeOff { url, why, kept: self.kept(), part });
            }
        }
    }

    /// Removes what came, so that the next download begins anew.
    pub fn discard(&self) {
        // Files that are gone are what is wanted.
        let _ = std::fs::remove_file(&self.part);
        let _ = std::fs::remove_file(&self.origin);
    }

    /// Gives the file its name.
    pub fn keep(&self, file: &Path) -> Result<(), DownloadError> {
        let done = File::open(&self.part).and_then(|part| part.sync_all());
        done.and_then(|()| std::fs::rename(&self.part, file)).map_err(|error| self.disk(&error))?;
        let _ = std::fs::remove_file(&self.origin);
        Ok(())
    }

    fn kept(&self) -> u64 {
        std::fs::metadata(&self.part).map_or(0, |metadata| metadata.len())
    }

    fn address(&self, why: String) -> DownloadError {
        DownloadError::Address(self.url.clone(), why)
    }

    fn disk(&self, error: &std::io::Error) -> DownloadError {
        DownloadError::Disk { path: self.part.clone(), why: error.to_string() }
    }

    /// The bytes that are there and the validator they were sent with, if they can be gone on with.
    fn resumable(&self) -> Option<(u64, String)> {
        let origin = std::fs::read_to_string(&self.origin).ok()?;
        let (url, validator) = origin.trim_end().split_once('\n')?;
        (url == self.url && self.kept() > 0).then(|| (self.kept(), validator.to_owned()))
    }

    async fn attempt(&self, progress: Progress<'_>) -> Result<(), Attempt> {
        let Some(Begun { mut body, from, total, validator }) = self.begin().await? else { return Ok(()) };
        let disk = |error: std::io::Error| Attempt::Final(self.disk(&error));
        let mut part =
            OpenOptions::new().create(true).truncate(false).write(true).open(&self.part).map_err(disk)?;
        part.set_len(from).and_then(|()| part.seek(SeekFrom::Start(from))).map_err(disk)?;
        match &validator {
            Some(validator) => {
                std::fs::write(&self.origin, format!("{}\n{validator}\n", self.url)).map_err(disk)?
            }
            None => drop(std::fs::remove_file(&self.origin)),
        }
        let mut length = from;
        loop {
            if !progress(length, total) {
                return Err(Attempt::Final(DownloadError::Abandoned(self.url.clone())));
            }
            let frame = tokio::time::timeout(SILENCE_LIMIT, body.frame()).await;
            let frame = frame.map_err(|_| silent())?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| Attempt::Again(format!("the answer broke off ({error})")))?;
            let Ok(bytes) = frame.into_data() else { continue };
            part.write_all(&bytes).map_err(disk)?;
            length += bytes.len() as u64;
        }
        match total {
            Some(total) if total != length => Err(Attempt::Again(format!("{length} of {total} bytes came"))),
            _ => Ok(()),
        }
    }

    /// Asks for the file, or for the rest of it; `None` where all of it has come already.
    async fn begin(&self) -> Result<Option<Begun>, Attempt> {
        let resumable = self.resumable();
        let (_, response) = get(&self.url, resumable.as_ref()).await?;
        let headers = response.headers();
        let validator = validator(headers);
        let text = |name: header::HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let range = text(header::CONTENT_RANGE);
        match (response.status(), resumable) {
            (StatusCode::OK, _) => {
                let total = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
                Ok(Some(Begun { body: response.into_body(), from: 0, total, validator }))
            }
            (StatusCode::PARTIAL_CONTENT, Some((kept, _))) => {
                match range.as_deref().and_then(content_range) {
                    Some((from, total)) if from == kept => {
                        Ok(Some(Begun { body: response.into_body(), from, total, validator }))
                    }
                    _ => Err(self.anew("the server sent another part than was asked for")),
                }
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((kept, _))) => {
                let total =
                    range.as_deref().and_then(|range| range.strip_prefix("bytes */")?.parse::<u64>().ok());
                // The body of this answer is a page about the error, and no part of the file.
                if total == Some(kept) {
                    return Ok(None);
                }
                Err(self.anew("the file at the server is another one now"))
            }
            (status, _) => Err(Attempt::Final(DownloadError::Status { url: self.url.clone(), status })),
        }
    }

    fn anew(&self, why: &str) -> Attempt {
        self.discard();
        Attempt::Again(why.to_owned())
    }
}

/// How one attempt failed.
enum Attempt {
    /// The next one can bring more.
    Again(String),
    Final(DownloadError),
}

/// A short text from a web server; `None` where there is no such file.
pub fn text(url: &str) -> Result<Option<Vec<u8>>, DownloadError> {
    let fail = |why: String| DownloadError::Address(url.to_owned(), why);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| fail(error.to_string()))?;
    runtime.block_on(async {
        let (_, response) = get(url, None).await.map_err(|attempt| match attempt {
            Attempt::Again(why) => fail(why),
            Attempt::Final(error) => error,
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(DownloadError::Status { url: url.to_owned(), status }),
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = tokio::time::timeout(SILENCE_LIMIT, body.frame())
            .await
            .map_err(|_| fail("no answer".to_owned()))?
        {
            let Ok(data) = frame.map_err(|error| fail(error.to_string()))?.into_data() else { continue };
            bytes.extend_from_slice(&data);
            if bytes.len() > MOST_TEXT {
                return Err(fail(format!("it has more than {MOST_TEXT} bytes")));
            }
        }
        Ok(Some(bytes))
    })
}

/// One GET, redirects followed; `rest` asks for what is behind so many bytes if the file is still the same.
async fn get(url: &str, rest: Option<&(u64, String)>) -> Result<(Web, Response<Incoming>), Attempt> {
    let mut web = web(url)?;
    for _ in 0..=MOST_REDIRECTS {
        let response = send(&web, rest).await?;
        if !response.status().is_redirection() {
            return Ok((web, response));
        }
        web = redirected(&web, response.headers()).map_err(|why| refused(url, why))?;
    }
    Err(refused(url, format!("more than {MOST_REDIRECTS} redirects")))
}

fn refused(url: &str, why: String) -> Attempt {
    Attempt::Final(DownloadError::Address(url.to_owned(), why))
}

fn silent() -> Attempt {
    Attempt::Again(format!("the server said nothing for {} s", SILENCE_LIMIT.as_secs()))
}

fn web(url: &str) -> Result<Web, Attempt> {
    let uri: Uri = url.parse().map_err(|error| refused(url, format!("this is no URL: {error}")))?;
    match Address::parse(url) {
        Ok(Address::Web(web)) => {
            // The parser of repositories' addresses takes a slash at the end away, and the query.
            let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            Ok(Web { path, ..web })
        }
        Ok(_) => Err(refused(url, "http:// and https:// can be fetched".to_owned())),
        Err(why) => Err(refused(url, why)),
    }
}

fn redirected(from: &Web, headers: &HeaderMap) -> Result<Web, String> {
    let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let target = target.ok_or("a redirect that leads nowhere")?;
    if target.starts_with('/') && !target.starts_with("//") {
        return Ok(Web { path: target.to_owned(), ..from.clone() });
    }
    if !target.contains("://") {
        let folder = from.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        return Ok(Web { path: format!("{folder}/{target}"), ..from.clone() });
    }
    let next = web(target).map_err(|_| format!("the redirect to {target} leads to no web server"))?;
    if from.secure && !next.secure {
        return Err(format!("the redirect to {target} would travel unprotected"));
    }
    Ok(Web { user: None, password: None, ..next })
}

async fn send(web: &Web, rest: Option<&(u64, String)>) -> Result<Response<Incoming>, Attempt> {
    let mut request = Request::get(&web.path)
        .header(header::HOST, web.authority())
        .header(header::USER_AGENT, AGENT)
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some((kept, validator)) = rest {
        request = request.header(header::RANGE, format!("bytes={kept}-")).header(header::IF_RANGE, validator);
    }
    let place = format!("{}:{}", web.host, web.port);
    let request = request.body(Empty::new()).map_err(|error| refused(&place, error.to_string()))?;
    let connected = tokio::time::timeout(CONNECT_LIMIT, connect(web)).await;
    let mut sender = connected
        .map_err(|_| Attempt::Again(format!("{place} does not answer within {} s", CONNECT_LIMIT.as_secs())))?
        .map_err(|why| Attempt::Again(format!("{place}: {why}")))?;
    let answer =
        tokio::time::timeout(SILENCE_LIMIT, sender.send_request(request)).await.map_err(|_| silent())?;
    answer.map_err(|error| Attempt::Again(format!("{place}: {error}")))
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

async fn connect(web: &Web) -> Result<Sender, String> {
    let tcp = TcpStream::connect((web.host.as_str(), web.port)).await.map_err(|error| error.to_string())?;
    if !web.secure {
        return shake_hands(tcp).await;
    }
    let name = ServerName::try_from(web.host.clone()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(tls::client(None)?).connect(name, tcp).await;
    shake_hands(tls.map_err(|error| format!("TLS: {error}"))?).await
}

async fn shake_hands(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, String> {
    let hands = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = hands.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What `If-Range` may name: a strong entity tag, else the date (RFC 9110 section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let tag = text(header::ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}

/// Begin and total of `bytes 100-199/200`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.parse().ok()?, total.parse().ok()))
}
