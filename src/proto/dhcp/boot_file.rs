//! What a boot client is told to fetch.
//!
//! The way of a machine: its firmware gets our iPXE; iPXE gets the machine's script by HTTP, and
//! the script decides between installing and the machine's own disk. So whatever asks to boot
//! is always answered, before and after an installation.
//!
//! The loop that this cannot break: firmware that fetches the loader and comes back without ever
//! becoming iPXE (Secure Boot refusing it, say). From DHCP alone that looks like a new boot each
//! time; the timeline shows offers without a script.

use std::net::Ipv4Addr;

use super::client::{Client, Speaker};
use super::reply::Reply;
use super::wire::{Request, code};
use crate::model::{ClientArch, Cpu, Firmware, Mac};
use crate::table::Server;

/// Programs by what they run on, best first. The snp builds of iPXE use the firmware's own
/// network driver, which is the safe default; shim comes last, for where nothing else is at hand.
const LOADERS: [(Cpu, &[&str]); 6] = [
    (Cpu::X86_64, &["snponly.efi", "ipxe.efi", "shimx64.efi"]),
    (Cpu::Aarch64, &["snponly-arm64.efi", "ipxe-arm64.efi", "shimaa64.efi"]),
    (Cpu::I386, &["snponly-i386.efi", "ipxe-i386.efi"]),
    (Cpu::Arm, &["snponly-arm32.efi", "ipxe-arm32.efi"]),
    (Cpu::Riscv64, &["snponly-riscv64.efi", "ipxe-riscv64.efi"]),
    (Cpu::Loongarch64, &["snponly-loong64.efi", "ipxe-loong64.efi"]),
];
const BIOS_LOADERS: &[&str] = &["undionly.kpxe", "ipxe.pxe"];

/// PXE discovery control (option 43.6) bit 3: boot the named file, no menu, no discovery. With
/// option 60 and without this EDK2 goes to port 4011 instead.
const BOOT_NAMED_FILE: [u8; 4] = [6, 1, 8, 255];
/// iPXE's `no-pxedhcp` (option 175.176): do not wait 3 s for a ProxyDHCP server.
const NO_PROXY_WAIT: [u8; 3] = [0xb0, 1, 1];

/// The answer to "what shall I boot?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// It did not ask.
    Nothing,
    /// There is no program for it; for people: what would be needed.
    Missing(String),
    /// A file name for TFTP from the next server.
    Name(String),
    /// A whole URL.
    Url(String),
}

impl BootFile {
    /// What `client` at `mac` is to fetch.
    pub fn of(client: &Client, mac: Mac, server: &Server) -> BootFile {
        let url = server.url();
        match client.speaker {
            Speaker::System => BootFile::Nothing,
            Speaker::Ipxe { capable: true } => BootFile::Url(format!("{url}/ipxe/{}.ipxe", mac.dashed())),
            Speaker::Ipxe { capable: false } => match loader(client.arch, server) {
                Ok(name) => BootFile::Url(format!("tftp://{}/{name}", server.address)),
                Err(missing) => BootFile::Missing(missing),
            },
            Speaker::Pxe => {
                loader(client.arch, server).map_or_else(BootFile::Missing, |name| BootFile::Name(name.into()))
            }
            Speaker::Http => match loader(client.arch, server) {
                Ok(name) => BootFile::Url(format!("{url}/loader/{name}")),
                Err(missing) => BootFile::Missing(missing),
            },
        }
    }

    /// Whether there is something to fetch.
    pub fn is_some(&self) -> bool {
        matches!(self, BootFile::Name(_) | BootFile::Url(_))
    }

    /// For the timeline, to follow "offered 10.0.10.21".
    pub fn text(&self) -> String {
        match self {
            BootFile::Nothing => String::new(),
            BootFile::Missing(what) => format!(", but no boot file: {what}"),
            BootFile::Name(name) => format!(", boot file {name} by TFTP"),
            BootFile::Url(url) => format!(", boot file {url}"),
        }
    }
}

/// How the boot file reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// We gave the address too: the client is to boot at once.
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
    };
    match (client.speaker, manner) {
        (Speaker::Ipxe { .. }, Manner::Whole) => reply.raw(code::IPXE, &NO_PROXY_WAIT),
        (Speaker::Http, _) => reply.raw(code::CLASS, b"HTTPClient"),
        (_, Manner::Whole) => reply.raw(code::CLASS, b"PXEClient").raw(code::VENDOR, &BOOT_NAMED_FILE),
        (Speaker::Pxe, Manner::Proxy) if is_bios(client.arch) => {
            reply.raw(code::CLASS, b"PXEClient").raw(code::VENDOR, &BOOT_NAMED_FILE)
        }
        // UEFI takes a proxy's offer without 43 and asks for the file on port 4011; some
        // firmware ignores a proxy's offer with bit 3. iPXE wants next server and file only.
        (_, Manner::Proxy) => reply.raw(code::CLASS, b"PXEClient"),
    };
}

fn is_bios(arch: Option<ClientArch>) -> bool {
    arch.is_none_or(|arch| arch.firmware == Firmware::Bios)
}

/// The best program at hand for an architecture, else what is missing.
fn loader(arch: Option<ClientArch>, server: &Server) -> Result<&'static str, String> {
    let Some(arch) = arch else { return Err("its architecture (option 93) is not known".into()) };
    let names = match arch.firmware {
        Firmware::Bios => BIOS_LOADERS,
        Firmware::Uefi | Firmware::UefiHttp => {
            LOADERS.iter().find(|(cpu, _)| *cpu == arch.cpu).map_or(&[][..], |(_, names)| names)
        }
    };
    let present = names.iter().find(|name| server.loaders.contains_key(**name));
    present.copied().ok_or_else(|| format!("no {} for {arch} among the firmware files", names.join(" or ")))
}
