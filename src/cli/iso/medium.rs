//! Recognises an image by its layout: an installer, or a system that runs from the image and has no answer
//! files.

use crate::media::Index;
use crate::media::distribution::System;
use crate::media::guess::Kernel;
use crate::render::installer::{self, Image};

/// Systems that read no answer files, by the arguments that their own documents ask for.
static OTHERS: [Image; 3] = [DEBIAN_LIVE, ARCH, DRACUT_LIVE];

/// What a system needs whose layout is that of another one, by its name (see `media::distribution`).
static NAMED: [(&str, Image); 11] = [
    ("Fedora CoreOS", COREOS),
    ("Red Hat CoreOS", COREOS),
    ("Flatcar", FLATCAR),
    ("Talos", TALOS),
    ("SystemRescue", SYSTEM_RESCUE),
    ("Linux Mint", CASPER),
    ("elementary OS", CASPER),
    ("Pop!_OS", CASPER),
    ("PureOS", CASPER),
    ("Trisquel", CASPER),
    ("NixOS", NIXOS),
];

const fn image(cmdline: &'static [&'static str], hint: &'static str) -> Image {
    Image { recognises: |_, _| true, cmdline, wants_disc: |_| false, hint }
}

const COREOS: Image = image(
    &[
        "ip=dhcp",
        "rd.neednet=1",
        "ignition.firstboot",
        "ignition.platform.id=metal",
        "ignition.config.url={{ answers_url }}",
        "coreos.live.rootfs_url={{ media_url }}/images/pxeboot/rootfs.img",
    ],
    "this runs from memory; to install, add coreos.inst.install_dev= and coreos.inst.ignition_url=",
);

const FLATCAR: Image = image(&["flatcar.first_boot=1", "ignition.config.url={{ answers_url }}"], "");

const TALOS: Image =
    image(&["talos.platform=metal", "slab_nomerge", "pti=on", "talos.config={{ answers_url }}"], "");

const SYSTEM_RESCUE: Image =
    image(&["ip=dhcp", "archisobasedir=sysresccd", "archiso_http_srv={{ media_url }}/", "checksum"], "");

const CASPER: Image = image(
    &["ip=dhcp", "boot=casper", "cloud-config-url=/dev/null", "---"],
    "this is a live system that reads no answers: casper also needs url=URL-OF-THE-WHOLE-ISO and memory for it",
);

const NIXOS: Image =
    image(&[], "add init=/nix/store/…-nixos-system-…/init as the disc's own boot/grub/grub.cfg has it");

const DRACUT_LIVE: Image = Image {
    recognises: |_, has| has("LiveOS/squashfs.img") && !has("images/install.img"),
    cmdline: &["ip=dhcp", "rd.live.image", "root=live:{{ media_url }}/LiveOS/squashfs.img"],
    wants_disc: |_| false,
    hint: "this is a live system in memory; it needs as much as LiveOS/squashfs.img and 1 GB more",
};

const DEBIAN_LIVE: Image = Image {
    recognises: |folder, _| folder.starts_with("live"),
    cmdline: &["boot=live", "components", "fetch={{ media_url }}/live/filesystem.squashfs"],
    wants_disc: |_| false,
    hint: "",
};

const ARCH: Image = Image {
    recognises: |folder, _| folder.starts_with("arch/"),
    cmdline: &["ip=dhcp", "archisobasedir=arch", "archiso_http_srv={{ media_url }}/", "checksum=y"],
    wants_disc: |_| false,
    hint: "",
};

/// The system that a kernel of an image belongs to. Systems without answer files are tried first: they have
/// names that no other has, while some installers are recognised by less.
pub(super) fn of(index: &Index, kernel: &Kernel<'_>, system: Option<&System>) -> Option<&'static Image> {
    let named = NAMED.iter().find(|(name, _)| system.is_some_and(|system| system.name == *name));
    if let Some((_, image)) = named {
        return Some(image);
    }
    let folder = kernel.folder().to_lowercase();
    let has = |path: &str| index.lookup(path).is_some();
    let installers = installer::all().filter_map(|installer| installer.image.as_ref());
    OTHERS.iter().chain(installers).find(|image| (image.recognises)(&folder, &has))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::media::Entry;
    use crate::model::content::FileId;

    fn word(paths: &[&str]) -> Option<&'static str> {
        let entry = Entry { path: Path::new("/x").into(), id: FileId::default(), extents: [].into() };
        let files = paths.iter().map(|path| ((*path).into(), entry.clone())).collect();
        let index = Index { files, ..Index::default() };
        let kernels = index.kernels();
        of(&index, &kernels[0], None).map(|image| image.cmdline[0])
    }

    #[test]
    fn layouts_tell_what_an_image_is() {
        for (paths, first) in [
            (&["install.amd/initrd.gz", "install.amd/vmlinuz"][..], Some("auto=true")),
            (&["casper/initrd", "casper/vmlinuz"], Some("ip=dhcp")),
            (&["images/pxeboot/initrd.img", "images/pxeboot/vmlinuz"], Some("inst.ks={{ answers_url }}")),
            (&["boot/x86_64/loader/initrd", "boot/x86_64/loader/linux"], Some("install={{ media_url }}")),
            (&["live/initrd.img", "live/vmlinuz"], Some("boot=live")),
            (&["boot/initramfs-lts", "boot/modloop-lts", "boot/vmlinuz-lts"], Some("ip=dhcp")),
            (&["arch/boot/x86_64/initramfs-linux.img", "arch/boot/x86_64/vmlinuz-linux"], Some("ip=dhcp")),
            (&["boot/initrd.img", "boot/linux26"], Some("ro")),
            (&["INSTALL/INITRD.GZ", "INSTALL/VMLINUZ"], None),
        ] {
            assert_eq!(word(paths), first, "{paths:?}");
        }
    }
}
