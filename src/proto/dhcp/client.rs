//! Which kind of program sent a message: boot firmware, iPXE, or an operating system.

use super::quirk;
use super::wire::{Request, code, sub_options};
use crate::model::{ClientArch, Cpu, Firmware};

/// Feature numbers of iPXE's option 175 (its src/include/ipxe/features.h).
mod feature {
    pub(super) const HTTP: u8 = 0x13;
    pub(super) const BZIMAGE: u8 = 0x18;
    pub(super) const EFI: u8 = 0x24;
}

/// The sender of a message, as far as it matters for booting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub kind: ClientKind,
    /// `None` when the message has none, or a type that can't be served.
    pub arch: Option<ClientArch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Firmware that boots by TFTP.
    Pxe,
    /// UEFI that boots by HTTP.
    Http,
    /// iPXE; `capable` when it can fetch by HTTP and start a kernel of its platform.
    Ipxe { capable: bool },
    /// U-Boot: takes an EFI program, else looks for `pxelinux.cfg/`.
    UBoot,
    /// Petitboot: reads a configuration in PXELINUX's language.
    Petitboot,
    /// The boot ROM or EEPROM of a Raspberry Pi, which requests files by names of its own.
    RaspberryPi,
    /// An installer or operating system: it needs an address, no boot file.
    System,
}

impl Client {
    pub fn of(request: &Request) -> Client {
        let kind = match quirk::of(request).kind {
            ClientKind::Ipxe { .. } => ClientKind::Ipxe { capable: is_capable(request) },
            kind => kind,
        };
        let arch = quirk::architectures(request).find_map(ClientArch::from_code);
        // Option 60 shows the way it boots, whatever the architecture type claims.
        let firmware = |arch: ClientArch| match (kind, arch.firmware) {
            (ClientKind::Http, Firmware::Uefi) => Firmware::UefiHttp,
            (ClientKind::Http, firmware) => firmware,
            (_, Firmware::UefiHttp) => Firmware::Uefi,
            (_, firmware) => firmware,
        };
        if kind == ClientKind::RaspberryPi {
            return Client { kind, arch: Some(ClientArch { cpu: Cpu::Aarch64, firmware: Firmware::Uefi }) };
        }
        Client { kind, arch: arch.map(|arch| ClientArch { firmware: firmware(arch), ..arch }) }
    }

    pub fn is_ipxe(&self) -> bool {
        matches!(self.kind, ClientKind::Ipxe { .. })
    }

    /// Whether it asks for something to boot.
    pub fn boots(&self) -> bool {
        self.kind != ClientKind::System
    }
}

/// Whether this iPXE can be given a script by URL. One that hides its features (no option 175) counts as
/// unable and gets the daemon's iPXE, which does not hide them.
fn is_capable(request: &Request) -> bool {
    let Some(features) = request.option(code::IPXE) else { return false };
    let has = |wanted| sub_options(features).any(|(code, value)| code == wanted && value != [0]);
    has(feature::HTTP) && (has(feature::BZIMAGE) || has(feature::EFI))
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{datagram, decode, option};
    use super::*;

    fn client(options: &[Vec<u8>]) -> Client {
        Client::of(&decode(&datagram(&[option(53, &[1]), options.concat()].concat())))
    }

    const FULL: [u8; 6] = [0x13, 1, 1, 0x18, 1, 1];

    #[test]
    fn tells_firmware_by_class_and_architecture() {
        let pxe = client(&[option(60, b"PXEClient:Arch:00007:UNDI:003000"), option(93, &[0, 7])]);
        assert_eq!(pxe.kind, ClientKind::Pxe);
        assert_eq!(pxe.arch.unwrap().to_string(), "x86_64 uefi");
        let digits = client(&[option(60, b"PXEClient:Arch:00011:UNDI:003000")]);
        assert_eq!(digits.arch.unwrap().to_string(), "aarch64 uefi");
        let http = client(&[option(60, b"HTTPClient:Arch:00016:UNDI:003000"), option(93, &[0, 7])]);
        assert_eq!((http.kind, http.arch.unwrap().firmware), (ClientKind::Http, Firmware::UefiHttp));
        let uboot = client(&[option(60, b"U-Boot.armv8")]);
        assert_eq!((uboot.kind, uboot.arch.unwrap().cpu), (ClientKind::UBoot, Cpu::Aarch64));
        let uboot = client(&[option(60, b"PXEClient:Arch:00022:UNDI:003000"), option(93, &[0, 22])]);
        assert_eq!((uboot.kind, uboot.arch.unwrap().cpu), (ClientKind::UBoot, Cpu::Aarch64));
        assert_eq!(client(&[option(93, &[0, 14])]).kind, ClientKind::Petitboot);
        let id = [b"\0RPi4".as_slice(), &[7; 12]].concat();
        let pi =
            client(&[option(60, b"PXEClient:Arch:00000:UNDI:002001"), option(93, &[0, 0]), option(97, &id)]);
        assert_eq!((pi.kind, pi.arch.unwrap().cpu), (ClientKind::RaspberryPi, Cpu::Aarch64));
        assert_eq!(client(&[option(60, b"d-i")]).kind, ClientKind::System);
        assert_eq!(client(&[option(93, &[0, 99]), option(60, b"PXEClient:Arch:00007")]).arch, None);
    }

    #[test]
    fn tells_ipxe_by_any_of_its_marks() {
        let raw = client(&[option(77, b"iPXE"), option(175, &FULL)]);
        assert_eq!(raw.kind, ClientKind::Ipxe { capable: true });
        let list = client(&[option(77, &[3, b'a', b'b', b'c', 4, b'i', b'P', b'X', b'E'])]);
        assert_eq!(list.kind, ClientKind::Ipxe { capable: false });
        let flexboot = client(&[option(60, b"PXEClient"), option(175, &[0x13, 1, 1])]);
        assert_eq!(flexboot.kind, ClientKind::Ipxe { capable: false });
        assert!(!client(&[option(77, b"gPXE")]).is_ipxe());
    }
}
