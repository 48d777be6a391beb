//! What `voldemort iso inspect` prints is what `check` takes.

use std::fmt::Write as _;

use crate::program::voldemort;

/// Names of images as people have them, of the daemon's own paths, and as nobody should have them.
const NAMES: [&str; 21] = [
    "ubuntu-24.04.1-live-server-amd64.iso",
    "ubuntu-22.04.5-live-server-amd64.iso",
    "debian-12.7.0-amd64-netinst.iso",
    "Rocky-9.4-x86_64-minimal.iso",
    "ipxe.iso",
    "boot.iso",
    "BOOT",
    "EFI.iso",
    "efi.img.iso",
    "answers.iso",
    "hooks.iso",
    "loader.iso",
    "grub.iso",
    "pxelinux.cfg",
    "files.iso",
    "Operating Systems 11 (x64) — Ünïcode.iso",
    "quote\"d'.iso",
    "back\\slash.iso",
    "{{ name }}.iso",
    "---.iso",
    "1.iso",
];

#[test]
fn tables_of_images_pass_check() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut site = String::new();
    for name in NAMES {
        // A folder with what was unpacked counts as an image.
        let image = root.join(name);
        std::fs::create_dir_all(image.join("casper")).unwrap();
        for file in ["casper/vmlinuz", "casper/initrd", "casper/hwe-vmlinuz", "casper/hwe-initrd"] {
            std::fs::write(image.join(file), file).unwrap();
        }
        let ran = voldemort(root, &["iso", "inspect", "--", name]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        // On its own, and beside all the others.
        std::fs::write(root.join("site.toml"), &ran.out).unwrap();
        let checked = voldemort(root, &["check"]);
        assert_eq!(checked.code, 0, "{name}: {}{}\n{}", checked.out, checked.err, ran.out);
        writeln!(site, "{}", ran.out).unwrap();
    }
    // Of these two only one can have the name of the other's boot.
    let site = site.replacen("[boot.boot-image]", "[boot.another]", 1);
    std::fs::write(root.join("site.toml"), &site).unwrap();
    let checked = voldemort(root, &["check"]);
    assert_eq!(checked.code, 0, "{}{}\n{site}", checked.out, checked.err);
}

#[test]
fn what_no_manifest_can_hold_is_a_comment() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, file) in [("none.iso", "README"), ("line\nbreak.iso", "vmlinuz")] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join(file), "x").unwrap();
        std::fs::write(root.join(name).join("initrd"), "x").unwrap();
        let ran = voldemort(root, &["iso", "inspect", "--", name]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.lines().all(|line| line.starts_with('#')), "{}", ran.out);
    }
}
