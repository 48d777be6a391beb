//! One boot program, as it lies on this host.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::package::Packages;
use crate::media::{Entry, loaders};
use crate::model::{Cpu, Firmware, hex};
use crate::state::loader::USUAL;

/// Larger files are no boot programs, and are not read.
const LARGEST: u64 = 64 << 20;

/// What `firmware ls -o json` has for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct Program {
    /// As machines ask for it.
    pub name: String,
    /// Processor and firmware.
    pub machines: String,
    /// As the program itself says; packed ones do not.
    pub version: Option<String>,
    /// Whether a signature for Secure Boot is in it; `null` for programs of BIOS machines. Whose signature it is, and
    /// whether the firmware trusts it, is not looked at.
    pub is_signed: Option<bool>,
    /// RFC 3339, of the file: when it was built, as packages have it.
    pub dated: String,
    /// Name and version of the Debian package that it came with.
    pub package: Option<String>,
    pub path: String,
    pub bytes: u64,
    pub sha256: Option<String>,
}

impl Program {
    pub(super) fn look(name: &str, entry: &Entry, packages: &Packages) -> Program {
        let path: &Path = &entry.path;
        let bytes = content(path);
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
        let dated = modified.and_then(|time| jiff::Timestamp::try_from(time).ok());
        Program {
            name: name.to_owned(),
            machines: machines(name),
            version: loaders::version(path),
            is_signed: bytes.as_deref().filter(|_| name.ends_with(".efi")).and_then(is_signed),
            dated: dated.map(|time| time.to_string()).unwrap_or_default(),
            package: packages.of(path),
            path: path.display().to_string(),
            bytes: entry.len(),
            sha256: bytes.map(|bytes| hex(&Sha256::digest(&bytes))),
        }
    }
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LARGEST).then_some(bytes)
}

/// Which machines a program of this name is for.
fn machines(name: &str) -> String {
    let usual =
        USUAL.iter().find(|(.., names)| names.contains(&name)).map(|(cpu, firmware, _)| (*cpu, *firmware));
    let (cpu, firmware) = match usual {
        Some(usual) => usual,
        None if !name.ends_with(".efi") => (Cpu::X86_64, Firmware::Bios),
        None => {
            let parts = [
                ("x64", Cpu::X86_64),
                ("aa64", Cpu::Aarch64),
                ("arm64", Cpu::Aarch64),
                ("ia32", Cpu::I386),
                ("riscv64", Cpu::Riscv64),
                ("loong64", Cpu::Loongarch64),
                ("arm", Cpu::Arm),
            ];
            let cpu = parts.iter().find(|(part, _)| name.contains(part)).map(|(_, cpu)| *cpu);
            let Some(cpu) = cpu else { return "UEFI".to_owned() };
            (cpu, Firmware::Uefi)
        }
    };
    format!("{cpu} {}", named(firmware))
}

fn named(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "BIOS",
        Firmware::Uefi | Firmware::UefiHttp => "UEFI",
    }
}

/// The commonest kinds of machines that have no program, with what to install.
pub(in crate::cli) fn kinds_without(programs: &[Program]) -> Vec<(String, String)> {
    let has = |name: &str| programs.iter().any(|program| program.name == name);
    let common = USUAL.iter().filter(|(cpu, ..)| matches!(cpu, Cpu::X86_64 | Cpu::Aarch64));
    let mut missing: Vec<(String, String)> = common
        .filter(|(.., names)| !names.iter().any(|name| has(name)))
        .map(|(cpu, firmware, _)| {
            (format!("{cpu} {}", named(*firmware)), "install voldemort-firmware, or the package ipxe".into())
        })
        .collect();
    let chains = [("x86_64", "shimx64.efi", "grubx64.efi"), ("aarch64", "shimaa64.efi", "grubaa64.efi")];
    for (cpu, shim, grub) in chains.iter().filter(|(_, shim, grub)| !(has(shim) && has(grub))) {
        missing.push((
            format!("{cpu} UEFI with Secure Boot"),
            format!("install voldemort-firmware, or the packages with {shim} and {grub} (shim-signed, grub-efi-…-signed)"),
        ));
    }
    missing
}

/// Whether a PE file has a table of certificates (Microsoft PE Format, "Optional Header Data Directories"); `None` if it
/// is no such file.
fn is_signed(bytes: &[u8]) -> Option<bool> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let header = word(0x3c)? as usize;
    if bytes.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let optional = header.checked_add(24)?;
    // PE32+ has a longer part before the directories, of which each has 8 bytes; that of certificates is the fifth.
    let directories = match word(optional)? & 0xffff {
        0x20b => 112,
        0x10b => 96,
        _ => return None,
    };
    Some(word(optional.checked_add(directories + 4 * 8 + 4)?)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_for_whom_a_program_is() {
        for (name, expected) in [
            ("undionly.kpxe", "x86_64 BIOS"),
            ("ldlinux.c32", "x86_64 BIOS"),
            ("snponly.efi", "x86_64 UEFI"),
            ("mmaa64.efi", "aarch64 UEFI"),
            ("ipxe-arm64.efi", "aarch64 UEFI"),
            ("fbx64.efi", "x86_64 UEFI"),
            ("grubia32.efi", "i386 UEFI"),
            ("realtek.efi", "UEFI"),
        ] {
            assert_eq!(machines(name), expected, "{name}");
        }
    }

    #[test]
    fn a_signature_is_seen_and_cut_files_are_not_taken_for_any() {
        let mut file = vec![0; 400];
        file[0x3c] = 0x40;
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        file[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
        assert_eq!(is_signed(&file), Some(false));
        file[0x58 + 112 + 36] = 1;
        assert_eq!(is_signed(&file), Some(true));
        for length in 0..0xf0 {
            assert_eq!(is_signed(&file[..length]), None, "{length}");
        }
        file[0x3c..0x40].copy_from_slice(&[0xff; 4]);
        assert_eq!(is_signed(&file), None);
    }

    #[test]
    fn kinds_of_machines_without_a_program_are_named() {
        let program = |name: &str| Program {
            name: name.into(),
            machines: String::new(),
            version: None,
            is_signed: None,
            dated: String::new(),
            package: None,
            path: String::new(),
            bytes: 1,
            sha256: None,
        };
        let all = [
            "undionly.kpxe",
            "snponly.efi",
            "ipxe-arm64.efi",
            "shimx64.efi",
            "grubx64.efi",
            "shimaa64.efi",
            "grubaa64.efi",
        ];
        let programs: Vec<Program> = all.iter().map(|name| program(name)).collect();
        assert_eq!(kinds_without(&programs), []);
        let kinds: Vec<String> = kinds_without(&programs[..2]).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["aarch64 UEFI", "x86_64 UEFI with Secure Boot", "aarch64 UEFI with Secure Boot"]);
    }
}
