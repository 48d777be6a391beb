//! Images made on the spot with xorriso and genisoimage, read back through the shelf.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use voldemort::media::{Entry, Index, Library, MediaError, Shelf, image};

const LONG: usize = 205;

/// Runs a tool; false (and a loud line) if this host has none of that name.
fn run(tool: &str, arguments: &[&str]) -> bool {
    match Command::new(tool).args(arguments).output() {
        Err(_) => {
            eprintln!("SKIPPED: {tool} is not installed");
            assert!(std::env::var_os("CI").is_none(), "{tool} must be installed in CI");
            false
        }
        Ok(output) => {
            let talk = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{tool} {arguments:?}: {talk}");
            true
        }
    }
}

/// A tree with everything that installer media are known to hold.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("Casper/MixedCase")).unwrap();
    fs::write(root.join("Casper/MixedCase/vmlinuz-6.1.0-Generic_AMD64.efi.signed"), "kernel").unwrap();
    fs::create_dir_all(root.join("many")).unwrap();
    for number in 0..3000 {
        fs::write(root.join(format!("many/Pkg-{number:05}-foo.x86_64.rpm")), number.to_string()).unwrap();
    }
    let deep = root.join("d1/d2/d3/d4/d5/d6/d7/d8/d9/d10");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "deep").unwrap();
    fs::create_dir_all(root.join("dists/bookworm")).unwrap();
    fs::write(root.join("dists/bookworm/Release"), "release").unwrap();
    symlink("bookworm", root.join("dists/stable")).unwrap();
    symlink(".", root.join("debian")).unwrap();
    symlink("Casper/MixedCase/vmlinuz-6.1.0-Generic_AMD64.efi.signed", root.join("linux")).unwrap();
    symlink("loop-b", root.join("loop-a")).unwrap();
    symlink("loop-a", root.join("loop-b")).unwrap();
    fs::write(root.join(long()), "long").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("ünïcode"), "utf-8").unwrap();
}

fn long() -> String {
    "n".repeat(LONG)
}

struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The image `x.iso` that `tool` makes of the directory `tree`; `None` if it is missing.
    fn make(&self, tool: &str, options: &[&str]) -> Option<PathBuf> {
        let (image, tree) = (self.text("x.iso"), self.text("tree"));
        let mut arguments: Vec<&str> = if tool == "xorriso" { vec!["-as", "mkisofs"] } else { vec![] };
        arguments.extend(options);
        arguments.extend(["-quiet", "-o", &image, &tree]);
        run(tool, &arguments).then(|| image.into())
    }
}

fn bytes(entry: &Entry) -> Vec<u8> {
    let file = File::open(&entry.path).unwrap();
    let mut bytes = Vec::new();
    for extent in entry.extents.iter() {
        let mut part = vec![0; extent.length as usize];
        file.read_exact_at(&mut part, extent.offset).unwrap();
        bytes.extend(part);
    }
    bytes
}

fn holds(index: &Index, path: &str, text: &str) {
    let entry = index.lookup(path).unwrap_or_else(|| panic!("{path} is not in the index"));
    assert_eq!(String::from_utf8(bytes(entry)).unwrap(), text, "{path}");
}

#[test]
fn rock_ridge_and_joliet_hold_everything() {
    let lab = Lab::new();
    tree(&lab.path("tree"));
    let Some(path) = lab.make("xorriso", &["-R", "-J", "-joliet-long", "-V", "TESTDISC"]) else { return };
    let index = image::open(&path).unwrap();
    assert_eq!(index.label, "TESTDISC");
    complete(&index);
}

/// genisoimage moves deep directories to `rr_moved`; they are where they belong all the same.
#[test]
fn relocated_directories_are_where_they_belong() {
    let lab = Lab::new();
    tree(&lab.path("tree"));
    let Some(path) = lab.make("genisoimage", &["-R"]) else { return };
    complete(&image::open(&path).unwrap());
}

