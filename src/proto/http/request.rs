//! The head of a request.

use super::super::path::{self, PathError};
use super::field::{is_host, trim_bytes};
use super::reply::Status;

/// Longest head, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// Most header lines.
pub const MAX_HEADERS: usize = 100;

/// What boot clients and installers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// How the end of the request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 without a body.
    Length(u64),
    Chunked,
}

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: Method,
    pub version: Version,
    /// Decoded and clean: see [`path::clean_path`].
    pub path: String,
    /// As sent, without the `?`.
    pub query: String,
    pub framing: Framing,
    /// The client wants the connection to stay open.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// As it stands in the header of that name.
    pub authorization: Option<String>,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub if_match: Option<String>,
    pub if_unmodified_since: Option<String>,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
}

/// Why a request gets an error. The connection ends after the reply, because it is not known where the next
/// request would begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("this is not an HTTP request: {0}")]
    Malformed(&'static str),
    #[error("the request's head is longer than {MAX_HEAD} bytes")]
    TooLong,
    #[error("the request's target is longer than {MAX_HEAD} bytes")]
    TargetTooLong,
    #[error("the request has more than {MAX_HEADERS} header lines")]
    TooManyHeaders,
    #[error("only GET, HEAD and POST are supported")]
    Method,
    #[error("only HTTP/1.0 and HTTP/1.1 are supported")]
    Version,
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("the request does not say clearly where its body ends")]
    Framing,
    /// RFC 9112 section 3.2; HTTP/1.0 may do without.
    #[error("the request needs one Host line, with a name or an address and nothing else")]
    Host,
}

impl BadRequest {
    pub fn status(&self) -> Status {
        match self {
            BadRequest::TargetTooLong => Status::TargetTooLong,
            BadRequest::TooLong | BadRequest::TooManyHeaders => Status::HeadTooLarge,
            BadRequest::Method => Status::MethodNotAllowed,
            BadRequest::Version => Status::VersionNotSupported,
            BadRequest::Malformed(_) | BadRequest::Path(_) | BadRequest::Framing | BadRequest::Host => {
                Status::BadRequest
            }
        }
    }
}

impl Request {
    /// Reads the request at the start of `bytes`; `None` if its head has not all arrived. The
    /// number is the head's length.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, BadRequest> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) if !bytes[..MAX_HEAD].contains(&b'\n') => return Err(BadRequest::TargetTooLong),
            Ok(_) => return Err(BadRequest::TooLong),
            Err(error) => return Err(unreadable(error)),
        };
        Ok(Some((Request::understand(&head)?, length)))
    }

    fn understand(head: &httparse::Request<'_, '_>) -> Result<Request, BadRequest> {
        let method = match head.method.unwrap_or_default() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            _ => return Err(BadRequest::Method),
        };
        let version = if head.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let (path, query) = target(head.path.unwrap_or_default())?;
        let headers = &*head.headers;
        host(headers, version)?;
        let text = |name| {
            let value = find(headers, name).next();
            value.and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned)
        };
        // What is a list may stand in several lines (RFC 9110 section 5.3).
        let list = |name| {
            let lines: Option<Vec<&str>> =
                find(headers, name).map(|line| std::str::from_utf8(line).ok()).collect();
            lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
        };
        Ok(Request {
            method,
            version,
            path,
            query,
            framing: framing(headers, version)?,
            keep_alive: keep_alive(headers, version),
            expects_continue: version == Version::Http11 && has_token(headers, "expect", "100-continue"),
            authorization: text("authorization"),
            range: text("range"),
            if_range: text("if-range"),
            if_match: list("if-match"),
            if_unmodified_since: text("if-unmodified-since"),
            if_none_match: list("if-none-match"),
            if_modified_since: text("if-modified-since"),
        })
    }
}

fn unreadable(error: httparse::Error) -> BadRequest {
    match error {
        httparse::Error::TooManyHeaders => BadRequest::TooManyHeaders,
        httparse::Error::Version => BadRequest::Version,
        httparse::Error::HeaderName => BadRequest::Malformed("a header's name is not readable"),
        httparse::Error::HeaderValue => BadRequest::Malformed("a header's value is not readable"),
        httparse::Error::NewLine => BadRequest::Malformed("a line does not end where it should"),
        httparse::Error::Status | httparse::Error::Token => {
            BadRequest::Malformed("the first line is not readable")
        }
    }
}

