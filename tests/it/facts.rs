//! What the agent reads of machines: trees of /sys and /proc captured in QEMU, with the facts that are expected beside
//! them in `tests/fixtures/machines`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use voldemort::agent::facts::{Calls, Root, disk_names, read};
use voldemort::api::agent::{Facts, FirmwareMode, Neighbour, Transport};

use crate::golden::assert_golden;

pub(crate) fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut trees: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "tree")).collect();
    trees.sort();
    trees
}

/// Makes the captured files. A line is `PATH TAB KIND CONTENT`: `t` text, `x` hexadecimal, `l` a link, `d` a directory.
pub(crate) fn expand(tree: &Path, root: &Path) {
    for line in std::fs::read_to_string(tree).unwrap().lines() {
        let (path, entry) = line.split_once('\t').unwrap();
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry.split_at(entry.len().min(2)) {
            ("d", _) => std::fs::create_dir_all(path).unwrap(),
            ("t ", text) => std::fs::write(path, text.replace("\\n", "\n").replace("\\\\", "\\")).unwrap(),
            ("l ", target) => symlink(target, path).unwrap(),
            ("x ", digits) => {
                let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                std::fs::write(path, (0..digits.len()).step_by(2).map(byte).collect::<Vec<u8>>()).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn facts(root: &Path) -> Facts {
    let none = BTreeMap::new();
    read(
        &Root::new(root),
        &Calls { permanent_mac: &|_| None, neighbours: &none, blank: &|_| false, bmc: None },
    )
}

#[test]
fn captured_machines_are_read() {
    let trees = captures();
    assert!(trees.len() >= 7, "{trees:?}");
    for tree in trees {
        let root = tempfile::tempdir().unwrap();
        expand(&tree, root.path());
        let found = serde_json::to_string_pretty(&facts(root.path())).unwrap();
        assert_golden(&tree.with_extension("json"), &(found + "\n"));
    }
}

fn captured(name: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    expand(&folder.join(name).with_extension("tree"), root.path());
    root
}

/// What is not a disk of the machine is not offered for wiping.
#[test]
fn only_disks_are_disks() {
    let root = captured("virtio");
    let block = root.path().join("sys/block");
    let add = |name: &str, files: &[(&str, &str)]| {
        for (file, text) in [("size", "2048"), ("device/type", "0")].iter().chain(files) {
            let path = block.join(name).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    };
    for name in ["loop0", "ram0", "zram0", "sr0", "fd0", "md127", "mmcblk0boot0", "mmcblk0rpmb"] {
        add(name, &[]);
    }
    add("nvme0c0n1", &[("hidden", "1\n")]);
    add("sdx", &[("size", "0\n")]);
    std::fs::create_dir_all(block.join("dm-0")).unwrap();
    std::fs::write(block.join("dm-0/size"), "2048\n").unwrap();
    add("mmcblk0", &[("device/name", "DG4016\n"), ("device/serial", "0x1234\n")]);
    assert_eq!(disk_names(&Root::new(root.path())), ["vda", "vdb", "vdc", "mmcblk0"]);
    let card = facts(root.path()).disks.pop().unwrap();
    assert_eq!((card.model.as_deref(), card.transport), (Some("DG4016"), Transport::Mmc));
}

/// Secure Boot and a TPM, which the captured machines do not have; a card whose address was changed.
#[test]
fn what_the_firmware_says_is_read() {
    let root = captured("no-disk");
    let write = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    assert_eq!((facts(root.path()).secure_boot, facts(root.path()).tpm), (None, None));
    let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    for (value, is_on) in [(1, true), (0, false)] {
        write(variable, &[6, 0, 0, 0, value]);
        write("sys/class/tpm/tpm0/tpm_version_major", b"2\n");
        let found = facts(root.path());
        assert_eq!((found.firmware, found.secure_boot), (FirmwareMode::Uefi, Some(is_on)));
        assert_eq!(found.tpm.as_deref(), Some("2.0"));
    }
    let neighbour = Neighbour { system: "sw1".into(), port: "7".into() };
    let neighbours = [("eth0".to_owned(), neighbour.clone())].into();
    let made = "52:54:00:bb:00:01".parse().unwrap();
    let calls =
        Calls { permanent_mac: &|_| Some(made), neighbours: &neighbours, blank: &|_| false, bmc: None };
    let found = read(&Root::new(root.path()), &calls);
    assert_eq!(found.nics[0].permanent_mac.as_deref(), Some("52:54:00:bb:00:01"));
    assert_eq!(found.nics[0].neighbour, Some(neighbour));
}

/// A tree with nothing in it is a machine of which nothing is known.
#[test]
fn nothing_is_no_fault() {
    let root = tempfile::tempdir().unwrap();
    let found = facts(root.path());
    assert_eq!((found.firmware, found.memory, found.disks.len()), (FirmwareMode::Unknown, 0, 0));
}
