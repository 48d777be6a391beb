//! What speaks DHCPv6: boot firmware, iPXE, or an operating system.

use super::wire::{Request, code, strings};
use crate::model::{ClientArch, Firmware};
use crate::proto::dhcp::client::{Client, Speaker};

/// The client of a message. iPXE does not tell its features here; every one that does IPv6 can
/// fetch a script by HTTP.
pub fn of(request: &Request) -> Client {
    let user = request.option(code::USER_CLASS).unwrap_or_default();
    let vendor = request.option(code::VENDOR_CLASS).and_then(|class| class.get(4..)).unwrap_or_default();
    let says = |word: &[u8]| strings(vendor).any(|class| class.starts_with(word));
    let arch = request.architectures().find_map(ClientArch::from_code);
    let by_http = arch.is_some_and(|arch| arch.firmware == Firmware::UefiHttp);
    let speaker = if user.windows(4).any(|part| part == b"iPXE") {
        Speaker::Ipxe { capable: true }
    } else if says(b"HTTPClient") || by_http && !says(b"PXEClient") {
        Speaker::Http
    } else if says(b"PXEClient") || request.has(code::ARCHITECTURE) {
        Speaker::Pxe
    } else {
        Speaker::System
    };
    // The class says which way it boots, whatever the architecture type claims.
    let firmware = |arch: ClientArch| match (speaker, arch.firmware) {
        (Speaker::Http, _) => Firmware::UefiHttp,
        (_, Firmware::UefiHttp) => Firmware::Uefi,
        (_, firmware) => firmware,
    };
    Client { speaker, arch: arch.map(|arch| ClientArch { firmware: firmware(arch), ..arch }) }
}
