//! Which file a boot client is to fetch.
//!
//! Firmware gets iPXE; iPXE gets the machine's script by HTTP, and the script decides between installing
//! and the machine's own disk. So whatever asks to boot is always answered, before and after an
//! installation.
//!
//! Firmware that fetches the loader and comes back without ever asking for its script (because Secure Boot refuses
//! it, say) is offered another one: see [`crate::state::learned`].

use std::net::{IpAddr, Ipv4Addr};

use super::client::{Client, ClientKind};
use super::quirk;
use super::reply::Reply;
use super::wire::{Request, code};
use crate::desired::{Boot, Machine, Subnet};
use crate::model::{BootWay, Mac, Time, Unknown};
use crate::state::event::Offered;
use crate::state::learned::Experience;
use crate::state::loader::{self, Chosen, Place};
use crate::state::{Server, State, host};

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
#[derive(Clone, Debug)]
pub struct Booter<'a> {
    pub client: &'a Client,
    pub mac: Mac,
    pub machine: Option<&'a Machine>,
    /// What it boots, if it is to boot anything but its own disk.
    pub boot: Option<&'a Boot>,
    /// What is known of the boot programs that it was offered.
    pub experience: Experience,
}

/// The way by which firmware fetches its program; `None` of what is no firmware, or names no architecture.
pub fn way(client: &Client, is_ipv6: bool) -> Option<BootWay> {
    client.arch?;
    match (client.kind, is_ipv6) {
        (ClientKind::Pxe, false) => Some(BootWay::Pxe4),
        (ClientKind::Pxe, true) => Some(BootWay::Pxe6),
        (ClientKind::Http, false) => Some(BootWay::Http4),
        (ClientKind::Http, true) => Some(BootWay::Http6),
        _ => None,
    }
}

/// For the event of an answer with this boot program.
pub(crate) fn offered(client: &Client, is_ipv6: bool, own: Option<&'static str>) -> Option<Offered> {
    way(client, is_ipv6).zip(own).map(|(way, program)| Offered { way, program })
}

/// What is known of the boot programs that this client was offered.
pub fn experience(state: &State, client: &Client, card: Mac, is_ipv6: bool, now: Time) -> Experience {
    match (client.arch, way(client, is_ipv6)) {
        (Some(arch), Some(way)) => state.experience(card, arch, way, now),
        _ => Experience::default(),
    }
}

impl BootFile {
    /// What this client is to fetch from `server`, which it reaches at the address `at`; with the name of the boot
    /// program, where that is the daemon's own choice.
    pub fn of(booter: &Booter, server: &Server, at: impl Into<IpAddr>) -> (BootFile, Option<&'static str>) {
        let at = at.into();
        let (client, mac, url) = (booter.client, booter.mac, server.url_at(at));
        let loader = |file: &dyn Fn(&Place) -> BootFile| match booter.loader(server) {
            Ok(found) => (file(&found.place), found.own),
            Err(missing) => (BootFile::Missing(missing), None),
        };
        let name = |place: &Place| BootFile::Name(place.name().to_owned());
        let file = match client.kind {
            ClientKind::Ipxe { capable: false } => {
                return loader(&|place| BootFile::Url(format!("tftp://{}/{}", host(at), place.name())));
            }
            ClientKind::Pxe => return loader(&name),
            ClientKind::Http => return loader(&|place| BootFile::Url(format!("{url}/{}", place.path()))),
            ClientKind::UBoot => match loader(&name) {
                (BootFile::Missing(_), _) => BootFile::ItsOwn,
                found => return found,
            },
            ClientKind::System => BootFile::Nothing,
            ClientKind::Ipxe { capable: true } => BootFile::Url(format!("{url}/ipxe/{}.ipxe", mac.dashed())),
            ClientKind::RaspberryPi => BootFile::ItsOwn,
            ClientKind::Petitboot => BootFile::Config(format!("{url}/pxelinux.cfg/01-{}", mac.dashed())),
        };
        (file, None)
    }

    /// For a client that is in no manifest and that our agent is not to look at.
    pub fn of_unknown(state: &State, client: &Client, card: Mac, subnet: &Subnet) -> BootFile {
        match subnet.unknown {
            _ if !client.boots() => BootFile::Nothing,
            Unknown::Ignore => BootFile::Missing("it is in no manifest".into()),
            _ => BootFile::Missing(state.undiscovered(card)),
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
        loader::choose(self.client.arch, server, self.machine, self.boot, &self.experience)
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
