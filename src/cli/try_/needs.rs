//! What must be installed, and the command that installs what is missing.

use std::path::{Path, PathBuf};

use super::machine::Firmware;

/// A program, or the places where a file may be, and the Debian package that has it.
type Need = (&'static [&'static str], &'static str);

const QEMU: Need = (&["qemu-system-x86_64"], "qemu-system-x86");
/// Debian 12 and 13.
const ROM: Need = (&["/usr/lib/ipxe/qemu/pxe-virtio.rom", "/usr/share/qemu/pxe-virtio.rom"], "ipxe-qemu");
const LOADERS: Need = (&["/usr/lib/ipxe/ipxe.efi", "/usr/lib/voldemort/firmware/ipxe.efi"], "ipxe");
const SHIM: Need =
    (&["/usr/lib/shim/shimx64.efi.signed", "/usr/lib/voldemort/firmware/shimx64.efi.signed"], "shim-signed");
const GRUB: Need = (
    &[
        "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
        "/usr/lib/voldemort/firmware/grubnetx64.efi.signed",
    ],
    "grub-efi-amd64-signed",
);
const UEFI_CODE: Need = (&["/usr/share/OVMF/OVMF_CODE_4M.fd"], "ovmf");

/// Packages that a boot with this firmware lacks.
pub(super) fn missing(firmware: Firmware) -> Vec<&'static str> {
    let needs: &[Need] = match firmware {
        Firmware::Bios => &[QEMU, LOADERS, ROM],
        Firmware::Uefi | Firmware::UefiHttp => &[QEMU, UEFI_CODE, LOADERS],
        Firmware::UefiIpxe => &[QEMU, UEFI_CODE, ROM],
        Firmware::SecureBoot => &[QEMU, UEFI_CODE, SHIM, GRUB],
    };
    needs
        .iter()
        .filter(|(places, _)| !places.iter().any(|what| exists(what)))
        .map(|(_, package)| *package)
        .collect()
}

/// Says what to install.
pub(super) fn advice(packages: &[&str]) -> String {
    format!(
        "not installed: {}\n  apt-get install --no-install-recommends {}",
        packages.join(", "),
        packages.join(" ")
    )
}

fn exists(what: &str) -> bool {
    if what.starts_with('/') { Path::new(what).exists() } else { program(what).is_some() }
}

/// Looks a program up in `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_can_be_pasted() {
        let advice = advice(&["qemu-system-x86", "ovmf"]);
        assert!(advice.ends_with("apt-get install --no-install-recommends qemu-system-x86 ovmf"), "{advice}");
    }

    #[test]
    fn programs_are_looked_up_in_the_path() {
        assert!(exists("sh"));
        assert!(!exists("no-such-program-of-ours"));
        assert!(!exists("/no/such/file"));
    }
}
