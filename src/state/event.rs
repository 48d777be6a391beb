//! What machines did, as the timeline shows it.

use std::fmt;
use std::net::IpAddr;

use crate::model::{ClientArch, Line, Mac, Name, Time};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Time,
    pub stage: Stage,
    pub mac: Option<Mac>,
    pub address: Option<IpAddr>,
    pub deployment: Option<Name>,
    pub arch: Option<ClientArch>,
    /// Whether iPXE spoke, when DHCP tells.
    pub ipxe: Option<bool>,
    /// One printable line for people: what was given, or why not. Names and texts in it come off the wire.
    pub text: Line,
}

impl Event {
    /// Something that no machine had part in.
    pub fn new(at: Time, stage: Stage, text: impl Into<Line>) -> Event {
        Event {
            at,
            stage,
            mac: None,
            address: None,
            deployment: None,
            arch: None,
            ipxe: None,
            text: text.into(),
        }
    }
}

/// Steps of a boot, in the order of a good one; then what can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A DISCOVER was answered with an OFFER.
    Offer,
    /// A REQUEST was answered with an ACK.
    Ack,
    /// A boot program was fetched: iPXE, shim, GRUB, …
    Loader,
    /// The per-machine script or configuration that leads to the installer was served.
    Script,
    Kernel,
    Initrd,
    /// An answer file was served.
    Answers,
    /// Another file was fetched (the image's tree, PXELINUX modules, …).
    File,
    /// The installer reported progress.
    Progress,
    /// The installer reported completion: the permission to install has ended.
    Completed,
    /// The installer reported failure.
    Failed,
    /// The machine was told to boot its own disk.
    LocalBoot,
    /// A request was refused; the text says why.
    Refused,
    /// The machine boots again and again and gets no further; the text says how far.
    Stuck,
    /// A packet was left unanswered; the text says why.
    Silence,
    /// Something of the daemon's own: a revision applied, a foreign DHCP server, …
    Daemon,
}

impl Stage {
    pub const ALL: [Stage; 16] = [
        Stage::Offer,
        Stage::Ack,
        Stage::Loader,
        Stage::Script,
        Stage::Kernel,
        Stage::Initrd,
        Stage::Answers,
        Stage::File,
        Stage::Progress,
        Stage::Completed,
        Stage::Failed,
        Stage::LocalBoot,
        Stage::Refused,
        Stage::Stuck,
        Stage::Silence,
        Stage::Daemon,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Offer => "offer",
            Stage::Ack => "ack",
            Stage::Loader => "loader",
            Stage::Script => "script",
            Stage::Kernel => "kernel",
            Stage::Initrd => "initrd",
            Stage::Answers => "answers",
            Stage::File => "file",
            Stage::Progress => "progress",
            Stage::Completed => "completed",
            Stage::Failed => "failed",
            Stage::LocalBoot => "local-boot",
            Stage::Refused => "refused",
            Stage::Stuck => "stuck",
            Stage::Silence => "silence",
            Stage::Daemon => "daemon",
        })
    }
}
