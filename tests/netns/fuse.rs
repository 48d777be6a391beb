//! A file server that can stop answering: a file system of one file, served to the kernel by the FUSE
//! protocol (linux/fuse.h, version 7.31). As with NFS, each access to a file is a request.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::net::skipped;

pub(crate) const NAME: &str = "image";
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// Unmounted with this.
pub(crate) struct Away {
    at: PathBuf,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl Away {
    /// `None`, with a loud word, where the kernel can't do it.
    pub(crate) fn mount(at: &Path, bytes: Vec<u8>) -> Option<Away> {
        let Ok(device) = File::options().read(true).write(true).open("/dev/fuse") else {
            return skipped("there is no /dev/fuse here");
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(error) = mount(Some("away"), at, Some("fuse"), flags, Some(options.as_str())) {
            return skipped(&format!("FUSE can't be mounted here: {error}"));
        }
        let hangs: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let mine = hangs.clone();
        std::thread::spawn(move || serve(device, &bytes, &mine));
        Some(Away { at: at.into(), hangs })
    }

    /// From now on nothing is answered, or everything again.
    pub(crate) fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().unwrap() = hangs;
        self.hangs.1.notify_all();
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.hang(false);
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, bytes: &[u8], hangs: &(Mutex<bool>, Condvar)) {
    let mut request = vec![0; 64 << 10];
    loop {
        // What it has not read yet, the kernel lets a process that is killed go without.
        drop(hangs.1.wait_while(hangs.0.lock().unwrap(), |hangs| *hangs).unwrap());
        let Ok(length) = device.read(&mut request) else { return };
        let request = &request[..length];
        let Some(answer) = answer(number(request, 4, 4), number(request, 16, 8), &request[40..], bytes)
        else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        reply.extend(error.to_ne_bytes());
        reply.extend(&request[8..16]);
        reply.extend(body);
        // The client may be gone.
        let _ = device.write(&reply);
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_le_bytes(number)
}

/// `None` for what is not answered.
fn answer(kind: u64, node: u64, body: &[u8], bytes: &[u8]) -> Option<Result<Vec<u8>, i32>> {
    const LOOKUP: u64 = 1;
    const GETATTR: u64 = 3;
    const OPEN: u64 = 14;
    const READ: u64 = 15;
    const STATFS: u64 = 17;
    const RELEASE: u64 = 18;
    const INIT: u64 = 26;
    const OPENDIR: u64 = 27;
    const READDIR: u64 = 28;
    const RELEASEDIR: u64 = 29;
    const SILENT: [u64; 3] = [2, 36, 42];
    Some(Ok(match kind {
        kind if SILENT.contains(&kind) => return None,
        LOOKUP if body.starts_with(NAME.as_bytes()) => {
            [words(&[FILE, 0, 0, 0, 0]), attributes(FILE, bytes.len())].concat()
        }
        LOOKUP => return Some(Err(libc::ENOENT)),
        GETATTR => [words(&[0, 0]), attributes(node, bytes.len())].concat(),
        OPEN | OPENDIR => words(&[0, 0]),
        READ => {
            let at = (number(body, 8, 8) as usize).min(bytes.len());
            let end = (at + number(body, 16, 4) as usize).min(bytes.len());
            bytes[at..end].to_vec()
        }
        STATFS => vec![0; 80],
        RELEASE | RELEASEDIR | READDIR => Vec::new(),
        INIT => {
            let mut reply = vec![0; 64];
            reply[0] = 7;
            reply[4] = 31;
            reply[20..24].copy_from_slice(&4096u32.to_ne_bytes());
            reply
        }
        _ => return Some(Err(libc::ENOSYS)),
    }))
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct fuse_attr`.
fn attributes(node: u64, size: usize) -> Vec<u8> {
    let (size, mode) = if node == ROOT { (0, 0o40755) } else { (size as u64, 0o100644) };
    let mut all = words(&[node, size, size.div_ceil(512), 1, 1, 1]);
    let rest: [u32; 10] = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    all.extend(rest.iter().flat_map(|word| word.to_ne_bytes()));
    all
}
