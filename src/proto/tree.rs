//! The one tree of names that TFTP and HTTP serve.
//!
//! | name | is |
//! |---|---|
//! | `ipxe/MAC.ipxe`, `boot.ipxe` | the machine's iPXE script |
//! | `pxelinux.cfg/…`, `…/grub.cfg…` | the same for PXELINUX and GRUB |
//! | `autoexec.ipxe` | what leads an iPXE without an address to its script |
//! | `loader/NAME`, `NAME` | a boot program |
//! | `answers/DEPLOYMENT/TOKEN/FILE` | an answer file |
//! | `nocloud/DEPLOYMENT/TOKEN/FILE` | metadata for cloud-init of the running machine |
//! | `hooks/DEPLOYMENT/TOKEN/completed`, `failed`, `progress` | the installer's reports |
//! | `PREFIX/…` | a boot's kernel, initrd and tree; a folder of it lists its names (HTTP) |
//! | `PREFIX/EFI/BOOT/grub.cfg` | the machine's script, for the GRUB of an installer's image |
//! | `MAC/…` | the same names, asked for by that machine |
//! | `boot.scr.uimg` | U-Boot's way to `pxelinux.cfg/…` |
//! | `config.txt`, `SERIAL/start4.elf`, … | what a Raspberry Pi wants of its boot's tree |

mod agent;
mod answers;
mod asker;
mod facts;
mod files;
mod hooks;
mod listing;
mod metadata;
pub mod name;
mod once;
mod part;
mod raspberry;
mod script;
mod uboot;

use std::borrow::Cow;

use super::path::{clean_path, percent_decode};
use crate::model::{Content, Mac, Name};
use crate::state::{Permit, Report, Stage, State};

pub use super::http::Method;
pub use asker::{Asker, Link, Standing, Transport};
pub use facts::{Facts, answers_url, facts, facts_at};
pub use name::{Form, Target};
pub use part::{is_text, render as answer_file};
pub use script::render as boot_script;

/// The result of a request for a name.
#[derive(Clone, Debug)]
pub enum Answer {
    Serve(Artifact),
    /// Read the neighbour table for [`Asker::link`], then ask again.
    Identify,
    /// Store this first, then ask again with the new state.
    Permit(Permit),
    /// Store first that the one boot of this machine has begun, then ask again.
    Begin(Name),
    /// A report of the installer: store this, then answer 200 with an empty body. The text is a remark for
    /// the timeline where only the token identifies the machine.
    Report(Report, Option<String>),
    Refuse(Refusal),
}

/// Bytes to serve.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub content: Content,
    /// MIME type for HTTP.
    pub media_type: &'static str,
    /// Entity tag without quotes, stable as long as the bytes are; empty where [`Artifact::entity_tag`] makes it of
    /// them.
    pub etag: String,
    /// What this fetch means in the machine's timeline.
    pub stage: Stage,
    pub mac: Option<Mac>,
    pub deployment: Option<Name>,
    /// One line for the timeline.
    pub text: String,
}

impl Artifact {
    /// The entity tag for a reply. Of most scripts it is made here and not before: TFTP has none, and simulated
    /// boots need none.
    pub fn entity_tag(&self) -> Cow<'_, str> {
        match &self.content {
            Content::Bytes(bytes) if self.etag.is_empty() => script::digest(bytes).into(),
            _ => self.etag.as_str().into(),
        }
    }
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
    /// HTTP 405, TFTP error 2: it can only be read.
    Method,
    /// HTTP 403, TFTP error 2.
    Forbidden,
    /// HTTP 410, TFTP error 2: it was there for one installation, which is over.
    Gone,
    /// HTTP 503, TFTP error 0: try again.
    Busy,
}

impl Refusal {
    pub fn new(reason: RefusalReason, text: impl Into<String>) -> Refusal {
        Refusal { reason, text: text.into(), mac: None, deployment: None }
    }
}

