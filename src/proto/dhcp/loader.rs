//! Which boot program firmware is given: rules that a person can read.
//!
//! 1. A machine's own `loader`, then that of its boot: the first name that is at hand and fits
//!    the firmware.
//! 2. The first of the usual programs for the firmware that is at hand.
//!
//! A name fits BIOS firmware unless it ends in `.efi`, and UEFI firmware if it does.

use crate::model::{ClientArch, Cpu, Firmware};
use crate::table::Server;

/// The usual programs by what they run on, best first. The snp builds of iPXE use the
/// firmware's own network driver, which is the safe default (`ipxe.efi` hangs on several Intel,
/// Broadcom and Realtek cards); shim comes last, for where nothing else is at hand.
pub const USUAL: [(Cpu, Firmware, &[&str]); 7] = [
    (Cpu::X86_64, Firmware::Bios, &["undionly.kpxe", "ipxe.pxe"]),
    (Cpu::X86_64, Firmware::Uefi, &["snponly.efi", "ipxe.efi", "shimx64.efi"]),
    (Cpu::Aarch64, Firmware::Uefi, &["snponly-arm64.efi", "ipxe-arm64.efi", "shimaa64.efi"]),
    (Cpu::I386, Firmware::Uefi, &["snponly-i386.efi", "ipxe-i386.efi"]),
    (Cpu::Arm, Firmware::Uefi, &["snponly-arm32.efi", "ipxe-arm32.efi"]),
    (Cpu::Riscv64, Firmware::Uefi, &["snponly-riscv64.efi", "ipxe-riscv64.efi"]),
    (Cpu::Loongarch64, Firmware::Uefi, &["snponly-loong64.efi", "ipxe-loong64.efi"]),
];

/// The program for an architecture, else what is missing. `wanted` are the names that the
/// inventory asks for, best first.
pub fn choose<'a>(
    arch: Option<ClientArch>,
    server: &Server,
    wanted: impl IntoIterator<Item = &'a str>,
) -> Result<String, String> {
    let Some(arch) = arch else { return Err("its architecture (option 93) is not known".into()) };
    let at_hand = |name: &&str| server.loaders.contains_key(*name);
    let fits = |name: &&str| name.ends_with(".efi") != (arch.firmware == Firmware::Bios);
    if let Some(name) = wanted.into_iter().filter(fits).find(at_hand) {
        return Ok(name.to_owned());
    }
    let names = usual(arch);
    match names.iter().find(|name| at_hand(name)) {
        Some(name) => Ok((*name).to_owned()),
        None if names.is_empty() => Err(format!("there is no boot program for {arch}")),
        None => Err(format!("no {} for {arch} among the firmware files", names.join(" or "))),
    }
}

fn usual(arch: ClientArch) -> &'static [&'static str] {
    let bios = arch.firmware == Firmware::Bios;
    let fits = |(cpu, firmware, _): &&(Cpu, Firmware, &[&str])| {
        *cpu == arch.cpu && (*firmware == Firmware::Bios) == bios
    };
    USUAL.iter().find(fits).map_or(&[], |(.., names)| names)
}
