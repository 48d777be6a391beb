//! Packages made by hand, whole, foreign, cut and bent.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::media::directory;

/// An ELF file with this machine and a section `.modinfo`.
fn module(machine: u16, info: &[&str]) -> Vec<u8> {
    let names = b"\0.shstrtab\0.modinfo\0";
    let info: Vec<u8> = info.iter().flat_map(|entry| [entry.as_bytes(), &[0]].concat()).collect();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18..20].copy_from_slice(&machine.to_le_bytes());
    elf[58..60].copy_from_slice(&64_u16.to_le_bytes());
    elf[60..62].copy_from_slice(&3_u16.to_le_bytes());
    elf[62..64].copy_from_slice(&1_u16.to_le_bytes());
    let (at_names, at_info) = (64, 64 + names.len());
    elf.extend(names);
    elf.extend(&info);
    let headers = elf.len() as u64;
    elf[40..48].copy_from_slice(&headers.to_le_bytes());
    elf.resize(elf.len() + 64, 0);
    for (name, at, length) in [(1_u32, at_names, names.len()), (11, at_info, info.len())] {
        let start = elf.len();
        elf.resize(start + 64, 0);
        elf[start..start + 4].copy_from_slice(&name.to_le_bytes());
        elf[start + 24..start + 32].copy_from_slice(&(at as u64).to_le_bytes());
        elf[start + 32..start + 40].copy_from_slice(&(length as u64).to_le_bytes());
    }
    elf
}

/// An ELF program with one program header of this type.
fn program(machine: u16, header: u32) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64 + 56, 0);
    elf[18..20].copy_from_slice(&machine.to_le_bytes());
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
    elf[56..58].copy_from_slice(&1_u16.to_le_bytes());
    elf[64..68].copy_from_slice(&header.to_le_bytes());
    elf
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut entry = |name: &str, kind: u8, bytes: &[u8]| {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    for (name, bytes) in files {
        if name.len() > 90 {
            entry("././@LongLink", b'L', &[name.as_bytes(), &[0]].concat());
            entry(&name[..90], b'0', bytes);
        } else {
            entry(name, b'0', bytes);
        }
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn deb(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut deb = b"!<arch>\n".to_vec();
    let data = gzip(&tar(files));
    for (name, bytes) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", b"odd"), ("data.tar.gz", &data)]
    {
        deb.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).as_bytes(),
        );
        deb.extend(bytes);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    deb
}

fn rpm(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut rpm = vec![0xed, 0xab, 0xee, 0xdb];
    rpm.resize(96, 0);
    let header = |store: usize| {
        let mut header = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        header.extend((store as u32).to_be_bytes());
        header.resize(header.len() + 16 + store, 7);
        header
    };
    rpm.extend(header(13));
    rpm.resize(rpm.len() + 3, 0);
    rpm.extend(header(5));
    let mut archive = cpio::Writer::new(Vec::new());
    for (name, bytes) in files {
        archive.file(name, 0o644, bytes).unwrap();
    }
    rpm.extend(gzip(&archive.end().unwrap()));
    rpm
}

const X86: u16 = 62;
const VERMAGIC: &str = "vermagic=6.1.0-50-amd64 SMP preempt mod_unload modversions ";

fn kernel() -> Vec<u8> {
    b"\0\0Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org)\0".to_vec()
}

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let house = House { folder: tempfile::tempdir().unwrap() };
        house.write("linux", &kernel());
        house.write("agent", &program(X86, 1));
        house
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn entry(&self, name: &str) -> (Arc<str>, Entry) {
        (name.into(), directory::file(&self.folder.path().join(name)).unwrap())
    }

    fn parts(&self, modules: &[&str]) -> Parts {
        let modules = modules.iter().map(|name| self.entry(name)).collect();
        Parts { boot: "debian".into(), cpu: Cpu::X86_64, kernel: self.entry("linux"), modules }
    }

    fn programs(&self) -> Programs {
        Programs { named: [(Cpu::X86_64, self.folder.path().join("agent"))].into() }
    }

    fn made(&self, stock: &Stock, modules: &[&str]) -> Result<Entry, MediaError> {
        stock.get(&self.parts(modules), &self.programs(), &|| true)
    }

    fn refused(&self, modules: &[&str]) -> String {
        self.made(&Stock::default(), modules).unwrap_err().to_string()
    }
}

/// The files of an initrd.
fn unpacked(entry: &Entry) -> Vec<(String, Vec<u8>)> {
    let mut plain = unpack::unpacked(Stretch::open(entry).unwrap()).unwrap();
    let mut files = Vec::new();
    let mut note = |name: &str, size: u64, body: &mut dyn Read, limits: &mut Limits| {
        files.push((name.to_owned(), limits.exactly(body, size, 1 << 20)?));
        Ok(true)
    };
    cpio::read(&mut plain, &mut Limits::new(), &mut note).unwrap();
    files
}

