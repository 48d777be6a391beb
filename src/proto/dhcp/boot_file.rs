//! Which file a boot client is to fetch.
//!
//! Firmware gets iPXE; iPXE gets the machine's script by HTTP, and the script decides between installing
//! and the machine's own disk. So whatever asks to boot is always answered, before and after an
//! installation.
//!
//! The loop that this cannot break: firmware that fetches the loader and comes back without ever becoming
//! iPXE (because Secure Boot refuses it, say). In DHCP alone that looks like a new boot each time; the
//! timeline shows offers without a script.

use std::net::{IpAddr, Ipv4Addr};

use super::client::{Client, ClientKind};
use super::quirk;
use super::reply::Reply;
use super::wire::{Request, code};
use crate::desired::{Boot, Machine};
use crate::model::Mac;
use crate::state::loader::{self, Chosen};
use crate::state::{Server, host};

/// The answer to a client's question for a boot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// It did not ask.
    Nothing,
    /// There is no program for it; the text says what would be needed.
    Missing(String),
    /// A file name for TFTP from the next server.
    Name(String),
    /// A whole URL.
    Url(String),
    /// No program: the client knows which names to request from the next server (a Raspberry Pi, or U-Boot
    /// that looks for `pxelinux.cfg/`).
    ItsOwn,
    /// A configuration in PXELINUX's language (option 209), which Petitboot reads itself.
    Config(String),
}

/// The client that asks for a boot file.
#[derive(Clone, Copy, Debug)]
pub struct Booter<'a> {
    pub client: &'a Client,
    pub mac: Mac,
    pub machine: Option<&'a Machine>,
    /// What it boots, if it is to boot anything but its own disk.
    pub boot: Option<&'a Boot>,
}

impl BootFile {
    /// What this client is to fetch from `server`, which it reaches at the address `at`.
    pub fn of(booter: Booter, server: &Server, at: impl Into<IpAddr>) -> BootFile {
        let at = at.into();
        let (client, mac, url) = (booter.client, booter.mac, server.url_at(at));
        let missing = BootFile::Missing;
        let name = |found: Chosen| BootFile::Name(found.place.name().to_owned());
        match client.kind {
            ClientKind::System => BootFile::Nothing,
            ClientKind::Ipxe { capable: true } => BootFile::Url(format!("{url}/ipxe/{}.ipxe", mac.dashed())),
            ClientKind::Ipxe { capable: false } => booter.loader(server).map_or_else(missing, |found| {
                BootFile::Url(format!("tftp://{}/{}", host(at), found.place.name()))
            }),
            ClientKind::Pxe => booter.loader(server).map_or_else(missing, name),
            ClientKind::Http => booter
                .loader(server)
                .map_or_else(missing, |found| BootFile::Url(format!("{url}/{}", found.place.path()))),
            ClientKind::UBoot => booter.loader(server).map_or(BootFile::ItsOwn, name),
            ClientKind::RaspberryPi => BootFile::ItsOwn,
            ClientKind::Petitboot => BootFile::Config(format!("{url}/pxelinux.cfg/01-{}", mac.dashed())),
        }
    }

    /// For the timeline, to follow "offered 10.0.10.21".
    pub fn text(&self) -> String {
        match self {
            BootFile::Nothing => String::new(),
            BootFile::Missing(what) => format!(", but no boot file: {what}"),
            BootFile::Name(name) => format!(", boot file {name} by TFTP"),
            BootFile::Url(url) => format!(", boot file {url}"),
            BootFile::ItsOwn => ", files by TFTP as its firmware asks for them".into(),
            BootFile::Config(url) => format!(", configuration {url}"),
        }
    }
}

impl Booter<'_> {
    fn loader(&self, server: &Server) -> Result<Chosen, String> {
        loader::choose(self.client.arch, server, self.machine, self.boot)
    }
}

/// How the boot file reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The daemon gave the address too: the client is to boot at once.
    Whole,
    /// Another server gives the address.
    Proxy,
}

/// Writes the boot file and the options without which this client would not take it.
pub(super) fn write(
    reply: &mut Reply,
    file: &BootFile,
    manner: Manner,
    client: &Client,
    request: &Request,
    server: Ipv4Addr,
) {
    if let Some(id) = request.machine_id().filter(|_| client.boots()) {
        reply.raw(code::MACHINE_ID, id);
    }
    match file {
        BootFile::Nothing | BootFile::Missing(_) => return,
        BootFile::Name(name) => reply.next_server(server).file(name, false),
        BootFile::Url(url) => reply.next_server(server).file(url, true),
        BootFile::ItsOwn => reply.next_server(server),
        BootFile::Config(_) if reply.has(code::CONFIG_FILE) => reply.next_server(server),
        BootFile::Config(url) => reply.next_server(server).raw(code::CONFIG_FILE, url.as_bytes()),
    };
    let quirk = quirk::of(request);
    let options = match manner {
        Manner::Whole => quirk.whole,
        Manner::Proxy => quirk.proxy,
    };
    for (code, value) in options {
        reply.raw(*code, value);
    }
}
