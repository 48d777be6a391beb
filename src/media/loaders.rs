//! Network boot programs that the distributions install, under the names they are served by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Entry, directory};

/// A program that clients may ask for.
pub struct Loader {
    pub name: &'static str,
    /// Files it may be, best first, below one of the firmware directories.
    files: &'static [&'static str],
    /// The Debian package that brings it, for help; with its architecture where that is not the host's.
    pub package: &'static str,
}

const fn known(name: &'static str, package: &'static str, files: &'static [&'static str]) -> Loader {
    Loader { name, files, package }
}

/// Signed builds come first: they are what Secure Boot accepts and are the same program
/// otherwise. GRUB's network build looks for its settings over the network, the one for disks on
/// the disk.
pub const KNOWN: [Loader; 22] = [
    known("undionly.kpxe", "ipxe", &["undionly.kpxe"]),
    known("snponly.efi", "ipxe", &["snponly.efi", "x86_64-efi/snponly.efi", "ipxe-snponly-x86_64.efi"]),
    known("ipxe.efi", "ipxe", &["ipxe.efi", "x86_64-efi/ipxe.efi", "ipxe-x86_64.efi"]),
    known("snponly-arm64.efi", "ipxe", &["snponly-arm64.efi", "arm64-efi/snponly.efi"]),
    known("ipxe-arm64.efi", "ipxe", &["ipxe-arm64.efi", "arm64-efi/ipxe.efi"]),
    known("shimx64.efi", "shim-signed", &["shimx64.efi.signed", "shimx64.efi.dualsigned", "shimx64.efi"]),
    // Those of iPXE's own releases (the folder `x86_64-sb`), not of a package: each starts the signed
    // program of its name without `-shimx64`.
    known("snponly-shimx64.efi", "ipxe", &["snponly-shimx64.efi"]),
    known("ipxe-shimx64.efi", "ipxe", &["ipxe-shimx64.efi"]),
    known("mmx64.efi", "shim-helpers-amd64-signed", &["mmx64.efi.signed", "mmx64.efi"]),
    known("fbx64.efi", "shim-helpers-amd64-signed", &["fbx64.efi.signed", "fbx64.efi"]),
    known(
        "grubx64.efi",
        "grub-efi-amd64-signed",
        &[
            "x86_64-efi-signed/grubnetx64.efi.signed",
            "grubnetx64.efi.signed",
            "grubnetx64.efi",
            "grubx64.efi",
            "x86_64-efi-signed/grubx64.efi.signed",
            "grubx64.efi.signed",
            "x86_64-efi/monolithic/grubnetx64.efi",
        ],
    ),
    known("shimaa64.efi", "shim-signed:arm64", &["shimaa64.efi.signed", "shimaa64.efi"]),
    known("mmaa64.efi", "shim-helpers-arm64-signed:arm64", &["mmaa64.efi.signed", "mmaa64.efi"]),
    known("fbaa64.efi", "shim-helpers-arm64-signed:arm64", &["fbaa64.efi.signed", "fbaa64.efi"]),
    known(
        "grubaa64.efi",
        "grub-efi-arm64-signed:arm64",
        &[
            "arm64-efi-signed/grubnetaa64.efi.signed",
            "grubnetaa64.efi.signed",
            "grubaa64.efi",
            "arm64-efi/monolithic/grubnetaa64.efi",
        ],
    ),
    known("shimia32.efi", "shim-signed:i386", &["shimia32.efi.signed", "shimia32.efi"]),
    known(
        "grubia32.efi",
        "grub-efi-ia32-bin",
        &["grubnetia32.efi", "grubia32.efi", "i386-efi/monolithic/grubnetia32.efi"],
    ),
    known(
        "grubarm.efi",
        "grub-efi-arm-bin:armhf",
        &["grubnetarm.efi", "grubarm.efi", "arm-efi/monolithic/grubnetarm.efi"],
    ),
    known(
        "grubriscv64.efi",
        "grub-efi-riscv64-bin:riscv64",
        &["grubnetriscv64.efi", "grubriscv64.efi", "riscv64-efi/monolithic/grubnetriscv64.efi"],
    ),
    known("pxelinux.0", "pxelinux", &["pxelinux.0"]),
    known("lpxelinux.0", "pxelinux", &["lpxelinux.0"]),
    known("ldlinux.c32", "syslinux-common", &["ldlinux.c32", "modules/bios/ldlinux.c32"]),
];

/// Where syslinux keeps its modules, below a firmware directory.
const MODULES: [&str; 3] = ["", "modules/bios", "bios"];
/// The extension of such a module: only the menu knows which ones it needs.
const MODULE: &str = ".c32";
/// How the names of boot programs end. Any that lies in a firmware directory itself may be the one
/// that `loader` of a machine or boot names.
const PROGRAMS: [&str; 5] = [".efi", ".kpxe", ".kkpxe", ".pxe", ".0"];
/// No boot program is larger; a directory of something else is not served by accident.
const LARGEST: u64 = 64 << 20;

