//! The head of a reply, and which bytes follow it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::condition::{self, Validators};
use super::date;
use super::range::{self, Asked, Stretch};
use super::request::{BadRequest, Method, Request, Version};
use crate::model::{Content, Time, printable};
use crate::proto::tree::{Artifact, Refusal, RefusalReason};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 200,
    NoContent = 204,
    Partial = 206,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    Timeout = 408,
    Conflict = 409,
    Gone = 410,
    PreconditionFailed = 412,
    TooLarge = 413,
    TargetTooLong = 414,
    OutOfRange = 416,
    Unprocessable = 422,
    HeadTooLarge = 431,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::NoContent => "No Content",
            Status::Partial => "Partial Content",
            Status::NotModified => "Not Modified",
            Status::BadRequest => "Bad Request",
            Status::Unauthorized => "Unauthorized",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::Timeout => "Request Timeout",
            Status::Conflict => "Conflict",
            Status::Gone => "Gone",
            Status::PreconditionFailed => "Precondition Failed",
            Status::TooLarge => "Content Too Large",
            Status::TargetTooLong => "URI Too Long",
            Status::OutOfRange => "Range Not Satisfiable",
            Status::Unprocessable => "Unprocessable Content",
            Status::HeadTooLarge => "Request Header Fields Too Large",
            Status::Unavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// What to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: Status,
    /// The head, with the whole body if that is a short text of the server.
    pub head: Vec<u8>,
    /// The stretches of the content that follow; empty if the head is the whole reply.
    pub parts: Vec<Part>,
    /// What follows the last of them.
    pub tail: String,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
}

/// A stretch of the content, and the text in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub head: String,
    pub stretch: Stretch,
}

/// What every reply depends on besides its subject.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub method: Method,
    pub version: Version,
    pub keep_alive: bool,
    pub now: Time,
}

impl Context {
    /// `stay` is false when the server is about to stop or could not read the whole request.
    pub fn of(request: &Request, stay: bool, now: Time) -> Context {
        let Request { method, version, keep_alive, .. } = *request;
        Context { method, version, keep_alive: keep_alive && stay, now }
    }

    /// For a request that could not be read.
    pub fn unread(now: Time) -> Context {
        Context { method: Method::Get, version: Version::Http11, keep_alive: false, now }
    }
}

/// Answers a request for `artifact`: all of it, a part, some parts, "you have it already", "that is
/// not what you began with", or 416.
pub fn serve(request: &Request, artifact: &Artifact, context: Context) -> Reply {
    let length = artifact.content.len();
    let etag = artifact.entity_tag();
    let ours = Validators { etag: &etag, modified: modified(&artifact.content) };
    let mut head = Head::new(context);
    if context.method != Method::Post {
        if condition::mistaken(ours, request.if_match.as_deref(), request.if_unmodified_since.as_deref()) {
            return head
                .text(Status::PreconditionFailed, "the content has changed: start the download again");
        }
        if condition::unchanged(ours, request.if_none_match.as_deref(), request.if_modified_since.as_deref())
        {
            head.validators(ours);
            return head.finish(Status::NotModified);
        }
    }
    match asked(request, context, ours, length) {
        Asked::Whole => head.one(Status::Ok, artifact, ours, Stretch { offset: 0, length }),
        Asked::Part(stretch) => {
            head.field("Content-Range", place(stretch, length));
            head.one(Status::Partial, artifact, ours, stretch)
        }
        Asked::Parts(stretches) => head.several(artifact, ours, &stretches),
        Asked::Outside => {
            head.field("Content-Range", format_args!("bytes */{length}"));
            head.text(Status::OutOfRange, &format!("the content has only {length} bytes"))
        }
    }
}

/// Ranges are for GET alone (RFC 9110 section 14.2).
fn asked(request: &Request, context: Context, ours: Validators<'_>, length: u64) -> Asked {
    match &request.range {
        Some(value)
            if context.method == Method::Get
                && condition::range_applies(ours, request.if_range.as_deref()) =>
        {
            range::parse(value, length)
        }
        _ => Asked::Whole,
    }
}

fn place(stretch: Stretch, length: u64) -> String {
    format!("bytes {}-{}/{length}", stretch.offset, stretch.offset + stretch.length - 1)
}

/// A text of a media type; without one the reply has no body.
pub fn message(status: Status, media_type: &str, text: &str, context: Context) -> Reply {
    let mut head = Head::new(context);
    match status {
        Status::NoContent => return head.finish(status),
        Status::Unavailable => head.field("Retry-After", 5),
        Status::Unauthorized => head.field("WWW-Authenticate", "Bearer"),
        Status::MethodNotAllowed => head.field("Allow", "GET, POST"),
        _ => {}
    }
    head.field("Content-Type", media_type);
    head.field("Cache-Control", "no-store");
    head.field("Content-Length", text.len());
    let mut reply = head.finish(status);
    if context.method != Method::Head {
        reply.head.extend(text.as_bytes());
    }
    reply
}

