//! The one tree of names that TFTP and HTTP serve.

use std::net::Ipv4Addr;

use crate::model::{Content, Mac, Name, Time};
use crate::table::{Permit, Report, Stage, Table};

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub address: Ipv4Addr,
    pub transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tftp,
    Http,
}

/// What to do about a name that was asked for.
#[derive(Clone, Debug)]
pub enum Answer {
    Serve(Artifact),
    /// Store this first, then ask again with the new table.
    Permit(Permit),
    /// The installer says how it went: store this, then answer 200 with an empty body.
    Report(Report),
    Refuse(Refusal),
}

/// Bytes to serve.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub content: Content,
    /// MIME type for HTTP.
    pub media_type: &'static str,
    /// Entity tag without quotes, stable as long as the bytes are.
    pub etag: String,
    /// What this fetch means in the machine's timeline.
    pub stage: Stage,
    pub mac: Option<Mac>,
    pub deployment: Option<Name>,
    /// One line for the timeline.
    pub text: String,
}

/// Why a name is not served.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub reason: RefusalReason,
    pub text: String,
    pub mac: Option<Mac>,
    pub deployment: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// HTTP 404, TFTP error 1.
    NotFound,
    /// HTTP 403, TFTP error 2.
    Forbidden,
    /// HTTP 410, TFTP error 2: it was there for one installation, which is over.
    Gone,
    /// HTTP 503, TFTP error 0: try again.
    Busy,
}

/// What `path` (already decoded; leading slashes, `\` and `//` as they came) means to `asker`.
pub fn open(_table: &Table, _now: Time, _asker: &Asker, _path: &str) -> Answer {
    todo!()
}