fn complete(index: &Index) {
    holds(index, "Casper/MixedCase/vmlinuz-6.1.0-Generic_AMD64.efi.signed", "kernel");
    holds(index, "casper/mixedcase/VMLINUZ-6.1.0-generic_amd64.efi.signed", "kernel");
    holds(index, "many/Pkg-02999-foo.x86_64.rpm", "2999");
    holds(index, "d1/d2/d3/d4/d5/d6/d7/d8/d9/d10/bottom", "deep");
    holds(index, "linux", "kernel");
    holds(index, "dists/stable/Release", "release");
    holds(index, "debian/debian/dists/stable/Release", "release");
    holds(index, &long(), "long");
    holds(index, "empty", "");
    holds(index, "ünïcode", "utf-8");
    assert!(index.lookup("loop-a").is_none() && index.lookup("loop-a/x").is_none());
    assert_eq!(index.list("many").unwrap().len(), 3000);
    assert_eq!(index.files.len(), 3000 + 7, "{:?}", index.list("/").unwrap().keys());
    assert_eq!(index.nearest("casper/vmlinuz-6.1.0-generic_amd64.efi.signd").len(), 1);
}

#[test]
fn joliet_alone_gives_long_mixed_case_names() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree/Boot")).unwrap();
    fs::write(lab.path("tree/Boot/Kernel Image.v1"), "kernel").unwrap();
    let Some(path) = lab.make("genisoimage", &["-J"]) else { return };
    let index = image::open(&path).unwrap();
    assert_eq!(index.files.keys().map(|k| &**k).collect::<Vec<_>>(), ["Boot/Kernel Image.v1"]);
    holds(&index, "boot/kernel image.v1", "kernel");
}

/// The named `iso9660` crate reads plain images: both must agree on names, lengths and bytes.
#[test]
fn plain_images_agree_with_the_iso9660_crate() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree/install/deeper")).unwrap();
    fs::write(lab.path("tree/install/vmlinuz"), "kernel").unwrap();
    fs::write(lab.path("tree/install/initrd.gz"), vec![b'i'; 100_000]).unwrap();
    fs::write(lab.path("tree/install/deeper/readme.txt"), "text").unwrap();
    let Some(path) = lab.make("genisoimage", &["-iso-level", "1"]) else { return };
    let index = image::open(&path).unwrap();
    holds(&index, "install/vmlinuz", "kernel");
    assert_eq!(index.lookup("INSTALL/INITRD.GZ").unwrap().len(), 100_000);
    let disc = iso9660::ISO9660::new(File::open(&path).unwrap()).unwrap();
    for (name, entry) in &index.files {
        let found = disc.open(name).unwrap_or_else(|_| panic!("{name} is unknown to iso9660"));
        let Some(iso9660::DirectoryEntry::File(file)) = found else { panic!("{name} is unknown to iso9660") };
        let mut theirs = Vec::new();
        file.read().read_to_end(&mut theirs).unwrap();
        assert_eq!(theirs, bytes(entry), "{name}");
    }
    assert_eq!(index.files.len(), 3);
}

/// A 5 GiB file of holes with a mark near its end, beyond what 32 bits can address.
fn large(path: &Path) -> u64 {
    let length = 5 << 30;
    let mut file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    file.seek(SeekFrom::Start(length - 4)).unwrap();
    file.write_all(b"mark").unwrap();
    length
}

fn mark(entry: &Entry) -> [u8; 4] {
    let last = entry.extents.last().unwrap();
    let mut mark = [0; 4];
    File::open(&entry.path).unwrap().read_exact_at(&mut mark, last.offset + last.length - 4).unwrap();
    mark
}

/// Writes 5 GiB through a tool: asked for by name, since it takes a while and the space.
#[test]
#[ignore = "writes 10 GiB of temporary files: cargo test -- --ignored large_files"]
fn large_files_are_whole_on_iso_and_udf() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    let length = large(&lab.path("tree/install.wim"));
    for (tool, options) in
        [("xorriso", vec!["-iso-level", "3", "-R"]), ("genisoimage", vec!["-udf", "-allow-limited-size"])]
    {
        let Some(path) = lab.make(tool, &options) else { return };
        let index = image::open(&path).unwrap();
        let entry = index.lookup("install.wim").unwrap();
        assert_eq!(entry.len(), length, "{tool}");
        assert_eq!(&mark(entry), b"mark", "{tool}");
    }
}

