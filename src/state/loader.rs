//! The boot program that firmware gets: rules that a person can read, the first that applies.
//!
//! 1. A machine's own `loader`, the first name that is available and fits the firmware.
//! 2. The same of the boot's `loader`.
//! 3. The first of the usual programs for the firmware that is available.
//! 4. The one for removable media of the boot's own image (`EFI/BOOT/BOOTX64.EFI`): an installer's shim,
//!    which fetches the GRUB beside it.
//!
//! Available are the programs found below the daemon's firmware directories, then those in `EFI/BOOT` of
//! the boot's image. A name fits BIOS firmware unless it ends in `.efi`, and UEFI firmware if it does.

use std::fmt;

use super::Server;
use crate::desired::{Boot, Machine};
use crate::model::{ClientArch, Cpu, Firmware};

/// The usual programs by what they run on, best first. The snp builds of iPXE use the firmware's own
/// network driver, which is the safe default (`ipxe.efi` hangs on several Intel, Broadcom and Realtek
/// cards); shim and then GRUB come last, for hosts that have nothing else.
pub const USUAL: [(Cpu, Firmware, &[&str]); 7] = [
    (Cpu::X86_64, Firmware::Bios, &["undionly.kpxe", "ipxe.pxe"]),
    (Cpu::X86_64, Firmware::Uefi, &["snponly.efi", "ipxe.efi", "shimx64.efi", "grubx64.efi"]),
    (Cpu::Aarch64, Firmware::Uefi, &["snponly-arm64.efi", "ipxe-arm64.efi", "shimaa64.efi", "grubaa64.efi"]),
    (Cpu::I386, Firmware::Uefi, &["snponly-i386.efi", "ipxe-i386.efi", "shimia32.efi", "grubia32.efi"]),
    (Cpu::Arm, Firmware::Uefi, &["snponly-arm32.efi", "ipxe-arm32.efi", "grubarm.efi"]),
    (Cpu::Riscv64, Firmware::Uefi, &["snponly-riscv64.efi", "ipxe-riscv64.efi", "grubriscv64.efi"]),
    (Cpu::Loongarch64, Firmware::Uefi, &["snponly-loong64.efi", "ipxe-loong64.efi"]),
];

/// The folder of boot programs for removable media (UEFI 2.10 section 3.5.1.1).
pub const REMOVABLE: &str = "EFI/BOOT";

/// A program and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub rule: Rule,
    pub place: Place,
}

/// Where a program is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below `loader/`, and anywhere by its name alone.
    Firmware(String),
    /// In the tree of a boot: its whole path.
    Image(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Machine,
    Boot,
    Usual,
    Image,
}

/// The program for an architecture, else what is missing.
pub fn choose(
    arch: Option<ClientArch>,
    server: &Server,
    machine: Option<&Machine>,
    boot: Option<&Boot>,
) -> Result<Chosen, String> {
    let Some(arch) = arch else { return Err("its architecture (option 93) is unknown".into()) };
    let fits = |name: &&str| name.ends_with(".efi") != (arch.firmware == Firmware::Bios);
    let find = |name: &str| place(server, boot, name);
    let own = machine.iter().flat_map(|machine| &machine.loader).map(|name| (Rule::Machine, &**name));
    let of_boot = boot.iter().flat_map(|boot| &boot.loader).map(|name| (Rule::Boot, &**name));
    let usual = usual(arch);
    let names = own.chain(of_boot).filter(|(_, name)| fits(name));
    let names = names.chain(usual.iter().map(|name| (Rule::Usual, *name)));
    let names = names.chain(removable(arch).map(|name| (Rule::Image, name)));
    for (rule, name) in names {
        if let Some(place) = find(name) {
            return Ok(Chosen { rule, place });
        }
    }
    match usual {
        [] => Err(format!("there is no boot program for {arch}")),
        names => Err(format!("no {} for {arch} among the firmware files", names.join(" or "))),
    }
}

fn place(server: &Server, boot: Option<&Boot>, name: &str) -> Option<Place> {
    if server.loaders.contains_key(name) {
        return Some(Place::Firmware(name.to_owned()));
    }
    let path = format!("{REMOVABLE}/{name}");
    let boot = boot.filter(|boot| boot.tree.as_ref().is_some_and(|tree| tree.lookup(&path).is_some()))?;
    Some(Place::Image(format!("{}/{path}", boot.prefix)))
}

fn usual(arch: ClientArch) -> &'static [&'static str] {
    let bios = arch.firmware == Firmware::Bios;
    let fits = |(cpu, firmware, _): &&(Cpu, Firmware, &[&str])| {
        *cpu == arch.cpu && (*firmware == Firmware::Bios) == bios
    };
    USUAL.iter().find(fits).map_or(&[], |(.., names)| names)
}

/// The program's name on removable media.
fn removable(arch: ClientArch) -> Option<&'static str> {
    if arch.firmware == Firmware::Bios {
        return None;
    }
    Some(match arch.cpu {
        Cpu::I386 => "BOOTIA32.efi",
        Cpu::X86_64 => "BOOTX64.efi",
        Cpu::Arm => "BOOTARM.efi",
        Cpu::Aarch64 => "BOOTAA64.efi",
        Cpu::Riscv64 => "BOOTRISCV64.efi",
        Cpu::Loongarch64 => "BOOTLOONGARCH64.efi",
    })
}

impl Place {
    /// The path below the root of what is served.
    pub fn path(&self) -> String {
        match self {
            Place::Firmware(name) => format!("loader/{name}"),
            Place::Image(path) => path.clone(),
        }
    }

    /// The shortest name that TFTP finds it by: old firmware has room for little.
    pub fn name(&self) -> &str {
        match self {
            Place::Firmware(name) | Place::Image(name) => name,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Machine => "the machine's `loader`",
            Rule::Boot => "the boot's `loader`",
            Rule::Usual => "the usual one that was found on the daemon's host",
            Rule::Image => "none was found on the daemon's host: the one of the boot's image",
        })
    }
}
