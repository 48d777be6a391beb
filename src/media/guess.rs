//! Which files of an image are its kernels and initrds: a first draft for a person to look at.

use std::collections::BTreeMap;

use super::Index;
use crate::model::Cpu;

/// A kernel and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel<'a> {
    pub kernel: &'a str,
    /// The initrds of the same directory and flavour; mostly one.
    pub initrd: Vec<&'a str>,
    pub cpu: Option<Cpu>,
}

impl Kernel<'_> {
    /// Its folder, without a slash at the end.
    pub fn folder(&self) -> &str {
        self.kernel.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

impl Index {
    /// Every Linux kernel that lies beside an initrd, the likeliest first: what is meant for the network before
    /// what the disc's own loader starts, shallow before deep, text installers before graphical ones.
    pub fn kernels(&self) -> Vec<Kernel<'_>> {
        let mut folders: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for path in self.files.keys() {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            folders.entry(folder).or_default().push((path, name));
        }
        let mut found: Vec<Kernel<'_>> =
            folders.iter().flat_map(|(folder, files)| self.pairs(folder, files)).collect();
        found.sort_by_key(|kernel| {
            let path = kernel.kernel;
            (!path.to_lowercase().starts_with(FOR_NETWORK), path.matches('/').count(), path.len(), path)
        });
        found
    }

    fn pairs<'a>(&'a self, folder: &str, files: &[(&'a str, &'a str)]) -> Vec<Kernel<'a>> {
        let initrds: Vec<(&str, String)> =
            files.iter().filter_map(|(path, name)| Some((*path, initrd_flavour(name)?))).collect();
        if initrds.is_empty() {
            return Vec::new();
        }
        let kernels = files.iter().filter_map(|(path, name)| Some((*path, flavour(name, &KERNELS)?)));
        kernels
            .map(|(kernel, flavour)| {
                let same = initrds.iter().filter(|(_, other)| *other == flavour);
                let mut initrd: Vec<&str> = same.map(|(path, _)| *path).collect();
                if initrd.is_empty() && initrds.len() == 1 {
                    initrd.push(initrds[0].0);
                }
                // Several of one flavour are packings of the same thing: one is enough.
                initrd.truncate(1);
                Kernel { kernel, initrd, cpu: self.cpu(folder) }
            })
            .collect()
    }

    /// From the directory's name, else from the loaders for removable media on the disc.
    fn cpu(&self, folder: &str) -> Option<Cpu> {
        let folder = folder.to_lowercase();
        let named = [
            ("x86_64", Cpu::X86_64),
            ("amd64", Cpu::X86_64),
            (".amd", Cpu::X86_64),
            ("aarch64", Cpu::Aarch64),
            ("arm64", Cpu::Aarch64),
            (".a64", Cpu::Aarch64),
            ("riscv64", Cpu::Riscv64),
            ("loongarch64", Cpu::Loongarch64),
            ("armhf", Cpu::Arm),
            ("i386", Cpu::I386),
            (".386", Cpu::I386),
        ];
        let loaders = [
            ("efi/boot/bootx64.efi", Cpu::X86_64),
            ("efi/boot/bootaa64.efi", Cpu::Aarch64),
            ("efi/boot/bootriscv64.efi", Cpu::Riscv64),
            ("efi/boot/bootloongarch64.efi", Cpu::Loongarch64),
        ];
        let by_name = named.into_iter().find(|(part, _)| folder.contains(part));
        by_name
            .or_else(|| loaders.into_iter().find(|(path, _)| self.lookup(path).is_some()))
            .map(|(_, cpu)| cpu)
    }
}

/// Where Anaconda's media keep a second copy of what `isolinux` has (RHEL 8 and 9, CentOS, Fedora).
const FOR_NETWORK: &str = "images/pxeboot/";
const KERNELS: [&str; 6] = ["vmlinuz", "vmlinux", "bzimage", "linux", "image", "kernel"];
const INITRDS: [&str; 3] = ["initramfs", "initrd", "initrd-netboot"];
/// Initrds with names of their own: Mageia's installer, SystemRescue.
const OTHER_INITRDS: [&str; 2] = ["all.rdz", "sysresccd.img"];

fn initrd_flavour(name: &str) -> Option<String> {
    let own = OTHER_INITRDS.iter().any(|own| own.eq_ignore_ascii_case(name));
    if own { Some(String::new()) } else { flavour(name, &INITRDS) }
}