/// 200 with an empty body: a report was stored.
pub fn accepted(context: Context) -> Reply {
    let mut head = Head::new(context);
    head.field("Content-Length", 0);
    head.finish(Status::Ok)
}

pub fn refuse(refusal: &Refusal, context: Context) -> Reply {
    let status = match refusal.reason {
        RefusalReason::NotFound => Status::NotFound,
        RefusalReason::Method => Status::MethodNotAllowed,
        RefusalReason::Forbidden => Status::Forbidden,
        RefusalReason::Gone => Status::Gone,
        RefusalReason::Busy => Status::Unavailable,
    };
    problem(status, &refusal.text, context)
}

/// The connection ends with this reply.
pub fn bad_request(error: &BadRequest, now: Time) -> Reply {
    problem(error.status(), &error.to_string(), Context::unread(now))
}

/// One line of plain text that says what is wrong.
pub fn problem(status: Status, text: &str, context: Context) -> Reply {
    let mut head = Head::new(context);
    match status {
        Status::MethodNotAllowed => head.field("Allow", "GET, HEAD, POST"),
        Status::Unavailable => head.field("Retry-After", 5),
        _ => {}
    }
    head.text(status, text)
}

/// Whole seconds of the file's last change; bytes in memory and files known by content have none.
fn modified(content: &Content) -> Option<u64> {
    match content {
        Content::Bytes(_) => None,
        Content::File { id, .. } => u64::try_from(id.changed_at()? / 1_000_000_000).ok(),
    }
}

/// A line that the content does not have by chance. It need not be a secret: each part says how long
/// it is.
fn boundary(etag: &str, now: Time) -> String {
    let mut hasher = DefaultHasher::new();
    (etag, now.0).hash(&mut hasher);
    format!("part-{:016x}", hasher.finish())
}

struct Head {
    context: Context,
    fields: String,
}

impl Head {
    fn new(context: Context) -> Head {
        Head { context, fields: String::with_capacity(320) }
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.fields, "{name}: {value}\r\n");
    }

    fn validators(&mut self, ours: Validators<'_>) {
        self.field("Etag", format_args!("\"{}\"", ours.etag));
        if let Some(text) = ours.modified.and_then(|seconds| date::print(Time(seconds.checked_mul(1000)?))) {
            self.field("Last-Modified", text);
        }
    }

    fn text(mut self, status: Status, text: &str) -> Reply {
        let mut body = printable::line(text).into_owned();
        body.push('\n');
        self.field("Content-Type", "text/plain; charset=utf-8");
        self.field("Content-Length", body.len());
        let send = self.context.method != Method::Head;
        let mut reply = self.finish(status);
        if send {
            reply.head.extend(body.as_bytes());
        }
        reply
    }

    /// The content, or one stretch of it.
    fn one(mut self, status: Status, artifact: &Artifact, ours: Validators<'_>, stretch: Stretch) -> Reply {
        self.content(artifact.media_type, stretch.length, ours);
        let send = self.context.method != Method::Head;
        let mut reply = self.finish(status);
        reply.parts.extend(send.then(|| Part { head: String::new(), stretch }));
        reply
    }

    /// `multipart/byteranges` (RFC 9110 section 14.6).
    fn several(mut self, artifact: &Artifact, ours: Validators<'_>, stretches: &[Stretch]) -> Reply {
        let (length, media_type) = (artifact.content.len(), artifact.media_type);
        let mark = boundary(ours.etag, self.context.now);
        let part = |stretch: &Stretch| Part {
            head: format!(
                "\r\n--{mark}\r\nContent-Type: {media_type}\r\nContent-Range: {}\r\n\r\n",
                place(*stretch, length)
            ),
            stretch: *stretch,
        };
        let parts: Vec<Part> = stretches.iter().map(part).collect();
        let tail = format!("\r\n--{mark}--\r\n");
        let together: u64 = parts.iter().map(|part| part.head.len() as u64 + part.stretch.length).sum();
        self.content(&format!("multipart/byteranges; boundary={mark}"), together + tail.len() as u64, ours);
        Reply { parts, tail, ..self.finish(Status::Partial) }
    }

    fn content(&mut self, media_type: &str, length: u64, ours: Validators<'_>) {
        self.field("Content-Type", media_type);
        self.field("Content-Length", length);
        self.field("Accept-Ranges", "bytes");
        self.validators(ours);
    }

    fn finish(mut self, status: Status) -> Reply {
        if let Some(text) = date::print(self.context.now) {
            self.field("Date", text);
        }
        let Context { version, keep_alive, .. } = self.context;
        match version {
            Version::Http10 if keep_alive => self.field("Connection", "keep-alive"),
            _ if !keep_alive => self.field("Connection", "close"),
            _ => {}
        }
        let minor = if version == Version::Http10 { 0 } else { 1 };
        let head = format!("HTTP/1.{minor} {} {}\r\n{}\r\n", status as u16, status.reason(), self.fields);
        Reply { status, head: head.into_bytes(), parts: Vec::new(), tail: String::new(), keep_alive }
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
