//! What sysfs and procfs say of disks: whether they are in use, and how they are divided. All paths are below a root.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::agent::wipe::device::Seen;
use crate::api::agent::DiskFacts;

/// `/sys/block/NAME/size` and the like count sectors of this size.
const SECTOR: u64 = 512;

/// What is known of a disk beside its facts.
pub(super) fn seen(root: &Path, facts: DiskFacts) -> Seen {
    let name = facts.path.trim_start_matches("/dev/").to_owned();
    let folder = root.join("sys/block").join(&name);
    let parts = parts(&folder, &name);
    let namespace = text(&folder.join("device/subsysnqn")).zip(number(&folder.join("nsid")));
    Seen {
        firmware: text(&folder.join("device/firmware_rev")).or_else(|| text(&folder.join("device/rev"))),
        used_by: used_by(root, &folder, &parts),
        partitions: parts.iter().filter_map(|part| range(part)).collect(),
        namespace: namespace.and_then(|(subsystem, number)| Some((subsystem, u32::try_from(number).ok()?))),
        facts,
    }
}

/// Stops arrays that the kernel has put together: they belong to what is wiped. One in use goes on.
pub(super) fn stop_arrays(root: &Path) {
    for name in names(&root.join("sys/block")).filter(|name| name.starts_with("md")) {
        // Refused for an array that is mounted; its disks are then in use.
        let _ = std::fs::write(root.join("sys/block").join(name).join("md/array_state"), "clear");
    }
}

/// The folders of a disk's partitions.
fn parts(folder: &Path, name: &str) -> Vec<PathBuf> {
    let own = names(folder).filter(|part| part.starts_with(name)).map(|part| folder.join(part));
    let mut parts: Vec<PathBuf> = own.filter(|part| part.join("partition").exists()).collect();
    parts.sort();
    parts
}

fn range(part: &Path) -> Option<Range<u64>> {
    let (start, size) = (number(&part.join("start"))?, number(&part.join("size"))?);
    let start = start.checked_mul(SECTOR)?;
    Some(start..start.checked_add(size.checked_mul(SECTOR)?)?)
}

/// Mounts, swap and devices that are made of the disk or its partitions.
fn used_by(root: &Path, folder: &Path, parts: &[PathBuf]) -> Vec<String> {
    let mounts = mounts(root);
    let swaps = text(&root.join("proc/swaps")).unwrap_or_default();
    let mut found = Vec::new();
    for device in std::iter::once(folder).chain(parts.iter().map(PathBuf::as_path)) {
        let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mounted = text(&device.join("dev")).and_then(|number| mounts.get(&number));
        found.extend(mounted.map(|place| format!("{name} is mounted at {place}")));
        let path = format!("/dev/{name}");
        if swaps.lines().any(|line| line.split_whitespace().next() == Some(path.as_str())) {
            found.push(format!("{name} is swap"));
        }
        found.extend(names(&device.join("holders")).map(|holder| format!("{name} is part of {holder}")));
    }
    found
}

/// Where each device is mounted first, by its number (proc_pid_mountinfo(5)).
fn mounts(root: &Path) -> BTreeMap<String, String> {
    let text = text(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut mounts = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let (Some(number), Some(place)) = (words.get(2), words.get(4)) {
            mounts.entry((*number).to_owned()).or_insert_with(|| (*place).to_owned());
        }
    }
    mounts
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn what_uses_a_disk_is_found_by_all_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "sys/block/sda/dev", "8:0\n");
        for (part, number, start) in [("sda1", 1, 2048), ("sda2", 2, 4096)] {
            let at = |file: &str| format!("sys/block/sda/{part}/{file}");
            write(root, &at("partition"), "1\n");
            write(root, &at("dev"), &format!("8:{number}\n"));
            write(root, &at("start"), &format!("{start}\n"));
            write(root, &at("size"), "2048\n");
        }
        write(root, "sys/block/sda/sda2/holders/md0", "");
        write(root, "sys/block/sda/device/rev", "1.2 \n");
        write(root, "sys/block/md0/md/array_state", "clean\n");
        write(root, "proc/self/mountinfo", "30 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n");
        write(root, "proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n");
        let facts = DiskFacts { path: "/dev/sda".into(), ..DiskFacts::default() };
        let seen = seen(root, facts);
        let used = ["sda1 is mounted at /mnt", "sda2 is swap", "sda2 is part of md0"].map(str::to_owned);
        assert_eq!(seen.used_by, used);
        assert_eq!(seen.partitions, [1 << 20..2 << 20, 2 << 20..3 << 20]);
        assert_eq!((seen.firmware.as_deref(), seen.namespace), (Some("1.2"), None));
        stop_arrays(root);
        assert_eq!(std::fs::read_to_string(root.join("sys/block/md0/md/array_state")).unwrap(), "clear");
    }
}
