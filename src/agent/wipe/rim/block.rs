//! A block device of the kernel (linux/fs.h, linux/nvme_ioctl.h, scsi/sg.h).

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::agent::wipe::device::{Commands, Device, Refusal};
use crate::agent::wipe::{ata, nvme};
use crate::api::agent::{DiskFacts, Transport};

mod call {
    //! The calls, by the names that the kernel's headers have for them.
    nix::ioctl_write_ptr_bad!(blkzeroout, 0x127f, [u64; 2]);
    nix::ioctl_write_ptr_bad!(blkdiscard, 0x1277, [u64; 2]);
    nix::ioctl_none_bad!(blkflsbuf, 0x1261);
    nix::ioctl_none_bad!(blkrrpart, 0x125f);
    nix::ioctl_read_bad!(blksszget, 0x1268, libc::c_int);
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, super::NvmeAdmin);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::SgIo);
}

/// `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Default)]
pub(super) struct NvmeAdmin {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    cdw10: u32,
    further: [u32; 5],
    timeout: u32,
    result: u32,
}

/// `struct sg_io_hdr`.
#[repr(C)]
pub(super) struct SgIo {
    interface: libc::c_int,
    direction: libc::c_int,
    command_length: libc::c_uchar,
    sense_most: libc::c_uchar,
    iovecs: libc::c_ushort,
    data_length: libc::c_uint,
    data: *mut libc::c_void,
    command: *mut libc::c_uchar,
    sense: *mut libc::c_uchar,
    timeout: libc::c_uint,
    flags: libc::c_uint,
    pack_id: libc::c_int,
    user: *mut libc::c_void,
    status: libc::c_uchar,
    masked_status: libc::c_uchar,
    message_status: libc::c_uchar,
    sense_length: libc::c_uchar,
    host_status: libc::c_ushort,
    driver_status: libc::c_ushort,
    residual: libc::c_int,
    duration: libc::c_uint,
    info: libc::c_uint,
}

/// An open disk, which nobody else can mount or open exclusively.
pub(super) struct Disk {
    file: File,
    bytes: u64,
    block: u64,
    commands: Commands,
}

