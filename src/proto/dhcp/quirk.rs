//! Kinds of boot firmware, and what each needs in an answer that no standard requires: one table, one row
//! for each kind, the first row that matches counts. To support another firmware, add a row.
//!
//! Names and numbers are as on the wire: DHCP options by code, architecture types of option 93 by IANA's
//! registry.

use super::client::ClientKind;
use super::wire::{Request, code};

/// One kind of client.
#[derive(Debug)]
pub struct Quirk {
    pub name: &'static str,
    /// How it is recognised: all marks of one of these lists match.
    pub when: &'static [&'static [Mark]],
    /// The kind of sender, which decides the form of the answer.
    pub kind: ClientKind,
    /// Options that a boot answer must have when the daemon gives the address too.
    pub whole: Options,
    /// The same beside another DHCP server.
    pub proxy: Options,
    /// Where it is documented, or who observed it.
    pub source: &'static str,
}

/// Option codes with their values.
pub type Options = &'static [(u8, &'static [u8])];

/// Something that a message contains.
#[derive(Debug)]
pub enum Mark {
    /// What its class (option 60) begins with.
    Class(&'static [u8]),
    /// What its user class (option 77) holds somewhere: it comes raw (iPXE, dhclient) or as the
    /// list of RFC 3004.
    UserClass(&'static [u8]),
    /// One of its architecture types (option 93, else the digits in its class).
    Arch(&'static [u16]),
    /// What its hardware address begins with.
    Vendor(&'static [[u8; 3]]),
    /// What its machine id (option 97) begins with, after the type.
    MachineId(&'static [u8]),
    /// It sends this option.
    Sends(u8),
}

/// Architecture types of BIOS firmware (RFC 4578; 3 to 5 are treated alike).
const BIOS: &[u16] = &[0, 3, 4, 5];
/// Option 43.6 bit 3: boot the named file, no menu, no discovery. With option 60 and without this
/// EDK2 goes to port 4011 instead.
const BOOT_NAMED_FILE: (u8, &[u8]) = (43, &[6, 1, 8, 255]);
const PXE_CLIENT: (u8, &[u8]) = (60, b"PXEClient");
const HTTP_CLIENT: (u8, &[u8]) = (60, b"HTTPClient");
/// iPXE's `no-pxedhcp` (option 175.176): do not wait 3 s for a ProxyDHCP server.
const NO_PROXY_WAIT: (u8, &[u8]) = (175, &[0xb0, 1, 1]);
/// Discovery control, a menu with this one entry, and its prompt.
const RASPBERRY_PI_MENU: (u8, &[u8]) =
    (43, b"\x06\x01\x08\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE\xff");
/// Hardware addresses of Raspberry Pis begin with one of these (IEEE's registry).
pub const RASPBERRY_PI_VENDORS: [[u8; 3]; 6] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
];

pub static QUIRKS: [Quirk; 10] = [
    // Mellanox FlexBoot sends option 175 and no user class; other forks do the opposite. Option 60 does not
    // separate iPXE from a ROM: the first DHCP of a chained iPXE has PXEClient too. After an answer with
    // PXEClient it may ask again on port 4011.
    Quirk {
        name: "ipxe",
        when: &[&[Mark::Sends(175)], &[Mark::UserClass(b"iPXE")]],
        kind: ClientKind::Ipxe { capable: false },
        whole: &[NO_PROXY_WAIT],
        proxy: &[PXE_CLIENT],
        source: "ipxe.org/howto/dhcpd; warewulf3#104 (FlexBoot); ipxe#1527",
    },
    // A network boot of its own kind (BSDP), which an answer for PXE would only confuse.
    Quirk {
        name: "apple-bsdp",
        when: &[&[Mark::Class(b"AAPLBSDPC")]],
        kind: ClientKind::System,
        whole: &[],
        proxy: &[],
        source: "Apple, Boot Server Discovery Protocol",
    },
    // It claims to be a BIOS (0). The machine id identifies it since the EEPROM of March 2020; before, only
    // the card's vendor does. Early ones leave option 60 out of the REQUEST. All want the menu, whose text
    // may be changed in the EEPROM (PXE_OPTION43).
    Quirk {
        name: "raspberry-pi",
        when: &[
            &[Mark::MachineId(b"RPi")],
            &[Mark::Arch(&[41])],
            &[Mark::Vendor(&RASPBERRY_PI_VENDORS), Mark::Arch(&[0])],
        ],
        kind: ClientKind::RaspberryPi,
        whole: &[PXE_CLIENT, RASPBERRY_PI_MENU],
        proxy: &[PXE_CLIENT, RASPBERRY_PI_MENU],
        source: "raspberrypi.com/documentation (network boot); rpi-eeprom#182; firmware#801, #1001",
    },
    // Drops every offer that does not say HTTPClient.
    Quirk {
        name: "uefi-http",
        when: &[&[Mark::Class(b"HTTPClient")]],
        kind: ClientKind::Http,
        whole: &[HTTP_CLIENT],
        proxy: &[HTTP_CLIENT],
        source: "UEFI 2.10 section 24.7.3",
    },
    // OpenPOWER: a Linux that reads PXELINUX configurations.
    Quirk {
        name: "petitboot",
        when: &[&[Mark::Arch(&[14])]],
        kind: ClientKind::Petitboot,
        whole: &[],
        proxy: &[PXE_CLIENT],
        source: "github.com/open-power/petitboot (discover/pxe-handler)",
    },
    // Sends U-Boot or PXEClient; its own architecture types are 21 to 24. With proxy support it reads only
    // next server and file field of a proxy's offer.
    Quirk {
        name: "u-boot",
        when: &[&[Mark::Class(b"U-Boot")], &[Mark::Arch(&[21, 22, 23, 24])]],
        kind: ClientKind::UBoot,
        whole: &[],
        proxy: &[PXE_CLIENT],
        source: "u-boot net/bootp.c; siderolabs/booter#11",
    },
    // Looks for `pxelinux.cfg/` by its own names, as U-Boot does.
    Quirk {
        name: "s390x",
        when: &[&[Mark::Arch(&[31, 32])]],
        kind: ClientKind::UBoot,
        whole: &[],
        proxy: &[PXE_CLIENT],
        source: "IANA processor architecture types; qemu pc-bios/s390-ccw",
    },
    Quirk {
        name: "pxe-bios",
        when: &[&[Mark::Class(b"PXEClient"), Mark::Arch(BIOS)]],
        kind: ClientKind::Pxe,
        whole: &[PXE_CLIENT, BOOT_NAMED_FILE],
        proxy: &[PXE_CLIENT, BOOT_NAMED_FILE],
        source: "PXE 2.1 section 2.2",
    },
    // Takes a proxy's offer without 43 and asks for the file on port 4011; some ignore a proxy's
    // offer with bit 3.
    Quirk {
        name: "pxe-uefi",
        when: &[&[Mark::Class(b"PXEClient")]],
        kind: ClientKind::Pxe,
        whole: &[PXE_CLIENT, BOOT_NAMED_FILE],
        proxy: &[PXE_CLIENT],
        source: "edk2 NetworkPkg/UefiPxeBcDxe; danderson/netboot#43; edk2 bug 2130",
    },
    Quirk {
        name: "system",
        when: &[&[]],
        kind: ClientKind::System,
        whole: &[],
        proxy: &[],
        source: "RFC 2131",
    },
];

/// The kind of client that sent a message.
pub fn of(request: &Request) -> &'static Quirk {
    let last = &QUIRKS[QUIRKS.len() - 1];
    QUIRKS.iter().find(|quirk| quirk.when.iter().any(|marks| all(marks, request))).unwrap_or(last)
}

fn all(marks: &[Mark], request: &Request) -> bool {
    marks.iter().all(|mark| shows(mark, request))
}

fn shows(mark: &Mark, request: &Request) -> bool {
    let value = |code| request.option(code).unwrap_or_default();
    match mark {
        Mark::Class(start) => value(code::CLASS).starts_with(start),
        Mark::UserClass(part) => value(code::USER_CLASS).windows(part.len()).any(|window| window == *part),
        Mark::Arch(codes) => architectures(request).any(|code| codes.contains(&code)),
        Mark::Vendor(vendors) => vendors.iter().any(|vendor| request.mac.octets().starts_with(vendor)),
        Mark::MachineId(start) => request.machine_id().is_some_and(|id| id[1..].starts_with(start)),
        Mark::Sends(code) => request.option(*code).is_some(),
    }
}

/// The architecture types of option 93; without it, those in the class (`PXEClient:Arch:00007:…`,
/// `U-Boot.armv8`).
pub fn architectures(request: &Request) -> impl Iterator<Item = u16> {
    let class = request.option(code::CLASS).unwrap_or_default();
    let in_class = request.option(code::ARCHITECTURE).is_none().then(|| match class {
        b"U-Boot.armv7" => Some(21),
        b"U-Boot.armv8" => Some(22),
        _ => std::str::from_utf8(class)
            .ok()?
            .split(':')
            .skip_while(|part| *part != "Arch")
            .nth(1)?
            .parse()
            .ok(),
    });
    request.architectures().chain(in_class.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_source() {
        let names: std::collections::BTreeSet<&str> = QUIRKS.iter().map(|quirk| quirk.name).collect();
        assert_eq!(names.len(), QUIRKS.len());
        assert!(QUIRKS.iter().all(|quirk| !quirk.source.is_empty() && !quirk.when.is_empty()));
        assert!(QUIRKS.last().unwrap().when[0].is_empty(), "the last row fits everybody");
    }

    #[test]
    fn options_of_pxe_end_as_pxe_wants_it() {
        for (code, value) in QUIRKS.iter().flat_map(|quirk| quirk.whole.iter().chain(quirk.proxy)) {
            assert!(*code != 43 || value.last() == Some(&255), "PXE 2.1: 43 ends in 255");
        }
    }
}
