//! The virtual machine: QEMU with real firmware.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::disk::{Disk, escaped};
use super::network::Tap;
use super::qmp::{DISK, Qmp};
use super::scratch::{Scratch, named};
use crate::model::Mac;

/// The network card's name in QEMU.
pub const NETWORK: &str = "card";

/// How the machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// SeaBIOS, PXE by the iPXE in the card's ROM
    Bios,
    /// UEFI, PXE by the firmware itself
    Uefi,
    /// UEFI HTTP boot
    UefiHttp,
    /// UEFI, PXE by the iPXE in the card's ROM
    UefiIpxe,
    /// UEFI PXE with Secure Boot and Microsoft's keys: by shim and GRUB
    SecureBoot,
}

impl Firmware {
    /// As in `--firmware`.
    pub fn name(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
            Firmware::UefiHttp => "uefi-http",
            Firmware::UefiIpxe => "uefi-ipxe",
            Firmware::SecureBoot => "secure-boot",
        }
    }

    /// The program and the variables' first state of a UEFI firmware.
    fn uefi(self) -> Option<(&'static str, &'static str)> {
        match self {
            Firmware::Bios => None,
            Firmware::Uefi | Firmware::UefiHttp | Firmware::UefiIpxe => Some((UEFI_CODE, UEFI_VARIABLES)),
            Firmware::SecureBoot => Some((SECURE_CODE, SECURE_VARIABLES)),
        }
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    /// Emulation: slower, works everywhere.
    Tcg,
}

impl Accelerator {
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    /// KVM where this user may use it. Whether it can run firmware shows only when it runs: some nested
    /// hosts have a KVM that stops at real-mode code.
    pub fn probe() -> Accelerator {
        match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
            Ok(_) => Accelerator::Kvm,
            Err(_) => Accelerator::Tcg,
        }
    }
}

/// What to build the machine of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub firmware: Firmware,
    pub accelerator: Accelerator,
    pub mac: Mac,
    pub disk: Disk,
    /// MiB.
    pub memory: u32,
}

const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The same with Microsoft's keys, enforcing.
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd";
const SECURE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// A running machine; it ends with this value.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    qmp: Qmp,
}

/// Paths of the machine's files in the scratch directory.
pub fn serial_log(scratch: &Scratch) -> PathBuf {
    scratch.join("serial.log")
}

pub fn qemu_log(scratch: &Scratch) -> PathBuf {
    scratch.join("qemu.log")
}

pub fn disk_image(scratch: &Scratch) -> PathBuf {
    scratch.join("disk.raw")
}

impl Machine {
    /// Powers a machine on. The disk image is made if there is none yet: a machine of the same
    /// scratch directory has the same disk.
    pub fn start(plan: &Plan, tap: &Tap, scratch: &Scratch) -> io::Result<Machine> {
        let disk = disk_image(scratch);
        if !disk.exists() {
            File::create(&disk)
                .and_then(|file| file.set_len(plan.disk.bytes))
                .map_err(|error| named(&disk, error))?;
        }
        let console = scratch.join("sercon");
        fs::write(&console, 0x3f8_u16.to_le_bytes()).map_err(|error| named(&console, error))?;
        let socket = scratch.join("qmp");
        let _ = fs::remove_file(&socket);
        if let Some((_, original)) = plan.firmware.uefi() {
            let variables = scratch.join("uefi-variables.fd");
            fs::copy(original, &variables).map_err(|error| named(Path::new(original), error))?;
        }
        let log = File::create(qemu_log(scratch))?;
        let tap = tap.as_fd().as_raw_fd();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(plan, scratch.path(), tap));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        end_with_parent(&mut command, Some(tap));
        let mut qemu = command.spawn()?;
        match connect(&mut qemu, &socket) {
            Ok(qmp) => Ok(Machine { qemu, qmp }),
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                Err(error)
            }
        }
    }

    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Whether QEMU ended, and how.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.qemu.try_wait()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.qmp.quit().is_err() {
            let _ = self.qemu.kill();
        }
        let _ = self.qemu.wait();
    }
}

