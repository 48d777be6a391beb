//! The one tree of names that TFTP and HTTP serve.
//!
//! | name | is |
//! |---|---|
//! | `ipxe/MAC.ipxe`, `autoexec.ipxe`, `boot.ipxe` | the machine's iPXE script |
//! | `pxelinux.cfg/…`, `…/grub.cfg…` | the same for PXELINUX and GRUB |
//! | `loader/NAME`, `NAME` | a boot program |
//! | `answers/DEPLOYMENT/TOKEN/FILE` | an answer file |
//! | `hooks/DEPLOYMENT/TOKEN/completed`, `failed`, `progress` | the installer's reports |
//! | `PREFIX/…` | a boot's kernel, initrd and tree; a folder of it lists its names (HTTP) |
//! | `PREFIX/EFI/BOOT/grub.cfg` | the machine's script, for the GRUB of an installer's image |
//! | `MAC/…` | the same names, asked for by that machine |
//! | `boot.scr.uimg` | U-Boot's way to `pxelinux.cfg/…` |
//! | `config.txt`, `SERIAL/start4.elf`, … | what a Raspberry Pi wants of its boot's tree |

mod answers;
mod facts;
mod files;
mod hooks;
mod listing;
pub mod name;
mod raspberry;
mod script;
mod uboot;

use std::net::IpAddr;

use super::path::{clean_path, percent_decode};
use crate::model::{Content, Mac, Name};
use crate::table::{Permit, Report, Stage, Table};

pub use super::http::Method;
pub use answers::render as answer_file;
pub use facts::{Facts, facts, facts_at};
pub use name::{Form, Target};
pub use script::render as boot_script;

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub address: IpAddr,
    pub transport: Transport,
    /// Our address that it reached: what it is told to fetch is there.
    pub at: Option<IpAddr>,
}

impl Asker {
    /// `own` is our address that it reached.
    pub fn new(address: impl Into<IpAddr>, own: Option<IpAddr>, transport: Transport) -> Asker {
        Asker { address: address.into(), transport, at: own }
    }
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

impl Refusal {
    pub fn new(reason: RefusalReason, text: impl Into<String>) -> Refusal {
        Refusal { reason, text: text.into(), mac: None, deployment: None }
    }
}

/// What `path` (percent-decoded, however its parts are joined) means to `asker`. `note` is what a
/// report carried (query or body).
pub fn open(table: &Table, asker: &Asker, method: Method, path: &str, note: &str) -> Answer {
    let path = match clean_path(path) {
        Ok(path) => path,
        Err(error) => return Answer::Refuse(Refusal::new(RefusalReason::NotFound, error.to_string())),
    };
    match named(table, asker, method, &path, note) {
        Answer::Refuse(refusal) if refusal.reason == RefusalReason::NotFound => {
            let found = unescaped(asker, &path).map(|path| named(table, asker, method, &path, note));
            found.unwrap_or(Answer::Refuse(refusal))
        }
        answer => answer,
    }
}

/// What a TFTP client may have meant that was given a URL and did not undo its escapes.
fn unescaped(asker: &Asker, path: &str) -> Option<String> {
    let escaped = asker.transport == Transport::Tftp && path.contains('%');
    let plain = escaped.then(|| percent_decode(path).ok())??;
    clean_path(&plain).ok().filter(|plain| plain != path)
}

fn named(table: &Table, asker: &Asker, method: Method, path: &str, note: &str) -> Answer {
    let (of, path) = name::machine_folder(path);
    // Where we give the addresses they tell who asks, whatever the folder says.
    let mac = table.mac_at(asker.address).or(of.filter(|_| !table.server.gives_addresses));
    let answer = match name::parse(table, path) {
        Target::Script { form, mac: named } => script::open(table, asker, method, form, named.or(of).or(mac)),
        Target::Loader(loader) => files::loader(table, &loader),
        Target::UBoot => uboot::open(table, mac),
        Target::Answers { deployment, token, file } => {
            answers::open(table, asker, method, &deployment, &token, &file)
        }
        Target::Hook { deployment, token, outcome } => hooks::open(table, &deployment, &token, outcome, note),
        Target::Media { boot, path } => files::media(table, asker, method, mac, &boot, &path),
        Target::Unknown => {
            let found = mac.and_then(|mac| raspberry::open(table, asker, method, mac, path));
            let text = || format!("nothing is served as {path}");
            found.unwrap_or_else(|| Answer::Refuse(Refusal::new(RefusalReason::NotFound, text())))
        }
    };
    with_caller(table, mac, answer)
}

/// Completes an answer that does not say whose it is: the address tells.
fn with_caller(table: &Table, mac: Option<Mac>, mut answer: Answer) -> Answer {
    let (said_mac, deployment) = match &mut answer {
        Answer::Serve(artifact) => (&mut artifact.mac, &mut artifact.deployment),
        Answer::Refuse(refusal) => (&mut refusal.mac, &mut refusal.deployment),
        Answer::Permit(_) | Answer::Report(_) => return answer,
    };
    *said_mac = said_mac.or(mac);
    if deployment.is_none() {
        *deployment = said_mac.and_then(|mac| table.deployment_of(mac)).map(|found| found.name.clone());
    }
    answer
}

#[cfg(test)]
mod tests;
