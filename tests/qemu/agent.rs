//! Our agent on machines that no manifest declares: booted by the daemon, with a kernel and modules out of Debian's
//! package, until the machine is handed over to its own disk. Nothing on the disk changes.
//!
//! `tests/run` builds the static program and fetches the package.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

/// The kernel unpacks an initrd into half of the memory at most: our program as tests build it takes 74 MB, and all
/// modules of the package 72.
pub(crate) const MEMORY: &str = " -m 1024";
const SIZE: u64 = 64 << 20;
/// What a system of somebody's own has on its disk.
const MARK: (u64, &[u8]) = (4096, b"somebody's own");

const INVENTORY: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dynamic = "10.0.10.100-10.0.10.199"
unknown = "discover"
[boot.agent]
kernel  = "files/vmlinuz"
modules = ["files/linux.deb"]
cmdline = ["console=ttyS0"]
"#;

/// What `tests/run` makes ready.
pub(crate) struct Parts {
    /// Where it lies.
    pub folder: PathBuf,
    /// Our program without the host's libraries.
    pub program: PathBuf,
    /// A kernel with its modules.
    package: PathBuf,
}

/// `None`: the test must end, the reason was printed.
pub(crate) fn parts() -> Option<Parts> {
    let folder = Path::new(env!("CARGO_BIN_EXE_voldemort")).ancestors().nth(2).unwrap().join("agent");
    let program = folder.join("voldemort");
    let packages = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let package = packages.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).max();
    let missing = match (program.exists(), package) {
        (true, Some(package)) => return Some(Parts { folder, program, package }),
        (false, _) => format!("{}, which tests/run builds", program.display()),
        (_, None) => format!("a package linux-image in {}, which tests/run fetches", folder.display()),
    };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: {missing}");
    eprintln!("SKIPPED, missing: {missing}");
    None
}

/// The kernel in a package.
fn kernel(package: &Path, to: &Path) {
    let script = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './boot/vmlinuz-*' >\"$2\"";
    let done = Command::new("sh").args(["-c", script, "sh"]).arg(package).arg(to).status().unwrap();
    assert!(done.success());
}

/// A daemon that looks at unknown machines.
pub(crate) fn lab(tag: &str) -> Option<Lab> {
    let Parts { program, package, .. } = parts()?;
    let mut lab = Lab::new(tag);
    let files = lab.path("inventory/files");
    std::fs::create_dir_all(&files).unwrap();
    kernel(&package, &files.join("vmlinuz"));
    std::fs::copy(&package, files.join("linux.deb")).unwrap();
    let agent = "format = 1\n[agent]\nboot = { x86_64 = \"agent\" }\n";
    std::fs::write(lab.path("inventory/voldemort.toml"), agent).unwrap();
    let settings = format!("[firmware]\nagents = {{ x86_64 = \"{}\" }}\n", program.display());
    lab.daemon(&settings, INVENTORY);
    // The initrd is made first. Firmware that asks before is not answered, and may not ask again.
    lab.wait(" is live");
    Some(lab)
}

/// The disks of a machine: somebody's own.
struct Disk {
    path: PathBuf,
    /// What the daemon is to know it by.
    id: &'static str,
}

impl Disk {
    fn new(lab: &Lab, name: &str, id: &'static str) -> Disk {
        let path = lab.path(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        file.seek(SeekFrom::Start(MARK.0)).unwrap();
        file.write_all(MARK.1).unwrap();
        Disk { path, id }
    }

    /// The words for QEMU.
    fn words(&self, device: &str) -> String {
        let id = self.path.file_name().unwrap().to_string_lossy();
        format!(" -drive file={},format=raw,if=none,id={id} -device {device},drive={id}", self.path.display())
    }

    fn is_untouched(&self) {
        let bytes = std::fs::read(&self.path).unwrap();
        let (at, mark) = (MARK.0 as usize, MARK.1);
        assert!(bytes.len() as u64 == SIZE && bytes[at..].starts_with(mark), "{}: the mark is gone", self.id);
        let others = bytes
            .iter()
            .enumerate()
            .filter(|(place, byte)| **byte != 0 && !(at..at + mark.len()).contains(place));
        assert_eq!(others.count(), 0, "{}: something was written", self.id);
    }
}

/// Waits for the machine's whole way, until it restarts and QEMU ends.
fn is_discovered(lab: &Lab, mac: &str, what: &str, disks: &[Disk]) {
    let timeline = lab.wait(what);
    lab.wait_on_serial("boot from its own disk");
    lab.wait_on_serial("reboot: machine restart");
    let own: Vec<&str> = timeline.lines().filter(|line| line.contains(mac)).collect();
    in_order(&own.join("\n"), &["boots our agent from boot agent", "kernel", "initrd", "was discovered"]);
    let serial = lab.serial();
    assert!(serial.contains(&format!("voldemort: this machine is m{}", mac.replace(':', ""))), "{serial}");
    assert!(!serial.contains("can't be loaded"), "{serial}");
    let found = lab.ctl(&["get", "discovered", "-o", "json"]);
    for disk in disks {
        assert!(found.contains(disk.id), "{}: {found}", disk.id);
        disk.is_untouched();
    }
}

#[test]
fn machines_nobody_described_are_discovered_and_get_their_disks_back() {
    let Some(_kit) = kit(true) else { return };
    let Some(mut lab) = lab("agent") else { return };

    let disks = [Disk::new(&lab, "virtio", "serial:V1::67108864")];
    let words = format!("-machine pc{MEMORY}{}", disks[0].words("virtio-blk-pci,serial=V1"));
    lab.machine("qemu-system-x86_64", &words, "52:54:00:00:00:77", "");
    is_discovered(&lab, "52:54:00:00:00:77", "1 GiB, 1 disk", &disks);

    let disks = [Disk::new(&lab, "nvme", "wwn:nvme.1b36-4e31-"), Disk::new(&lab, "sata", "S1")];
    let words = disks[0].words("nvme,serial=N1") + &disks[1].words("ide-hd,serial=S1");
    let words = words + MEMORY;
    lab.uefi_with("e1000", "52:54:00:00:00:78", &words, "");
    is_discovered(&lab, "52:54:00:00:00:78", "1 GiB, 2 disks", &disks);
}
