//! What `voldemort iso inspect` prints is what `check` takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

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

/// One row of `inspect/media.txt`.
struct Medium<'a> {
    volume: &'a str,
    files: Vec<&'a str>,
    system: &'a str,
    boot: &'a str,
}

fn media() -> Vec<Medium<'static>> {
    let rows = include_str!("inspect/media.txt").lines().filter(|line| !line.starts_with('#'));
    let medium = |row: &'static str| {
        let parts: Vec<&str> = row.split(" | ").collect();
        let [volume, files, system, boot] = parts[..] else { panic!("{row}") };
        Medium { volume, files: files.split(' ').collect(), system, boot }
    };
    rows.map(medium).collect()
}

/// An image with the volume name and the files of a published one.
fn press(root: &Path, medium: &Medium<'_>, image: &str) {
    let tree = root.join("tree");
    for file in &medium.files {
        let path = tree.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("the bytes of {file}")).unwrap();
    }
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-R", "-V", medium.volume, "-o", image, "tree"])
        .current_dir(root)
        .output()
        .expect("xorriso is installed by tests/run");
    assert!(made.status.success(), "{}: {}", medium.volume, String::from_utf8_lossy(&made.stderr));
    std::fs::remove_dir_all(tree).unwrap();
}

#[test]
fn published_media_are_recognised() {
    let media = media();
    let names: BTreeSet<&str> = media.iter().map(|medium| medium.system).collect();
    assert!(names.len() >= 40, "{} systems and releases", names.len());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut site = String::new();
    for (number, medium) in media.iter().enumerate() {
        let image = format!("image-{number}.iso");
        press(root, medium, &image);
        let ran = voldemort(root, &["iso", "inspect", &image]);
        assert_eq!(ran.code, 0, "{}: {}", medium.volume, ran.err);
        let system = ran.out.lines().find_map(|line| line.strip_prefix("# system: ")).unwrap_or_default();
        assert_eq!(system.split(" (by ").next(), Some(medium.system), "{}\n{}", medium.volume, ran.out);
        assert_eq!(boot(&ran.out), medium.boot, "{}\n{}", medium.volume, ran.out);
        site += &ran.out;
    }
    std::fs::write(root.join("site.toml"), &site).unwrap();
    let checked = voldemort(root, &["check"]);
    assert_eq!(checked.code, 0, "{}{}\n{site}", checked.out, checked.err);
}

/// What the table offers, as the rows have it.
fn boot(text: &str) -> String {
    let table: toml::Table = text.parse().unwrap();
    let Some(boots) = table.get("boot").and_then(toml::Value::as_table) else { return "none".to_owned() };
    let boot = boots.values().next().unwrap();
    let word = |key: &str| boot.get(key).and_then(toml::Value::as_str).unwrap_or("-");
    format!("{} {} {}", word("arch"), word("kernel"), boot["initrd"][0].as_str().unwrap())
}

#[test]
fn an_image_has_one_source_and_a_voucher() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let digest = "ab".repeat(32);
    for (iso, code, word) in [
        (format!("url = \"https://h/x.iso\", sha256 = \"{digest}\""), 0, "the daemon fetches it"),
        ("url = \"https://h/x.iso\"".to_owned(), 1, "V0013"),
        (format!("file = \"x.iso\", url = \"https://h/x.iso\", sha256 = \"{digest}\""), 1, "V0017"),
        (format!("url = \"ipmi://h/x.iso\", sha256 = \"{digest}\""), 1, "V0016"),
        (format!("url = \"x.iso\", sha256 = \"{digest}\""), 1, "V0016"),
        (format!("sha256 = \"{digest}\""), 1, "V0013"),
    ] {
        let boot = format!("[boot.x]\niso = {{ {iso} }}\nkernel = \"linux\"\n");
        std::fs::write(root.join("a.toml"), &boot).unwrap();
        let checked = voldemort(root, &["check"]);
        assert_eq!(checked.code, code, "{boot}{}", checked.out);
        assert!(checked.out.contains(word), "{boot}{}", checked.out);
    }
}

#[test]
fn an_unpacked_image_is_recognised_by_its_texts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let texts = [
        (
            ".disk/info",
            "Debian GNU/Linux 12.7.0 \"Bookworm\" - Official amd64 NETINST with firmware 20240831-10:38",
            "Debian 12.7.0 amd64",
        ),
        (
            ".treeinfo",
            "[general]\narch = x86_64\nfamily = Rocky Linux\nversion = 9.4\n",
            "Rocky Linux 9.4 x86_64",
        ),
        ("arch/version", "2024.09.01\n", "Arch Linux 2024.09.01"),
        (".disk/info", "\u{1b}[2J\n", ""),
        (".treeinfo", "[general]\narch", ""),
    ];
    for (number, (path, text, expected)) in texts.into_iter().enumerate() {
        let name = format!("unpacked-{number}");
        let file = root.join(&name).join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        let ran = voldemort(root, &["iso", "inspect", &name]);
        let system = ran.out.lines().find_map(|line| line.strip_prefix("# system: ")).unwrap_or_default();
        let by = if expected.is_empty() { String::new() } else { format!("{expected} (by {path})") };
        assert_eq!(system, by, "{}", ran.out);
    }
}
