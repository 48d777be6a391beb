//! HTTP/1.1 (RFC 9112) as far as the agent needs it: one request a connection, to one host, with time limits.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Longer heads and bodies of answers are refused, in bytes.
const HEAD_MAX: usize = 16 << 10;
const BODY_MAX: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the next bytes of an answer whose first ones came.
const PROGRESS: Duration = Duration::from_secs(15);

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Of `Retry-After`, where it is in seconds (RFC 9110 section 10.2.3).
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// A request to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// From the first slash on.
    pub path: &'a str,
    /// What goes into `Authorization: Bearer`.
    pub bearer: &'a str,
    /// JSON; empty for none.
    pub body: &'a [u8],
    /// How long the answer's first byte may take.
    pub patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("{0:?} is no URL of the kind http://HOST:PORT")]
    Url(String),
    #[error("the host {0} is not known: {1}")]
    Name(String, io::Error),
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("the connection ended: {0}")]
    Transfer(#[from] io::Error),
    #[error("what came is no HTTP answer: {0}")]
    Damaged(&'static str),
}

/// Where the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As in the `Host` field.
    authority: String,
    host: String,
    port: u16,
    /// Before each path, without a slash at its end.
    base: String,
}

impl Server {
    /// Reads `http://HOST[:PORT][/BASE]`; an IPv6 address stands in brackets.
    pub fn read(url: &str) -> Result<Server, NoAnswer> {
        let fault = || NoAnswer::Url(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(fault)?;
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => literal.split_once(']').ok_or_else(fault)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| fault())?,
            None if port.is_empty() => 80,
            None => return Err(fault()),
        };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_plain(rest) {
            return Err(fault());
        }
        let base = base.trim_end_matches('/').to_owned();
        Ok(Server { authority: authority.to_owned(), host: host.to_owned(), port, base })
    }

    /// Whether it is reached over IPv6 alone: then nobody has to wait for an IPv4 address.
    pub fn is_ipv6(&self) -> bool {
        self.host.parse::<std::net::Ipv6Addr>().is_ok()
    }

    /// Sends a request and reads its answer. Addresses of the host are tried one after another.
    pub fn ask(&self, request: Request<'_>) -> Result<Answer, NoAnswer> {
        let mut stream = self.connect()?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PROGRESS))?;
        stream.set_read_timeout(Some(request.patience))?;
        let Request { method, path, bearer, body, .. } = request;
        let mut bytes = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: voldemort-agent/{}\r\n\
             Authorization: Bearer {bearer}\r\nAccept: application/json\r\nConnection: close\r\n",
            self.base,
            self.authority,
            env!("CARGO_PKG_VERSION"),
        );
        if method != "GET" {
            bytes += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        stream.write_all(&bytes)?;
        read(&mut stream, |stream| stream.set_read_timeout(Some(PROGRESS)), request.patience)
    }

    fn connect(&self) -> Result<TcpStream, NoAnswer> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| NoAnswer::Name(self.host.clone(), error))?;
        let mut failure = NoAnswer::Url(self.authority.clone());
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = NoAnswer::Connect(address, error),
            }
        }
        Err(failure)
    }
}