/// Every known boot program below `paths`, by the name it is served under. The better file wins
/// over the earlier directory; among equals the earlier directory wins.
pub fn find(paths: &[PathBuf]) -> BTreeMap<Box<str>, Entry> {
    let mut found: BTreeMap<Box<str>, Entry> = BTreeMap::new();
    for known in &KNOWN {
        let files = known.files.iter().flat_map(|file| paths.iter().map(move |path| path.join(file)));
        if let Some(entry) = files.into_iter().find_map(|path| program(&path)) {
            found.insert(known.name.into(), entry);
        }
    }
    for folder in paths.iter().flat_map(|path| MODULES.iter().map(move |below| path.join(below))) {
        for (name, entry) in programs(&folder, &[MODULE]) {
            found.entry(name).or_insert(entry);
        }
    }
    for (name, entry) in paths.iter().flat_map(|path| programs(path, &PROGRAMS)) {
        found.entry(name).or_insert(entry);
    }
    found
}

/// Machines, and what they need: all programs of one of the sets, the first of which Debian has packages for.
type Need = (&'static str, &'static [&'static [&'static str]]);

const NEEDS: [Need; 9] = [
    ("x86_64 BIOS", &[&["undionly.kpxe"]]),
    ("x86_64 BIOS by PXELINUX", &[&["pxelinux.0", "ldlinux.c32"]]),
    ("x86_64 UEFI", &[&["snponly.efi", "ipxe.efi"]]),
    (
        "x86_64 UEFI with Secure Boot",
        &[&["shimx64.efi", "grubx64.efi"], &["snponly-shimx64.efi", "snponly.efi"]],
    ),
    ("aarch64 UEFI", &[&["grubaa64.efi"], &["snponly-arm64.efi"], &["ipxe-arm64.efi"]]),
    ("aarch64 UEFI with Secure Boot", &[&["shimaa64.efi", "grubaa64.efi"]]),
    ("i386 UEFI", &[&["grubia32.efi"], &["snponly-i386.efi"], &["ipxe-i386.efi"]]),
    ("arm UEFI", &[&["grubarm.efi"], &["snponly-arm32.efi"], &["ipxe-arm32.efi"]]),
    ("riscv64 UEFI", &[&["grubriscv64.efi"], &["snponly-riscv64.efi"], &["ipxe-riscv64.efi"]]),
];

/// Machines that have no boot program on this host.
pub struct Lacking {
    /// As in `aarch64 UEFI`.
    pub machines: &'static str,
    /// What would serve them.
    pub programs: Vec<&'static Loader>,
}

impl Lacking {
    /// Whether most sites have such machines.
    pub fn is_usual(&self) -> bool {
        self.machines.starts_with("x86_64")
    }
}

/// The machines that `found` has nothing for, by architecture and firmware, and the programs that they need.
pub fn missing(found: &BTreeMap<Box<str>, Entry>) -> Vec<Lacking> {
    let lacking = |(machines, sets): &Need| {
        let is_there = |name: &&&str| found.contains_key(**name);
        let is_whole = |set: &&&[&str]| set.iter().all(|name| is_there(&name));
        if sets.iter().any(|set| is_whole(&set)) {
            return None;
        }
        let names = sets.first()?.iter().filter(|name| !is_there(name));
        let programs = names.filter_map(|name| KNOWN.iter().find(|known| known.name == *name)).collect();
        Some(Lacking { machines, programs })
    };
    NEEDS.iter().filter_map(lacking).collect()
}

/// The version that the program at `path` contains: shim and GRUB in their SBAT table, iPXE and PXELINUX in
/// a text; none for packed builds.
pub fn version(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() as u64 <= LARGEST)?;
    let text = String::from_utf8_lossy(&bytes);
    sbat(&text).or_else(|| shim(&text)).or_else(|| pxelinux(&text)).or_else(|| ipxe(&text))
}

fn program(path: &Path) -> Option<Entry> {
    directory::file(path).ok().filter(|entry| !entry.is_empty() && entry.len() <= LARGEST)
}

/// The files in a directory whose names end in one of these.
fn programs(folder: &Path, ends: &[&str]) -> BTreeMap<Box<str>, Entry> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let one = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let entry = ends.iter().any(|end| name.ends_with(end)).then(|| program(&folder.join(&name)))??;
        Some((name.into(), entry))
    };
    entries.filter_map(one).collect()
}

/// The distribution's line, `shim.debian,1,Debian,shim,16.1,https://…`: the fifth field.
fn sbat(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("shim.") || line.starts_with("grub."))?;
    let fields: Vec<&str> = line.split(',').collect();
    fields.get(4).filter(|_| fields.len() >= 6).map(|version| (*version).to_owned())
}