#[test]
fn an_initrd_holds_the_program_the_modules_and_their_index() {
    let house = House::new();
    let tg3 = module(X86, &["name=tg3", "depends=libphy", "alias=pci:v000014E4d00001644*", VERMAGIC]);
    let libphy = module(X86, &["depends=", VERMAGIC]);
    let wifi = module(X86, &["name=iwlwifi", "depends=absent", VERMAGIC]);
    let long =
        format!("./usr/lib/modules/6.1.0-50-amd64/kernel/drivers/net/ethernet/{}/tg3.ko", "x".repeat(99));
    let below = "lib/modules/6.1.0-50-amd64/kernel/drivers/net";
    house.write(
        "tg3.deb",
        &deb(&[(&long, &tg3), (&format!("./{below}/wireless/iwlwifi.ko"), &wifi), ("./etc/x", b"x")]),
    );
    house.write("phy.rpm", &rpm(&[(&format!("./{below}/phy/libphy.ko.gz"), &gzip(&libphy))]));
    let stock = Stock::default();
    let made = house.made(&stock, &["tg3.deb", "phy.rpm"]).unwrap();
    let files = unpacked(&made);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (tg3_at, libphy_at) = (&long["./usr/".len()..], format!("{below}/phy/libphy.ko"));
    assert_eq!(names, ["init", "lib/modules/index", tg3_at, &libphy_at]);
    assert_eq!((&files[0].1, &files[2].1, &files[3].1), (&program(X86, 1), &tg3, &libphy));
    let index = format!(
        "libphy\t{}\t\t\ntg3\t{}\tlibphy\tpci:v000014E4d00001644*\n",
        &libphy_at["lib/modules/".len()..],
        &tg3_at["lib/modules/".len()..]
    );
    assert_eq!(String::from_utf8_lossy(&files[1].1), index);
    // The same again is the same file; made anew it has the same bytes.
    assert_eq!(house.made(&stock, &["tg3.deb", "phy.rpm"]).unwrap().path, made.path);
    assert_eq!(house.made(&Stock::default(), &["tg3.deb", "phy.rpm"]).map(|made| made.id), Ok(made.id));
    // Another program makes another one; the first stays while it is in use.
    house.write("agent", &[program(X86, 1), vec![0]].concat());
    assert_ne!(house.made(&stock, &["tg3.deb", "phy.rpm"]).unwrap().path, made.path);
    assert_eq!(unpacked(&made).len(), 4);
}

#[test]
fn the_modules_of_another_initrd_do_too() {
    let house = House::new();
    let cpio = |name: &str, bytes: &[u8]| {
        let mut archive = cpio::Writer::new(Vec::new());
        archive.file(name, 0o644, bytes).unwrap();
        archive.end().unwrap()
    };
    let e1000 = module(X86, &["name=e1000", VERMAGIC]);
    let own = cpio("lib/modules/6.1.0-50-amd64/kernel/drivers/net/ethernet/intel/e1000/e1000.ko", &e1000);
    let microcode = cpio("kernel/x86/microcode/AuthenticAMD.bin", b"microcode");
    let zeros = [0; 512];
    let more = cpio("etc/x", b"x");
    house.write("early.img", &[&microcode[..], &zeros, &gzip(&[&more[..], &zeros, &own].concat())].concat());
    let stock = Stock::default();
    let made = house.made(&stock, &["early.img"]).unwrap();
    assert!(unpacked(&made).iter().any(|(_, bytes)| *bytes == e1000));
    house.write("lz4.img", &[&microcode[..], &[0x02, 0x21, 0x4c, 0x18, 0, 0]].concat());
    assert!(house.refused(&["lz4.img"]).ends_with("gzip, xz and zstd are"));
    house.write("none.img", &gzip(&more));
    assert!(house.refused(&["none.img"]).ends_with("it holds no modules of a kernel"));
    house.write("many.img", &more.repeat(17));
    assert!(house.refused(&["many.img"]).ends_with("more than 16 archives"));
}