/// Reads one answer. A body has a length, or ends with the connection; chunks are not asked for by anybody here.
/// The whole must be there within the patience for its beginning and a minute.
fn read<S: Read>(
    stream: &mut S,
    began: impl Fn(&S) -> io::Result<()>,
    patience: Duration,
) -> Result<Answer, NoAnswer> {
    let deadline = Instant::now() + patience + Duration::from_secs(60);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    let mut head = None;
    loop {
        let length = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if bytes.is_empty() {
            began(stream)?;
        }
        bytes.extend_from_slice(&buffer[..length]);
        if head.is_none() {
            head = read_head(&bytes)?;
        }
        // An answer before the answer proper (RFC 9110 section 15.2).
        while let Some(Head { status: 100..200, body, .. }) = head {
            bytes.drain(..body);
            head = read_head(&bytes)?;
        }
        if let Some(Head { status, body, length: expected, retry_after }) = head {
            let there = bytes.len() - body;
            let expected = if matches!(status, 204 | 304) { Some(0) } else { expected };
            if expected.is_some_and(|expected| there >= expected) || length == 0 && expected.is_none() {
                let end = expected.map_or(bytes.len(), |expected| body + expected);
                return Ok(Answer { status, retry_after, body: bytes[body..end].to_vec() });
            }
            if there > BODY_MAX {
                return Err(NoAnswer::Damaged("it is longer than a mebibyte"));
            }
        }
        if length == 0 {
            return Err(NoAnswer::Damaged("it ends too early"));
        }
        if Instant::now() > deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
    }
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    length: Option<usize>,
    retry_after: Option<Duration>,
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>, NoAnswer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let damaged = NoAnswer::Damaged;
    let httparse::Status::Complete(body) =
        head.parse(bytes).map_err(|_| damaged("its head can't be read"))?
    else {
        return if bytes.len() > HEAD_MAX { Err(damaged("its head is too long")) } else { Ok(None) };
    };
    let (mut length, mut retry_after) = (None, None);
    for field in head.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(damaged("it comes in a transfer encoding"));
        }
        let text = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("retry-after") {
            retry_after = text.parse().ok().map(Duration::from_secs);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            length = Some(text.parse().map_err(|_| damaged("its length is no number"))?);
        }
    }
    if length.is_some_and(|length| length > BODY_MAX) {
        return Err(damaged("it is longer than a mebibyte"));
    }
    Ok(Some(Head { status: head.code.unwrap_or_default(), body, length, retry_after }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answer(text: &str) -> Result<Answer, NoAnswer> {
        // Byte by byte, as slow networks deliver.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        read(&mut Slow(text.as_bytes()), |_| Ok(()), Duration::from_secs(1))
    }

    #[test]
    fn urls_are_read() {
        let server = Server::read("http://[2001:db8::1]:8080/x/").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.base.as_str()), ("2001:db8::1", 8080, "/x"));
        assert!(server.is_ipv6());
        let server = Server::read("http://10.0.0.1").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.base.as_str()), ("10.0.0.1", 80, ""));
        for wrong in
            ["https://x", "http://", "http://:80", "http://x:y", "http://[::1", "http://[::1]x", "http://a b"]
        {
            assert!(Server::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_read() {
        let whole = answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}more").unwrap();
        assert_eq!(whole, Answer { status: 200, retry_after: None, body: b"{}".to_vec() });
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n").unwrap().status, 204);
        let open = answer("HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap();
        assert_eq!(open.body, b"until the end");
        let later =
            answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Not Now\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        assert_eq!((later.status, later.retry_after), (503, Some(Duration::from_secs(7))));
        let wrong = [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ];
        for wrong in wrong {
            assert!(answer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_goes_and_its_answer_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 1024];
            while !bytes.ends_with(b"{\"a\":1}") {
                let length = stream.read(&mut buffer).unwrap();
                bytes.extend_from_slice(&buffer[..length]);
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").unwrap();
            // The connection stays open: the length says where the answer ends.
            (stream, String::from_utf8(bytes).unwrap())
        });
        let request = Request {
            method: "POST",
            path: "/agent/v1/hello",
            bearer: "t0ken",
            body: b"{\"a\":1}",
            patience: Duration::from_secs(5),
        };
        let answer = Server::read(&url).unwrap().ask(request).unwrap();
        assert_eq!(answer, Answer { status: 201, retry_after: None, body: b"ok".to_vec() });
        let (_, sent) = other.join().unwrap();
        assert!(sent.starts_with("POST /base/agent/v1/hello HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("\r\nAuthorization: Bearer t0ken\r\n"), "{sent}");
    }

    #[test]
    fn who_says_nothing_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::read(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let request =
            Request { method: "GET", path: "/", bearer: "t", body: b"", patience: Duration::from_millis(50) };
        assert!(matches!(server.ask(request), Err(NoAnswer::Transfer(_))));
    }
}