/// Multi-extent records of 4 GiB each, without writing them: the image's metadata is real, its
/// data a hole.
#[test]
fn two_extents_of_a_large_file_become_one_stretch() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/big.img"), vec![1; 6000]).unwrap();
    let Some(path) = lab.make("genisoimage", &["-iso-level", "1"]) else { return };
    let image = fs::read(&path).unwrap();
    let at = image.windows(9).position(|window| window == b"BIG.IMG;1").unwrap() - 33;
    let length = usize::from(image[at]);
    let mut first = image[at..at + length].to_vec();
    let mut second = first.clone();
    let block = u32::from_le_bytes(first[2..6].try_into().unwrap());
    let both = |record: &mut [u8], at: usize, value: u32| {
        record[at..at + 4].copy_from_slice(&value.to_le_bytes());
        record[at + 4..at + 8].copy_from_slice(&value.to_be_bytes());
    };
    let whole = 0xFFFF_F800u32;
    first[25] |= 0x80; // ECMA-119 9.1.6: not the final record
    both(&mut first, 10, whole);
    both(&mut second, 2, block + whole / 2048);
    both(&mut second, 10, 1 << 30);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&first, at as u64).unwrap();
    file.write_all_at(&second, (at + length) as u64).unwrap();
    assert!(matches!(image::open(&path), Err(MediaError::Truncated { .. })));
    let size = u64::from(block) * 2048 + u64::from(whole) + (1 << 30);
    file.set_len(size).unwrap();
    let index = image::open(&path).unwrap();
    let entry = index.lookup("big.img").unwrap();
    assert_eq!(entry.len(), u64::from(whole) + (1 << 30));
    assert_eq!(entry.extents.len(), 1, "stretches that touch are one");
    file.set_len(size - 1).unwrap();
    assert!(matches!(image::open(&path), Err(MediaError::Truncated { .. })));
}

#[test]
fn a_udf_bridge_is_read_from_its_richer_side() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree/sources")).unwrap();
    fs::write(lab.path("tree/sources/boot.wim"), "wim").unwrap();
    fs::write(lab.path("tree/README.TXT"), "this disc holds a UDF file system").unwrap();
    let Some(path) = lab.make("genisoimage", &["-udf", "-V", "WIN", "-hide", "sources"]) else { return };
    let index = image::open(&path).unwrap();
    holds(&index, "sources/boot.wim", "wim");
    holds(&index, "readme.txt", "this disc holds a UDF file system");
    assert_eq!(index.label, "WIN");
}

/// Without Rock Ridge and Joliet the ISO side has `ABCDEFGH.TXT` for every long name.
#[test]
fn a_udf_bridge_with_plain_iso_names_has_those_of_udf() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree/install.amd")).unwrap();
    fs::write(lab.path("tree/install.amd/vmlinuz-6.1.0-Generic"), "kernel").unwrap();
    let Some(path) = lab.make("genisoimage", &["-udf", "-V", "BRIDGE"]) else { return };
    holds(&image::open(&path).unwrap(), "install.amd/vmlinuz-6.1.0-Generic", "kernel");
}