/// The clean path and the raw query of `/a?b` or `http://host/a?b`.
fn target(target: &str) -> Result<(String, String), BadRequest> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let of_scheme = |scheme: &str| {
        let (start, rest) = path.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| rest.find('/').map_or("", |slash| &rest[slash..]))
    };
    let path = of_scheme("http://").or_else(|| of_scheme("https://")).unwrap_or(path);
    Ok((path::clean_path(&path::percent_decode(path)?)?, query.to_owned()))
}

/// Values of all lines with this name, without the white space around them.
fn find<'a>(headers: &'a [httparse::Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| trim_bytes(header.value))
}

fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    let mut parts = find(headers, name).flat_map(|value| value.split(|byte| *byte == b','));
    parts.any(|part| trim_bytes(part).eq_ignore_ascii_case(token.as_bytes()))
}

fn host(headers: &[httparse::Header<'_>], version: Version) -> Result<(), BadRequest> {
    let mut hosts = find(headers, "host");
    let fits = match (hosts.next(), hosts.next()) {
        (None, _) => version == Version::Http10,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    };
    if fits { Ok(()) } else { Err(BadRequest::Host) }
}

fn keep_alive(headers: &[httparse::Header<'_>], version: Version) -> bool {
    match version {
        Version::Http11 => !has_token(headers, "connection", "close"),
        Version::Http10 => has_token(headers, "connection", "keep-alive"),
    }
}

/// RFC 9112 section 6.3. A body whose length could be understood in two ways is refused.
fn framing(headers: &[httparse::Header<'_>], version: Version) -> Result<Framing, BadRequest> {
    let mut lengths = find(headers, "content-length");
    let mut codings = find(headers, "transfer-encoding");
    if let Some(coding) = codings.next() {
        let alone = codings.next().is_none() && lengths.next().is_none() && version == Version::Http11;
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        return if alone && chunked { Ok(Framing::Chunked) } else { Err(BadRequest::Framing) };
    }
    let mut length = None;
    for value in lengths {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let number: u64 = text.and_then(|text| text.parse().ok()).ok_or(BadRequest::Framing)?;
        if length.replace(number).is_some_and(|other| other != number) {
            return Err(BadRequest::Framing);
        }
    }
    Ok(Framing::Length(length.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTTP/1.1 with a Host line, unless there is one.
    fn parse(text: &str) -> Result<Request, BadRequest> {
        let mut text = text.to_owned();
        if !text.to_ascii_lowercase().contains("\nhost:") {
            text = text.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nHost: a\r\n", 1);
        }
        Request::parse(text.as_bytes()).map(|found| found.expect("complete").0)
    }

    #[test]
    fn there_is_one_host() {
        for (head, fits) in [
            ("HTTP/1.1\r\nHost: 10.0.0.1\r\n", true),
            ("HTTP/1.1\r\nhost:10.0.0.1:8080\r\n", true),
            ("HTTP/1.1\r\nHost: [fd00::1]:80 \r\n", true),
            ("HTTP/1.1\r\nHost:\r\n", true),
            ("HTTP/1.0\r\n", true),
            ("HTTP/1.0\r\nHost: a\r\n", true),
            ("HTTP/1.1\r\n", false),
            ("HTTP/1.1\r\nHost: a\r\nHost: a\r\n", false),
            ("HTTP/1.0\r\nHost: a\r\nHost: b\r\n", false),
            ("HTTP/1.1\r\nHost: a b\r\n", false),
            ("HTTP/1.1\r\nHost: a/b\r\n", false),
            ("HTTP/1.1\r\nHost: \u{a0}a\r\n", false),
            ("HTTP/1.0\r\nHost: <x>\r\n", false),
        ] {
            let found = Request::parse(format!("GET /a {head}\r\n").as_bytes());
            assert_eq!(found.is_ok(), fits, "{head:?} {found:?}");
            assert!(fits || found == Err(BadRequest::Host), "{head:?}");
            let absolute = Request::parse(format!("GET http://b/a {head}\r\n").as_bytes());
            assert_eq!(absolute.is_ok(), fits, "{head:?}");
        }
    }

    #[test]
    fn ovmf_asks_for_a_loader() {
        let text = "HEAD //grubx64.efi HTTP/1.1\r\nHost: 10.0.0.1\r\nAccept: */*\r\n\
                    User-Agent: UefiHttpBoot/1.0\r\n\r\nGET";
        let (request, length) = Request::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((request.method, request.path.as_str()), (Method::Head, "grubx64.efi"));
        assert!(request.keep_alive);
        assert_eq!(&text[length..], "GET");
        for end in 0..length {
            assert_eq!(Request::parse(&text.as_bytes()[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn targets_are_cleaned() {
        for (target, path, query) in [
            ("/a/b?c=%20d?e", "a/b", "c=%20d?e"),
            ("http://10.0.0.1:80/a%2Fb", "a/b", ""),
            ("HTTP://host", "", ""),
            ("https://host/a", "a", ""),
            ("http://host?x=/y", "", "x=/y"),
            ("/a\\b", "a/b", ""),
            ("/gcc_4%3a12_amd64.deb", "gcc_4:12_amd64.deb", ""),
            ("/a+b%2520c|{é}", "a+b%20c|{é}", ""),
        ] {
            let request = parse(&format!("GET {target} HTTP/1.1\r\n\r\n")).unwrap();
            assert_eq!((request.path.as_str(), request.query.as_str()), (path, query), "{target}");
        }
        for target in ["/../etc/passwd", "/a/%2e%2e/b", "/%00", "/%zz"] {
            let error = parse(&format!("GET {target} HTTP/1.1\r\n\r\n")).unwrap_err();
            assert_eq!(error.status(), Status::BadRequest, "{target}");
        }
    }

    #[test]
    fn lists_may_stand_in_several_lines() {
        let text = "GET / HTTP/1.1\r\nIf-Match: \"a\"\r\nif-match: \"b\"\r\nIf-None-Match: W/\"c\"\r\n\r\n";
        let request = parse(text).unwrap();
        assert_eq!(request.if_match.as_deref(), Some("\"a\", \"b\""));
        assert_eq!((request.if_none_match.as_deref(), request.range), (Some("W/\"c\""), None));
    }

    #[test]
    fn connections_stay_open_as_asked() {
        for (head, expected) in [
            ("HTTP/1.1", true),
            ("HTTP/1.1\r\nConnection: Close", false),
            ("HTTP/1.1\r\nConnection: TE, close", false),
            ("HTTP/1.0", false),
            ("HTTP/1.0\r\nconnection: Keep-Alive", true),
        ] {
            assert_eq!(parse(&format!("GET / {head}\r\n\r\n")).unwrap().keep_alive, expected, "{head}");
        }
    }

    #[test]
    fn bodies_end_in_one_place_or_are_refused() {
        let framing = |headers: &str| parse(&format!("POST / HTTP/1.1\r\n{headers}\r\n")).map(|r| r.framing);
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 12\r\nContent-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for headers in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing(headers), Err(BadRequest::Framing), "{headers}");
        }
    }

    #[test]
    fn what_hides_a_second_request_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\nX: a\r\n b: c\r\n\r\n",
            "GET / HTTP/1.1\r\n X: folded\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nX\0: b\r\n\r\n",
            "GET /\0 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 x\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\u{a0}\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: \u{2003}5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\x0c\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \u{a0}chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\u{85}\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \u{feff}\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        ] {
            let error = parse(head).expect_err(head);
            assert_eq!(error.status(), Status::BadRequest, "{head:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        for (text, status) in [
            ("\x16\x03\x01\x02\0", Status::BadRequest),
            ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            ("GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Status::BadRequest),
        ] {
            assert_eq!(Request::parse(text.as_bytes()).unwrap_err().status(), status, "{text:?}");
        }
        let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xff\r\n\r\n";
        assert_eq!(Request::parse(bytes), Err(BadRequest::Framing), "no text is no coding");
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD));
        assert_eq!(Request::parse(long.as_bytes()), Err(BadRequest::TargetTooLong));
        assert_eq!(Request::parse(&long.as_bytes()[..MAX_HEAD]), Err(BadRequest::TargetTooLong));
        let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        assert_eq!(Request::parse(long.as_bytes()), Err(BadRequest::TooLong));
        assert_eq!(Request::parse(&long.as_bytes()[..MAX_HEAD]), Err(BadRequest::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(Request::parse(many.as_bytes()), Err(BadRequest::TooManyHeaders));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>, target: String, header in "[ -~\\r\\n]{0,80}") {
            let _ = Request::parse(&bytes);
            let _ = Request::parse(format!("GET /{target} HTTP/1.1\r\n{header}\r\n\r\n").as_bytes());
        }
    }
}