impl Disk {
    pub(super) fn open(facts: &DiskFacts) -> io::Result<Disk> {
        let mut file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(&facts.path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut block = 0;
        // SAFETY: the call writes one int, which `block` is.
        unsafe { call::blksszget(file.as_raw_fd(), &raw mut block) }?;
        let commands = match facts.transport {
            Transport::Nvme => Commands::Nvme,
            Transport::Sata => Commands::Ata,
            _ => Commands::None,
        };
        Ok(Disk { file, bytes, block: u64::try_from(block).unwrap_or(512).max(512), commands })
    }
}

impl Device for Disk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        // SAFETY: the call takes no argument. It writes back and drops what the kernel holds of the disk.
        unsafe { call::blkflsbuf(self.file.as_raw_fd()) }?;
        self.file.read_exact_at(into, at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn zero(&mut self, at: u64, length: u64) -> io::Result<()> {
        // SAFETY: the call reads two u64, which the array holds.
        unsafe { call::blkzeroout(self.file.as_raw_fd(), &[at, length]) }?;
        Ok(())
    }

    fn discard(&mut self, at: u64, length: u64) -> io::Result<()> {
        // SAFETY: as above.
        unsafe { call::blkdiscard(self.file.as_raw_fd(), &[at, length]) }?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn reread(&mut self) {
        // A disk that can't be divided has no such call, and a partition in use keeps its place.
        // SAFETY: the call takes no argument.
        let _ = unsafe { call::blkrrpart(self.file.as_raw_fd()) };
    }

    fn commands(&self) -> Commands {
        self.commands
    }

    fn nvme(&mut self, command: &nvme::Command, data: &mut [u8]) -> Result<u32, Refusal> {
        let data = if command.reads { data } else { &mut [] };
        let mut passed = NvmeAdmin {
            opcode: command.opcode,
            nsid: command.namespace,
            address: data.as_mut_ptr() as u64,
            data_length: u32::try_from(data.len()).unwrap_or_default(),
            cdw10: command.cdw10,
            timeout: u32::try_from(command.timeout.as_millis()).unwrap_or(u32::MAX),
            ..NvmeAdmin::default()
        };
        // SAFETY: the structure is the one that the call takes, and its address is that of `data`, which lives longer
        // than the call, with its length.
        let status = unsafe { call::nvme_admin(self.file.as_raw_fd(), &raw mut passed) };
        match status {
            Ok(0) => Ok(passed.result),
            // Without the bits that say whether to try again.
            Ok(status) => Err(Refusal::Nvme((status & 0x7ff) as u16)),
            Err(error) => Err(Refusal::Lost(error.to_string())),
        }
    }

    fn ata(&mut self, command: &ata::Command, data: &mut [u8]) -> Result<ata::Registers, Refusal> {
        const FROM_DISK: libc::c_int = -3;
        const NO_DATA: libc::c_int = -1;
        let data = if command.reads { data } else { &mut [] };
        let (mut passed, mut sense) = (ata::pass_through(command), [0; 64]);
        let mut request = SgIo {
            interface: libc::c_int::from(b'S'),
            direction: if command.reads { FROM_DISK } else { NO_DATA },
            command_length: passed.len() as u8,
            sense_most: sense.len() as u8,
            iovecs: 0,
            data_length: u32::try_from(data.len()).unwrap_or_default(),
            data: data.as_mut_ptr().cast(),
            command: passed.as_mut_ptr(),
            sense: sense.as_mut_ptr(),
            timeout: 60_000,
            flags: 0,
            pack_id: 0,
            user: std::ptr::null_mut(),
            status: 0,
            masked_status: 0,
            message_status: 0,
            sense_length: 0,
            host_status: 0,
            driver_status: 0,
            residual: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: the structure is the one that the call takes; command, sense data and data live longer than the call,
        // and each length is that of its array.
        let called = unsafe { call::sg_io(self.file.as_raw_fd(), &raw mut request) };
        called.map_err(|error| Refusal::Lost(error.to_string()))?;
        if request.host_status != 0 {
            return Err(Refusal::Lost(format!("host status 0x{:x}", request.host_status)));
        }
        match (command.reads, request.status) {
            (true, 0) => Ok(ata::Registers::default()),
            (true, status) => Err(Refusal::Lost(format!("SCSI status 0x{status:02x}"))),
            _ => ata::registers(&sense[..usize::from(request.sense_length).min(sense.len())]),
        }
    }
}

const _: () = assert!(size_of::<NvmeAdmin>() == 72);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SgIo>() == 88);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::agent::wipe::{OrderedDisk, WipeLevel, rim, wipe_at};
    use crate::api::agent::OrderResult;

    /// A loop device over a file, taken apart at the end.
    struct Loop {
        path: String,
    }

    impl Loop {
        /// `None` without root's rights or loop devices.
        fn over(file: &std::path::Path, sectors: &str) -> Option<Loop> {
            let losetup =
                Command::new("losetup").args(["--find", "--show", "-b", sectors]).arg(file).output().ok()?;
            let path = String::from_utf8(losetup.stdout).ok()?.trim().to_owned();
            losetup.status.success().then_some(Loop { path })
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = Command::new("losetup").args(["--detach", &self.path]).status();
        }
    }

    #[test]
    fn a_loop_device_is_wiped_at_every_level() {
        const BYTES: u64 = 40 << 20;
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk");
        for sectors in ["512", "4096"] {
            std::fs::write(&image, vec![0x5a; BYTES as usize]).unwrap();
            let Some(disk) = Loop::over(&image, sectors) else {
                println!("skipped: a loop device needs root");
                return;
            };
            let facts = || {
                vec![DiskFacts {
                    id: "x".into(),
                    path: disk.path.clone(),
                    bytes: BYTES,
                    ..DiskFacts::default()
                }]
            };
            let bench = rim::Machine::new(facts);
            let ordered = [OrderedDisk { id: "x".into(), bytes: BYTES, serial: None }];
            let mut go = |_: Vec<_>| std::ops::ControlFlow::Continue(());
            let held = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&disk.path).unwrap();
            let busy = wipe_at(&bench, WipeLevel::Quick, &ordered, &mut go);
            assert!(
                matches!(&busy, OrderResult::Failed { why, .. } if why.contains("can't be opened")),
                "{busy:?}"
            );
            drop(held);
            for level in [WipeLevel::Quick, WipeLevel::Clear] {
                let done = wipe_at(&bench, level, &ordered, &mut go);
                let OrderResult::Done { certificate: Some(certificate) } = done else { panic!("{done:?}") };
                assert_eq!(certificate.disks[0].reached.known(), Some(level));
            }
            assert!(std::fs::read(&image).unwrap().iter().all(|byte| *byte == 0), "{sectors}");
        }
    }
}