#[test]
fn truncated_images_name_what_is_cut_off() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/a-first"), vec![b'a'; 50_000]).unwrap();
    fs::write(lab.path("tree/z-last"), vec![b'z'; 50_000]).unwrap();
    let Some(path) = lab.make("genisoimage", &["-R"]) else { return };
    let last = image::open(&path).unwrap().lookup("z-last").unwrap().extents[0];
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(last.offset + last.length).unwrap();
    image::open(&path).unwrap();
    file.set_len(last.offset + last.length - 1).unwrap();
    let error = image::open(&path).unwrap_err();
    assert!(matches!(error, MediaError::Truncated { .. }), "{error}");
    assert!(error.to_string().contains("`z-last`"), "{error}");
    for length in [0, 100, 30_000, 34_000, 38_000, 44_000, 47_000] {
        file.set_len(length).unwrap();
        let error = image::open(&path).unwrap_err();
        assert!(
            matches!(error, MediaError::Truncated { .. } | MediaError::NotAnImage { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn zisofs_files_are_refused_by_name() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/plain"), "plain").unwrap();
    fs::write(lab.path("tree/packed"), vec![b'p'; 400_000]).unwrap();
    let (image_path, root) = (lab.text("z.iso"), lab.text("tree"));
    let filter = ["-outdev", &image_path, "-map", &root, "/", "-set_filter", "--zisofs", "/packed", "--"];
    if !run("xorriso", &filter) {
        return;
    }
    let index = image::open(Path::new(&image_path)).unwrap();
    holds(&index, "plain", "plain");
    assert!(index.lookup("packed").is_none());
    assert!(index.refusal("packed").unwrap().contains("zisofs"));
    // The problem for a manifest that names it says so, and not that there is no such file.
    let manifest = "[subnet.l]\ncidr = '10.0.0.0/24'\n[boot.b]\niso = { file = 'z.iso' }\nkernel = 'packed'\n\
        [deployment.d]\nboot = 'b'\nmac = '52:54:00:00:00:01'\naddress = '10.0.0.2'\n";
    fs::write(lab.path("a.toml"), manifest).unwrap();
    let checked =
        Command::new(env!("CARGO_BIN_EXE_voldemort")).args(["check", &lab.text("")]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("a.toml:5:") && said.contains("compressed with zisofs"), "{said}");
    assert!(!said.contains("no such file"), "{said}");
}

#[test]
fn what_is_no_image_says_so() {
    let lab = Lab::new();
    for (name, content) in [("text", b"hello".to_vec()), ("empty", vec![]), ("zeros", vec![0; 1 << 20])] {
        fs::write(lab.path(name), content).unwrap();
        assert!(matches!(image::open(&lab.path(name)), Err(MediaError::NotAnImage { .. })), "{name}");
    }
    assert!(matches!(image::open(&lab.path("absent")), Err(MediaError::Missing { .. })));
    assert!(matches!(image::open(lab.folder.path()), Err(MediaError::Io { .. })));
}

/// A fixed sequence of numbers (an LCG): every run makes the same mutants.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Damaged metadata gives an index whose stretches lie inside the file, or an error; never a
/// panic, never a hang.
#[test]
fn mutants_neither_panic_nor_hang() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree/a/b/c")).unwrap();
    for number in 0..40 {
        fs::write(lab.path(&format!("tree/a/file-{number}-with-a-long-mixed-Case-name")), "x").unwrap();
    }
    symlink("a/b", lab.path("tree/link")).unwrap();
    fs::write(lab.path("tree/a/b/c").join(long()), "long").unwrap();
    for (tool, options) in [("xorriso", vec!["-R", "-J"]), ("genisoimage", vec!["-R", "-udf"])] {
        let Some(path) = lab.make(tool, &options) else { return };
        let good = fs::read(&path).unwrap();
        let mut numbers = Numbers(7);
        let mut survivors = 0;
        for mutant in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..1 + numbers.below(8) {
                let at = 32_768 + numbers.below(good.len() as u64 - 32_768) as usize;
                bytes[at] = numbers.below(256) as u8;
            }
            fs::write(&path, &bytes).unwrap();
            let start = Instant::now();
            let result = std::panic::catch_unwind(|| image::open(&path));
            let result = result.unwrap_or_else(|_| panic!("mutant {mutant} of {tool} panics"));
            assert!(start.elapsed() < Duration::from_secs(20), "mutant {mutant} of {tool} hangs");
            let Ok(index) = result else { continue };
            survivors += 1;
            for entry in index.files.values() {
                for extent in entry.extents.iter() {
                    assert!(extent.offset + extent.length <= bytes.len() as u64);
                }
            }
        }
        assert!(survivors > 0, "some mutants of {tool} damage nothing that matters");
    }
}

#[test]
fn the_shelf_keeps_an_index_until_the_image_changes() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/vmlinuz"), "one").unwrap();
    let Some(path) = lab.make("xorriso", &["-R"]) else { return };
    let shelf = Shelf::new(vec![lab.folder.path().to_path_buf()], Some(lab.path("digests")));
    let first = shelf.image("x.iso", None).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &shelf.image(path.to_str().unwrap(), None).unwrap()));
    let error = shelf.image("x.iso", Some(&"0".repeat(64))).unwrap_err();
    let MediaError::Checksum { found, .. } = error else { panic!("{error}") };
    shelf.image("x.iso", Some(&found.to_uppercase())).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(lab.path("tree/vmlinuz"), "two!").unwrap();
    lab.make("xorriso", &["-R"]).unwrap();
    holds(&shelf.image("x.iso", None).unwrap(), "vmlinuz", "two!");
    assert!(matches!(shelf.image("x.iso", Some(&found)), Err(MediaError::Checksum { .. })));
}

#[test]
fn boot_images_are_listed() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/bios.img"), vec![0; 2048]).unwrap();
    fs::write(lab.path("tree/efi.img"), vec![0; 4096]).unwrap();
    let options = [
        "-b",
        "bios.img",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-eltorito-alt-boot",
        "-e",
        "efi.img",
        "-no-emul-boot",
    ];
    let Some(path) = lab.make("xorriso", &options) else { return };
    let images = image::boot_images(&path).unwrap();
    let platforms: Vec<_> = images.iter().map(|image| (image.platform, image.extent.length)).collect();
    assert_eq!(platforms, [(image::Platform::Bios, 2048), (image::Platform::Efi, 4096)]);
}
