//! The boot program that firmware gets: rules that a person can read, the first that applies.
//!
//! 1. A machine's own `loader`, the first name that is available and fits the firmware.
//! 2. The same of the boot's `loader`.
//! 3. The program that this machine is known to need, because the one before it did not run there
//!    ([`super::learned`]).
//! 4. The first of the usual programs for the firmware that is available.
//! 5. The one for removable media of the boot's own image (`EFI/BOOT/BOOTX64.EFI`): an installer's shim,
//!    which fetches the GRUB beside it.
//!
//! Where the first of rules 4 and 5 did not run, the signed programs come next, which Secure Boot accepts, and
//! after them the others.
//!
//! Available are the programs found below the daemon's firmware directories, then those in `EFI/BOOT` of
//! the boot's image. A name fits BIOS firmware unless it ends in `.efi`, and UEFI firmware if it does.

use std::fmt;

use super::Server;
use super::learned::Experience;
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

/// What Secure Boot accepts by the keys that machines are sold with, best first: a shim, and the program that it starts.
const SIGNED: [(Cpu, &[(&str, &str)]); 3] = [
    (
        Cpu::X86_64,
        &[
            ("shimx64.efi", "grubx64.efi"),
            ("snponly-shimx64.efi", "snponly.efi"),
            ("ipxe-shimx64.efi", "ipxe.efi"),
        ],
    ),
    (Cpu::Aarch64, &[("shimaa64.efi", "grubaa64.efi")]),
    (Cpu::I386, &[("shimia32.efi", "grubia32.efi")]),
];

/// The folder of boot programs for removable media (UEFI 2.10 section 3.5.1.1).
pub const REMOVABLE: &str = "EFI/BOOT";

/// A program and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub rule: Rule,
    pub place: Place,
    /// Its name, unless a manifest names it: only of the daemon's own choices is anything learned.
    pub own: Option<&'static str>,
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
    Learned,
    Usual,
    Image,
}

/// The program for an architecture, else what is missing.
pub fn choose(
    arch: Option<ClientArch>,
    server: &Server,
    machine: Option<&Machine>,
    boot: Option<&Boot>,
    experience: &Experience,
) -> Result<Chosen, String> {
    let Some(arch) = arch else { return Err("its architecture (option 93) is unknown".into()) };
    let fits = |name: &&str| name.ends_with(".efi") != (arch.firmware == Firmware::Bios);
    let find = |name: &str| place(server, boot, name);
    let own = machine.iter().flat_map(|machine| &machine.loader).map(|name| (Rule::Machine, &**name));
    let of_boot = boot.iter().flat_map(|boot| &boot.loader).map(|name| (Rule::Boot, &**name));
    for (rule, name) in own.chain(of_boot).filter(|(_, name)| fits(name)) {
        if let Some(place) = find(name) {
            return Ok(Chosen { rule, place, own: None });
        }
    }
    let chosen = |(rule, name)| Some(Chosen { rule, place: find(name)?, own: Some(name) });
    let learned = experience.learned.and_then(|name| chosen((Rule::Learned, name)));
    if let Some(chosen) = learned.or_else(|| another(arch, experience, chosen)) {
        return Ok(chosen);
    }
    usual(arch).find_map(chosen).ok_or_else(|| match programs(arch) {
        [] => format!("there is no boot program for {arch}"),
        names => format!("no {} for {arch} among the firmware files", names.join(" or ")),
    })
}

/// The next program after those that did not run; `None` if none failed, or none is left.
fn another(
    arch: ClientArch,
    experience: &Experience,
    chosen: impl Fn((Rule, &'static str)) -> Option<Chosen> + Copy,
) -> Option<Chosen> {
    if experience.failed.is_empty() {
        return None;
    }
    let first = usual(arch).find_map(chosen);
    let signed = SIGNED.iter().filter(|(cpu, _)| *cpu == arch.cpu && arch.firmware != Firmware::Bios);
    let signed = signed.flat_map(|(_, pairs)| *pairs);
    let signed = signed.filter(|(_, second)| chosen((Rule::Usual, second)).is_some());
    let signed = signed.map(|(shim, _)| (Rule::Usual, *shim));
    let image = removable(arch).map(|name| (Rule::Image, name));
    let next = signed.chain(image).chain(usual(arch)).filter_map(chosen);
    first.into_iter().chain(next).find(|one| one.own.is_some_and(|own| !experience.failed.contains(&own)))
}

/// What firmware of this kind is offered, best first, where nothing says otherwise.
fn usual(arch: ClientArch) -> impl Iterator<Item = (Rule, &'static str)> {
    let names = programs(arch).iter().map(|name| (Rule::Usual, *name));
    names.chain(removable(arch).map(|name| (Rule::Image, name)))
}

/// The one of the daemon's own choices that has this name.
pub fn known(name: &str) -> Option<&'static str> {
    let usual = USUAL.iter().flat_map(|(.., names)| *names).copied();
    let signed = SIGNED.iter().flat_map(|(_, pairs)| *pairs).map(|(shim, _)| *shim);
    let removable =
        Cpu::ALL.into_iter().filter_map(|cpu| removable(ClientArch { cpu, firmware: Firmware::Uefi }));
    usual.chain(signed).chain(removable).find(|known| *known == name)
}

fn place(server: &Server, boot: Option<&Boot>, name: &str) -> Option<Place> {
    if server.loaders.contains_key(name) {
        return Some(Place::Firmware(name.to_owned()));
    }
    let path = format!("{REMOVABLE}/{name}");
    let boot = boot.filter(|boot| boot.tree.as_ref().is_some_and(|tree| tree.lookup(&path).is_some()))?;
    Some(Place::Image(format!("{}/{path}", boot.prefix)))
}

fn programs(arch: ClientArch) -> &'static [&'static str] {
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
            Rule::Learned => "learned: the usual one does not run on this machine",
            Rule::Usual => "the usual one that was found on the daemon's host",
            Rule::Image => "none was found on the daemon's host: the one of the boot's image",
        })
    }
}
