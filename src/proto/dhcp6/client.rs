//! Which kind of program sent a DHCPv6 message: boot firmware, iPXE, or an operating system.

use super::wire::{Request, code, strings};
use crate::model::{ClientArch, Firmware};
use crate::proto::dhcp::client::{Client, ClientKind};

/// The sender of a message. iPXE does not send its features in DHCPv6; every iPXE with IPv6 can fetch a
/// script by HTTP.
pub(super) fn of(request: &Request) -> Client {
    let user = request.option(code::USER_CLASS).unwrap_or_default();
    let vendor = request.option(code::VENDOR_CLASS).and_then(|class| class.get(4..)).unwrap_or_default();
    let says = |word: &[u8]| strings(vendor).any(|class| class.starts_with(word));
    let arch = request.architectures().find_map(ClientArch::from_code);
    let by_http = arch.is_some_and(|arch| arch.firmware == Firmware::UefiHttp);
    let kind = if user.windows(4).any(|part| part == b"iPXE") {
        ClientKind::Ipxe { capable: true }
    } else if says(b"HTTPClient") || by_http && !says(b"PXEClient") {
        ClientKind::Http
    } else if says(b"PXEClient") || request.has(code::ARCHITECTURE) {
        ClientKind::Pxe
    } else {
        ClientKind::System
    };
    // The class shows the way it boots, whatever the architecture type claims.
    let firmware = |arch: ClientArch| match (kind, arch.firmware) {
        (ClientKind::Http, _) => Firmware::UefiHttp,
        (_, Firmware::UefiHttp) => Firmware::Uefi,
        (_, firmware) => firmware,
    };
    Client { kind, arch: arch.map(|arch| ClientArch { firmware: firmware(arch), ..arch }) }
}