#[test]
fn what_does_not_fit_together_is_named() {
    let house = House::new();
    let at = |name: &str| format!("./lib/modules/x/kernel/drivers/md/{name}.ko");
    let package = |name: &str, info: &[&str]| house.write(name, &deb(&[(&at("md_mod"), &module(X86, info))]));
    package("other.deb", &["vermagic=6.1.0-57-amd64 SMP"]);
    package("fine.deb", &[VERMAGIC]);
    package("needy.deb", &["depends=dm-mod", VERMAGIC]);
    package("mute.deb", &["depends="]);
    house.write("arm.udeb", &deb(&[(&at("md_mod"), &module(183, &[VERMAGIC]))]));
    house.write("none.deb", &deb(&[("./usr/bin/x", b"x")]));
    house.write("odd.deb", &deb(&[(&at("md_mod"), b"text")]));
    house.write("out.deb", &deb(&[("./lib/modules/../../etc/x.ko", b"x")]));
    house.write("no.txt", b"a text that is no package");
    let expected = [
        ("other.deb", "its modules are for 6.1.0-57-amd64, and linux is 6.1.0-50-amd64"),
        ("needy.deb", "its module md_mod needs dm_mod, which none of the packages holds"),
        (
            "mute.deb",
            "its module x/kernel/drivers/md/md_mod.ko can't be used: it does not say which kernel it is for",
        ),
        ("arm.udeb", "its modules are for aarch64, and the boot is for x86_64"),
        ("none.deb", "it holds no modules of a kernel"),
        ("odd.deb", "its module x/kernel/drivers/md/md_mod.ko can't be used: it is no ELF file of 64 bits"),
        ("out.deb", "a path in it leads elsewhere: ./lib/modules/../../etc/x.ko"),
        ("no.txt", "it is no package with modules: a .deb, .udeb or .rpm is expected, or an initrd"),
    ];
    for (name, why) in expected {
        let found = house.refused(&["fine.deb", name]);
        assert!(found.starts_with(name) && found.ends_with(why), "{found}");
        let surveyed = survey(&house.parts(&[name])).is_err();
        assert_eq!(surveyed, name != "needy.deb", "{name}: the first module tells");
    }
    // A kernel that does not say what it is takes modules of one release.
    house.write("linux", b"nothing");
    assert!(house.made(&Stock::default(), &["fine.deb"]).is_ok());
    house.write("other2.deb", &deb(&[(&at("raid1"), &module(X86, &["vermagic=6.1.0-57-amd64 SMP"]))]));
    let found = house.refused(&["fine.deb", "other2.deb"]);
    assert!(found.contains("6.1.0-50-amd64, 6.1.0-57-amd64"), "{found}");
}

#[test]
fn a_program_that_machines_can_not_run_is_refused_with_the_way_out() {
    let house = House::new();
    house.write("fine.deb", &deb(&[("./lib/modules/x/kernel/drivers/md/a.ko", &module(X86, &[VERMAGIC]))]));
    let cases = [
        (program(X86, 3), "it needs the libraries of this host"),
        (program(183, 1), "it is for aarch64"),
        (b"#!/bin/sh".to_vec(), "it is no program for Linux"),
    ];
    for (bytes, why) in cases {
        house.write("agent", &bytes);
        let found = house.refused(&["fine.deb"]);
        assert!(
            found.contains(why) && found.contains("static release (x86_64-unknown-linux-musl)"),
            "{found}"
        );
    }
    let own = Stock::default().get(&house.parts(&["fine.deb"]), &Programs::default(), &|| true);
    if let Err(error) = own {
        assert!(error.to_string().contains("`agents = { x86_64 ="), "{error}");
    }
}

#[test]
fn a_package_that_is_cut_or_bent_ends_with_a_reason() {
    let house = House::new();
    let files: [(&str, &[u8]); 2] = [
        ("./lib/modules/x/kernel/drivers/md/a.ko", &module(X86, &["alias=x", VERMAGIC])),
        ("./lib/modules/x/kernel/drivers/md/b.ko.gz", &gzip(&module(X86, &["depends=a", VERMAGIC]))),
    ];
    for (name, whole) in [("a.deb", deb(&files)), ("a.rpm", rpm(&files))] {
        let fits = |bytes: &[u8]| {
            house.write(name, bytes);
            examine(&house.parts(&[name]), &|| true)
        };
        fits(&whole).unwrap();
        for end in (0..whole.len() - 30).step_by(7) {
            assert!(fits(&whole[..end]).is_err(), "{name} cut at {end}");
        }
        for at in (0..whole.len()).step_by(3) {
            let mut bent = whole.clone();
            bent[at] ^= 0x81;
            // What is not read, or says nothing, may be anything.
            let _ = fits(&bent);
        }
    }
    let bomb = vec![0; 140 << 20];
    house.write("bomb.deb", &deb(&[("./lib/modules/x/kernel/drivers/md/a.ko.gz", &gzip(&bomb))]));
    let found = house.refused(&["bomb.deb"]);
    assert!(found.contains("has more than 134217728 bytes"), "{found}");
}

#[test]
fn the_stock_forgets_what_no_revision_names() {
    let house = House::new();
    let stock = Stock::default();
    let names: Vec<String> = (0..5).map(|at| format!("{at}.deb")).collect();
    let path = |name: &str| -> Arc<Path> {
        house.write(name, &deb(&[("./lib/modules/x/kernel/drivers/md/a.ko", &module(X86, &[VERMAGIC]))]));
        house.made(&stock, &[name]).unwrap().path
    };
    let kept = path("kept.deb");
    for name in &names {
        path(name);
    }
    assert!(kept.exists());
    let again = house.made(&stock, &["kept.deb"]).unwrap().path;
    assert_eq!(again, kept);
}
