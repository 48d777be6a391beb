//! What speaks: boot firmware, iPXE, or an operating system.

use super::quirk;
use super::wire::{Request, code, sub_options};
use crate::model::{ClientArch, Cpu, Firmware};

/// Feature numbers of iPXE's option 175 (its src/include/ipxe/features.h).
mod feature {
    pub const HTTP: u8 = 0x13;
    pub const BZIMAGE: u8 = 0x18;
    pub const EFI: u8 = 0x24;
}

/// The sender of a message, as far as it matters for booting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub speaker: Speaker,
    /// `None` when it did not say, or said a type nobody can be served for.
    pub arch: Option<ClientArch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
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
    /// The boot ROM or EEPROM of a Raspberry Pi: has its own names for what it wants.
    RaspberryPi,
    /// An installer or operating system: it wants an address, no boot file.
    System,
}

impl Client {
    pub fn of(request: &Request) -> Client {
        let speaker = match quirk::of(request).speaker {
            Speaker::Ipxe { .. } => Speaker::Ipxe { capable: is_capable(request) },
            speaker => speaker,
        };
        let arch = quirk::architectures(request).find_map(ClientArch::from_code);
        // Option 60 says which way it boots, whatever the architecture type claims.
        let firmware = |arch: ClientArch| match (speaker, arch.firmware) {
            (Speaker::Http, Firmware::Uefi) => Firmware::UefiHttp,
            (Speaker::Http, firmware) => firmware,
            (_, Firmware::UefiHttp) => Firmware::Uefi,
            (_, firmware) => firmware,
        };
        if speaker == Speaker::RaspberryPi {
            return Client {
                speaker,
                arch: Some(ClientArch { cpu: Cpu::Aarch64, firmware: Firmware::Uefi }),
            };
        }
        Client { speaker, arch: arch.map(|arch| ClientArch { firmware: firmware(arch), ..arch }) }
    }

    pub fn is_ipxe(&self) -> bool {
        matches!(self.speaker, Speaker::Ipxe { .. })
    }

    /// Whether it asks for something to boot.
    pub fn boots(&self) -> bool {
        self.speaker != Speaker::System
    }
}

/// Whether this iPXE can be handed a script by URL. One that hides its features (no option
/// 175) counts as unable and gets our own, which does not hide them.
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
        assert_eq!(pxe.speaker, Speaker::Pxe);
        assert_eq!(pxe.arch.unwrap().to_string(), "x86_64 uefi");
        let digits = client(&[option(60, b"PXEClient:Arch:00011:UNDI:003000")]);
        assert_eq!(digits.arch.unwrap().to_string(), "aarch64 uefi");
        let http = client(&[option(60, b"HTTPClient:Arch:00016:UNDI:003000"), option(93, &[0, 7])]);
        assert_eq!((http.speaker, http.arch.unwrap().firmware), (Speaker::Http, Firmware::UefiHttp));
        let uboot = client(&[option(60, b"U-Boot.armv8")]);
        assert_eq!((uboot.speaker, uboot.arch.unwrap().cpu), (Speaker::UBoot, Cpu::Aarch64));
        let uboot = client(&[option(60, b"PXEClient:Arch:00022:UNDI:003000"), option(93, &[0, 22])]);
        assert_eq!((uboot.speaker, uboot.arch.unwrap().cpu), (Speaker::UBoot, Cpu::Aarch64));
        assert_eq!(client(&[option(93, &[0, 14])]).speaker, Speaker::Petitboot);
        let id = [b"\0RPi4".as_slice(), &[7; 12]].concat();
        let pi =
            client(&[option(60, b"PXEClient:Arch:00000:UNDI:002001"), option(93, &[0, 0]), option(97, &id)]);
        assert_eq!((pi.speaker, pi.arch.unwrap().cpu), (Speaker::RaspberryPi, Cpu::Aarch64));
        assert_eq!(client(&[option(60, b"d-i")]).speaker, Speaker::System);
        assert_eq!(client(&[option(93, &[0, 99]), option(60, b"PXEClient:Arch:00007")]).arch, None);
    }

    #[test]
    fn tells_ipxe_by_any_of_its_marks() {
        let raw = client(&[option(77, b"iPXE"), option(175, &FULL)]);
        assert_eq!(raw.speaker, Speaker::Ipxe { capable: true });
        let list = client(&[option(77, &[3, b'a', b'b', b'c', 4, b'i', b'P', b'X', b'E'])]);
        assert_eq!(list.speaker, Speaker::Ipxe { capable: false });
        let flexboot = client(&[option(60, b"PXEClient"), option(175, &[0x13, 1, 1])]);
        assert_eq!(flexboot.speaker, Speaker::Ipxe { capable: false });
        assert!(!client(&[option(77, b"gPXE")]).is_ipxe());
    }
}
