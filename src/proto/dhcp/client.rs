//! What speaks: boot firmware, iPXE, or an operating system.

use super::wire::{Request, code, sub_options};
use crate::model::{ClientArch, Cpu, Firmware};

/// Feature numbers of iPXE's option 175 (its src/include/ipxe/features.h).
mod feature {
    pub const HTTP: u8 = 0x13;
    pub const BZIMAGE: u8 = 0x18;
    pub const EFI: u8 = 0x24;
}

/// U-Boot's own architecture types (PXE and HTTP), which are in IANA's registry but not in
/// `ClientArch`.
const UBOOT_ARM32: [u16; 2] = [21, 23];
const UBOOT_ARM64: [u16; 2] = [22, 24];
/// Petitboot on OpenPOWER ("OPAL v3").
const OPAL: u16 = 14;
/// A Raspberry Pi that says so; most say 0, as a BIOS does.
const RASPBERRY_PI: u16 = 41;

/// Hardware addresses of Raspberry Pis begin with one of these.
pub const RASPBERRY_PI_VENDORS: [[u8; 3]; 6] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
];

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
        let class = request.option(code::CLASS).unwrap_or_default();
        let arch = architecture(request, class);
        let speaker = if is_ipxe(request) {
            Speaker::Ipxe { capable: is_capable(request) }
        } else if is_raspberry_pi(request, class) {
            Speaker::RaspberryPi
        } else if request.architectures().any(|code| code == OPAL) {
            Speaker::Petitboot
        } else if is_uboot(request, class) {
            Speaker::UBoot
        } else if class.starts_with(b"HTTPClient") {
            Speaker::Http
        } else if class.starts_with(b"PXEClient") {
            Speaker::Pxe
        } else {
            Speaker::System
        };
        // Option 60 says which way it boots, whatever the architecture type claims.
        let firmware = |arch: ClientArch| match (speaker, arch.firmware) {
            (Speaker::Http, _) => Firmware::UefiHttp,
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

/// The first known type of option 93, else the digits in option 60 (`PXEClient:Arch:00007:…`).
fn architecture(request: &Request, class: &[u8]) -> Option<ClientArch> {
    let uboot = |code| match code {
        code if UBOOT_ARM32.contains(&code) => Some(ClientArch { cpu: Cpu::Arm, firmware: Firmware::Uefi }),
        code if UBOOT_ARM64.contains(&code) => {
            Some(ClientArch { cpu: Cpu::Aarch64, firmware: Firmware::Uefi })
        }
        code => ClientArch::from_code(code),
    };
    if request.option(code::ARCHITECTURE).is_some() {
        return request.architectures().find_map(uboot);
    }
    match class {
        b"U-Boot.armv7" => uboot(UBOOT_ARM32[0]),
        b"U-Boot.armv8" => uboot(UBOOT_ARM64[0]),
        _ => {
            let digits =
                std::str::from_utf8(class).ok()?.split(':').skip_while(|part| *part != "Arch").nth(1)?;
            uboot(digits.parse().ok()?)
        }
    }
}

fn is_uboot(request: &Request, class: &[u8]) -> bool {
    class.starts_with(b"U-Boot")
        || request.architectures().any(|code| UBOOT_ARM32.contains(&code) || UBOOT_ARM64.contains(&code))
}

/// A Pi says that it is a BIOS (architecture 0). Its machine id begins with `RPi` since the EEPROM
/// of 2020; before, only the card's vendor tells. Early ones leave option 60 out of the REQUEST.
fn is_raspberry_pi(request: &Request, class: &[u8]) -> bool {
    let named = request.machine_id().is_some_and(|id| id[1..].starts_with(b"RPi"));
    let [first, second, third, ..] = request.mac.octets();
    let vendor = RASPBERRY_PI_VENDORS.contains(&[first, second, third]);
    let code = request.architectures().next();
    let firmware = class.starts_with(b"PXEClient:Arch:00000") || code == Some(0);
    named || code == Some(RASPBERRY_PI) || vendor && firmware
}

/// Mellanox FlexBoot sends option 175 but no user class; forks do the opposite. The user class
/// comes raw (iPXE, dhclient) or as the list of RFC 3004.
fn is_ipxe(request: &Request) -> bool {
    request.option(code::IPXE).is_some()
        || request.option(code::USER_CLASS).is_some_and(|class| class.windows(4).any(|part| part == b"iPXE"))
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