fn connect(qemu: &mut Child, socket: &Path) -> io::Result<Qmp> {
    let started = Instant::now();
    loop {
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(qmp),
            Err(error) if started.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => {}
        }
        if let Some(status) = qemu.try_wait()? {
            return Err(io::Error::other(format!("QEMU ended at once ({status})")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Has a child end with this process, however that ends; keeps the terminal's Ctrl-C from it, so that it is
/// ended in order; lets it inherit one descriptor.
pub fn end_with_parent(command: &mut Command, inherited: Option<RawFd>) {
    command.process_group(0);
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec only system calls are made (prctl, getppid, fcntl).
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(io::Error::other("the parent is gone"));
            }
            if let Some(descriptor) = inherited {
                let descriptor = std::os::fd::BorrowedFd::borrow_raw(descriptor);
                fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

/// QEMU's command line. `scratch` holds the files; `tap` is the network's descriptor.
fn arguments(plan: &Plan, scratch: &Path, tap: RawFd) -> Vec<String> {
    let file = |name: &str| escaped(&scratch.join(name).display().to_string());
    let mut words: Vec<String> = Vec::new();
    let mut add = |text: String| words.extend(text.split(' ').map(|word| word.replace('\t', " ")));
    add("-nodefaults -no-user-config -display none".into());
    add(format!("-m {} -uuid {}", plan.memory, uuid(plan.mac)));
    add(match plan.accelerator {
        // Some nested hosts refuse the register behind arch-capabilities; no installer needs it.
        Accelerator::Kvm => "-accel kvm -cpu host,-arch-capabilities".into(),
        // What distributions call x86-64-v2: some do not start on less.
        Accelerator::Tcg => "-accel tcg -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf_lm".into(),
    });
    add(format!("-serial file:{}", file("serial.log")));
    add(format!("-qmp unix:{},server=on,wait=off", file("qmp")));
    add("-object rng-random,id=random,filename=/dev/urandom -device virtio-rng-pci,rng=random".into());
    match plan.firmware.uefi() {
        None => {
            add("-machine pc".into());
            // SeaBIOS copies its text screen to this serial port.
            add(format!("-fw_cfg name=etc/sercon-port,file={}", file("sercon")));
        }
        Some((code, _)) => {
            // Keys are safe only in memory that the guest's system can't write.
            let secure = plan.firmware == Firmware::SecureBoot;
            add(if secure { "-machine q35,smm=on -global ICH9-LPC.disable_s3=1" } else { "-machine q35" }
                .into());
            if secure {
                add("-global driver=cfi.pflash01,property=secure,value=on".into());
            }
            add(format!("-drive if=pflash,unit=0,format=raw,readonly=on,file={code}"));
            add(format!("-drive if=pflash,unit=1,format=raw,file={}", file("uefi-variables.fd")));
            // Without these two it waits a minute for a DHCPv6 server first, and PXE before HTTP.
            add("-fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n".into());
        }
    }
    if plan.firmware == Firmware::UefiHttp {
        add("-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n".into());
    }
    add(format!("-netdev tap,id={NETWORK},fd={tap}"));
    // The ROM in the card is iPXE: with it OVMF would not boot by its own means.
    let rom = if matches!(plan.firmware, Firmware::Bios | Firmware::UefiIpxe) { "" } else { ",romfile=" };
    add(format!("-device virtio-net-pci,id={NETWORK}0,netdev={NETWORK},mac={},bootindex=1{rom}", plan.mac));
    add(format!("-drive if=none,id={DISK},format=raw,discard=unmap,file={}", file("disk.raw")));
    add(plan.disk.options(DISK));
    words
}

/// A machine identity of its own for each card, the same at every boot.
fn uuid(mac: Mac) -> String {
    format!("766f6c64-656d-4f72-8000-{}", mac.dashed().replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::super::disk::Bus;
    use super::*;

    fn plan(firmware: Firmware) -> Plan {
        Plan {
            firmware,
            accelerator: Accelerator::Tcg,
            mac: "52:54:00:de:00:01".parse().unwrap(),
            disk: Disk::on(Bus::Virtio),
            memory: 1024,
        }
    }

    fn line(plan: &Plan) -> String {
        arguments(plan, Path::new("/tmp/x"), 7).join(" ")
    }

    #[test]
    fn the_network_comes_before_the_disk() {
        let line = line(&plan(Firmware::Bios));
        assert!(
            line.contains("virtio-net-pci,id=card0,netdev=card,mac=52:54:00:de:00:01,bootindex=1"),
            "{line}"
        );
        assert!(line.contains("virtio-blk-pci,drive=disk,bootindex=2"), "{line}");
        assert!(line.contains("-uuid 766f6c64-656d-4f72-8000-525400de0001"), "{line}");
    }

    #[test]
    fn uefi_boots_by_its_own_means() {
        assert!(line(&plan(Firmware::Uefi)).contains("bootindex=1,romfile="));
        assert!(!line(&plan(Firmware::Bios)).contains("romfile"));
        assert!(!line(&plan(Firmware::Uefi)).contains("IPv4PXESupport"));
        assert!(line(&plan(Firmware::UefiHttp)).contains("IPv4PXESupport,string=n"));
        assert!(!line(&plan(Firmware::UefiIpxe)).contains("romfile"));
    }

    #[test]
    fn secure_boot_keeps_its_keys_out_of_reach() {
        let line = line(&plan(Firmware::SecureBoot));
        for word in ["q35,smm=on", "property=secure,value=on", "OVMF_CODE_4M.ms.fd", "bootindex=1,romfile="] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn odd_paths_stay_one_word() {
        let words = arguments(&plan(Firmware::Bios), Path::new("/tmp/a b,c"), 7);
        assert!(words.contains(&"file:/tmp/a b,,c/serial.log".to_owned()), "{words:?}");
    }
}