/// shim itself carries others' SBAT levels and its own version as `$Version: 16.1 $`.
fn shim(text: &str) -> Option<String> {
    word(text.split_once("$Version: ")?.1)
}

fn pxelinux(text: &str) -> Option<String> {
    word(text.split_once("PXELINUX ")?.1)
}

/// iPXE's version stands alone, as in `1.21.1+git-20220113.fbbdc3926`.
fn ipxe(text: &str) -> Option<String> {
    let is_version = |part: &&str| {
        let numbers: Vec<&str> = part.split('+').next().unwrap_or("").split('.').collect();
        let is_number =
            |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        numbers.len() == 3 && numbers.iter().all(is_number) && part.contains("+")
    };
    text.contains("iPXE").then(|| text.split('\0').find(is_version).and_then(word))?
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_ascii_graphic()).take(60).collect();
    word.starts_with(|c: char| c.is_ascii_digit()).then_some(word)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    #[test]
    fn the_best_file_is_served_under_the_plain_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(
            &one,
            &[
                "shimx64.efi",
                "undionly.kpxe",
                "x86_64-efi-signed/grubx64.efi.signed",
                "modules/bios/menu.c32",
                "modules/bios/x.txt",
                "realtek.efi",
                "i386-efi/monolithic/grubnetia32.efi",
                "BOOTX64.CSV",
            ],
        );
        write(
            &two,
            &[
                "shimx64.efi.signed",
                "undionly.kpxe",
                "x86_64-efi-signed/grubnetx64.efi.signed",
                "ldlinux.c32",
            ],
        );
        let found = find(&[one.clone(), two.clone(), folder.path().join("none")]);
        let path = |name: &str| found[name].path.to_path_buf();
        assert_eq!(path("shimx64.efi"), two.join("shimx64.efi.signed"), "signed before unsigned");
        assert_eq!(path("undionly.kpxe"), one.join("undionly.kpxe"), "the first directory among equals");
        assert_eq!(path("grubia32.efi"), one.join("i386-efi/monolithic/grubnetia32.efi"));
        assert_eq!(path("grubx64.efi"), two.join("x86_64-efi-signed/grubnetx64.efi.signed"));
        let names: Vec<&str> = found.keys().map(|name| &**name).collect();
        assert_eq!(
            names,
            [
                "grubia32.efi",
                "grubx64.efi",
                "ldlinux.c32",
                "menu.c32",
                "realtek.efi",
                "shimx64.efi",
                "undionly.kpxe"
            ]
        );
        let lacking = missing(&found);
        let lacking: Vec<(&str, Vec<(&str, &str)>)> = lacking
            .iter()
            .map(|one| (one.machines, one.programs.iter().map(|known| (known.name, known.package)).collect()))
            .collect();
        let expected = [
            ("x86_64 BIOS by PXELINUX", vec![("pxelinux.0", "pxelinux")]),
            ("x86_64 UEFI", vec![("snponly.efi", "ipxe"), ("ipxe.efi", "ipxe")]),
            ("aarch64 UEFI", vec![("grubaa64.efi", "grub-efi-arm64-signed:arm64")]),
            (
                "aarch64 UEFI with Secure Boot",
                vec![("shimaa64.efi", "shim-signed:arm64"), ("grubaa64.efi", "grub-efi-arm64-signed:arm64")],
            ),
            ("arm UEFI", vec![("grubarm.efi", "grub-efi-arm-bin:armhf")]),
            ("riscv64 UEFI", vec![("grubriscv64.efi", "grub-efi-riscv64-bin:riscv64")]),
        ];
        assert_eq!(lacking, expected);
        // Every program that is named can be installed.
        let all = missing(&BTreeMap::new());
        let named: usize = NEEDS.iter().map(|(_, sets)| sets[0].len()).sum();
        assert_eq!(all.iter().map(|one| one.programs.len()).sum::<usize>(), named);
    }

    #[test]
    fn versions_are_read_where_they_are_written() {
        let table = "x\nsbat,1,SBAT\nshim.debian,1,Debian,shim,16.1,https://x\n";
        assert_eq!(sbat(table).unwrap(), "16.1");
        assert_eq!(sbat("shim.debian,1").as_deref(), None);
        assert_eq!(shim("UEFI SHIM\n$Version: 15.8 $\n").unwrap(), "15.8");
        assert_eq!(pxelinux("..PXELINUX 6.04 PXE 2020").unwrap(), "6.04");
        let built = "iPXE\0junk\x001.21.1+git-2022.fbbdc39-5\0more";
        assert_eq!(ipxe(built).unwrap(), "1.21.1+git-2022.fbbdc39-5");
        assert_eq!(ipxe("iPXE\x00127.0.0.1\0"), None);
    }
}