/// What is left of a name without its kind and packing: `hwe-vmlinuz` and `hwe-initrd.gz` are
/// both of the flavour `hwe`, `vmlinuz-lts` and `initramfs-lts` of `lts`.
fn flavour(name: &str, kinds: &[&str]) -> Option<String> {
    let mut name = name.to_lowercase();
    for packing in [".gz", ".xz", ".lz", ".lz4", ".zst", ".img", ".efi", ".", ".signed"] {
        if let Some(bare) = name.strip_suffix(packing) {
            name = bare.to_owned();
        }
    }
    let kind = kinds.iter().find(|kind| {
        let at = name.find(**kind);
        at.is_some_and(|at| {
            let (before, after) = (&name[..at], &name[at + kind.len()..]);
            let joined = |text: &str| text.is_empty() || text.starts_with(['-', '_', '.']) || text == "26";
            joined(after) && (before.is_empty() || before.ends_with(['-', '_']))
        })
    })?;
    let rest = name.replacen(kind, "", 1);
    // Arch Linux: `initramfs-linux` goes with `vmlinuz-linux`; Proxmox: `linux26` with `initrd`.
    let rest = rest.trim_matches(['-', '_', '.']);
    let rest = if rest == "26" { "" } else { rest };
    // Debian's live media: `initrd.img-6.1.0-25-amd64` goes with `vmlinuz-6.1.0-25-amd64`.
    let rest = rest.strip_prefix("img-").unwrap_or(rest);
    (!rest.contains("xen") && !rest.contains("memtest")).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::media::Entry;
    use crate::model::content::FileId;

    fn kernels(paths: &[&str]) -> Vec<(String, Vec<String>, Option<Cpu>)> {
        let entry = Entry { path: Path::new("/x").into(), id: FileId::default(), extents: [].into() };
        let files = paths.iter().map(|path| ((*path).into(), entry.clone())).collect();
        let index = Index { files, ..Index::default() };
        let owned = |kernel: &Kernel<'_>| {
            let initrd = kernel.initrd.iter().map(|path| (*path).to_owned()).collect();
            (kernel.kernel.to_owned(), initrd, kernel.cpu)
        };
        index.kernels().iter().map(owned).collect()
    }

    fn expect(paths: &[&str], kernel: &str, initrd: &str, cpu: Option<Cpu>) {
        let first = kernels(paths).into_iter().next();
        assert_eq!(first, Some((kernel.into(), vec![initrd.into()], cpu)));
    }

    #[test]
    fn finds_kernels_in_the_layouts_of_installers() {
        let x86 = Some(Cpu::X86_64);
        expect(
            &[
                "install.amd/gtk/initrd.gz",
                "install.amd/gtk/vmlinuz",
                "install.amd/initrd.gz",
                "install.amd/vmlinuz",
            ],
            "install.amd/vmlinuz",
            "install.amd/initrd.gz",
            x86,
        );
        expect(
            &[
                "casper/hwe-initrd",
                "casper/hwe-vmlinuz",
                "casper/initrd",
                "casper/vmlinuz",
                "EFI/boot/bootx64.efi",
            ],
            "casper/vmlinuz",
            "casper/initrd",
            x86,
        );
        expect(
            &["images/pxeboot/initrd.img", "images/pxeboot/vmlinuz", "EFI/BOOT/BOOTAA64.EFI"],
            "images/pxeboot/vmlinuz",
            "images/pxeboot/initrd.img",
            Some(Cpu::Aarch64),
        );
        expect(
            &["boot/x86_64/loader/initrd", "boot/x86_64/loader/linux", "boot/x86_64/loader/memtest"],
            "boot/x86_64/loader/linux",
            "boot/x86_64/loader/initrd",
            x86,
        );
        expect(
            &[".alpine-release", "boot/initramfs-lts", "boot/modloop-lts", "boot/vmlinuz-lts"],
            "boot/vmlinuz-lts",
            "boot/initramfs-lts",
            None,
        );
        expect(
            &["arch/boot/x86_64/initramfs-linux.img", "arch/boot/x86_64/vmlinuz-linux"],
            "arch/boot/x86_64/vmlinuz-linux",
            "arch/boot/x86_64/initramfs-linux.img",
            x86,
        );
        expect(&["boot/initrd.img", "boot/linux26"], "boot/linux26", "boot/initrd.img", None);
        expect(&["boot/Image", "boot/initrd", "boot/grub/grub.cfg"], "boot/Image", "boot/initrd", None);
        expect(
            &[
                "isolinux/vmlinuz",
                "isolinux/initrd.img",
                "images/pxeboot/vmlinuz",
                "images/pxeboot/initrd.img",
            ],
            "images/pxeboot/vmlinuz",
            "images/pxeboot/initrd.img",
            None,
        );
        expect(
            &["isolinux/x86_64/vmlinuz", "isolinux/x86_64/all.rdz"],
            "isolinux/x86_64/vmlinuz",
            "isolinux/x86_64/all.rdz",
            x86,
        );
        expect(
            &[
                "live/vmlinuz-6.1.0-25-amd64",
                "live/initrd.img-6.1.0-25-amd64",
                "live/vmlinuz-6.9-amd64",
                "live/initrd.img-6.9-amd64",
            ],
            "live/vmlinuz-6.9-amd64",
            "live/initrd.img-6.9-amd64",
            None,
        );
        expect(&["INSTALL/INITRD.GZ", "INSTALL/VMLINUZ"], "INSTALL/VMLINUZ", "INSTALL/INITRD.GZ", None);
    }

    #[test]
    fn flavours_keep_kernels_and_initrds_together() {
        let found = kernels(&["casper/hwe-initrd", "casper/hwe-vmlinuz", "casper/initrd", "casper/vmlinuz"]);
        assert_eq!(found[1].0, "casper/hwe-vmlinuz");
        assert_eq!(found[1].1, ["casper/hwe-initrd"]);
        assert_eq!(kernels(&["doc/linux-howto.txt", "boot/vmlinuz", "src/linux.c"]), []);
    }
}