/// What `path` (percent-decoded, however its parts are joined) means to `asker`. `note` is what a report
/// carried (query or body).
pub fn open(state: &State, asker: &Asker, method: Method, path: &str, note: &str) -> Answer {
    let path = match clean_path(path) {
        Ok(path) => path,
        Err(error) => return Answer::Refuse(Refusal::new(RefusalReason::NotFound, error.to_string())),
    };
    match named(state, asker, method, &path, note) {
        Answer::Refuse(refusal) if refusal.reason == RefusalReason::NotFound => {
            let found = unescaped(asker, &path).map(|path| named(state, asker, method, &path, note));
            found.unwrap_or(Answer::Refuse(refusal))
        }
        answer => answer,
    }
}

/// The path of a TFTP client that was given a URL and did not decode its escapes.
fn unescaped(asker: &Asker, path: &str) -> Option<String> {
    let escaped = asker.transport == Transport::Tftp && path.contains('%');
    let plain = escaped.then(|| percent_decode(path).ok())??;
    clean_path(&plain).ok().filter(|plain| plain != path)
}

fn named(state: &State, asker: &Asker, method: Method, path: &str, note: &str) -> Answer {
    let (of, path) = name::machine_folder(path);
    // Where we give the addresses they identify the client, whatever the folder says.
    let mac = asker.card(state).or(of.filter(|_| !state.server().gives_addresses));
    // What is there to be read is looked at as by HEAD, which moves nothing.
    let reading = if method == Method::Post { Method::Head } else { method };
    let answer = match name::parse(state, path) {
        Target::Answers { deployment, token, file } => {
            answers::open(state, asker, method, &deployment, &token, &file)
        }
        Target::Metadata { deployment, token, file } => {
            read_only(method, metadata::open(state, asker, reading, &deployment, &token, file))
        }
        Target::Hook { deployment, token, outcome } => {
            hooks::open(state, asker, method, &deployment, &token, outcome, note)
        }
        Target::Script { form, mac: named } => {
            read_only(method, script::open(state, asker, reading, form, named.or(of).or(mac)))
        }
        Target::Autoexec => read_only(method, script::autoexec(state, asker, mac)),
        Target::Loader(loader) => read_only(method, files::loader(state, asker, mac, &loader)),
        Target::UBoot => read_only(method, uboot::open(state, mac)),
        Target::Media { prefix, path } => {
            read_only(method, files::media(state, asker, reading, mac, &prefix, &path))
        }
        Target::Unknown => {
            let found = mac.and_then(|mac| raspberry::open(state, asker, reading, mac, path));
            let text = || format!("nothing is served as {path}");
            let found =
                found.unwrap_or_else(|| Answer::Refuse(Refusal::new(RefusalReason::NotFound, text())));
            read_only(method, found)
        }
    };
    with_caller(state, mac, answer)
}

/// Refuses a POST to something that can only be read (RFC 9110 section 9.3.3).
fn read_only(method: Method, answer: Answer) -> Answer {
    match answer {
        Answer::Serve(artifact) if method == Method::Post => Answer::Refuse(Refusal::new(
            RefusalReason::Method,
            format!("{} can be read with GET and HEAD only", artifact.text),
        )),
        answer => answer,
    }
}

/// Completes an answer that does not name its machine: the address identifies it. What another client read
/// is not the machine's doing.
fn with_caller(state: &State, mac: Option<Mac>, mut answer: Answer) -> Answer {
    let (said_mac, deployment) = match &mut answer {
        Answer::Serve(artifact) => (&mut artifact.mac, &mut artifact.deployment),
        Answer::Refuse(refusal) => (&mut refusal.mac, &mut refusal.deployment),
        Answer::Identify | Answer::Permit(_) | Answer::Begin(_) | Answer::Report(..) => return answer,
    };
    *said_mac = said_mac.or(mac);
    if deployment.is_none() {
        *deployment = said_mac.and_then(|mac| state.deployment_of(mac)).map(|found| found.name.clone());
    }
    answer
}

#[cfg(test)]
mod tests;
