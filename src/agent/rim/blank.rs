//! Which disks are blank. A disk is read once for as long as it is attached.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::agent::facts::{AttachedDisk, Root, disk_names};
use crate::thread;

/// What is looked at on each end of a disk, in bytes.
const END: u64 = 1 << 20;
/// How long all disks together may take to be read: one that hangs must not keep the machine from speaking.
const READING: Duration = Duration::from_secs(20);

/// What was found on each disk.
#[derive(Default)]
pub(super) struct Blanks(Arc<Mutex<BTreeMap<AttachedDisk, bool>>>);

impl Blanks {
    /// Forgets all, as after a wipe; what is found on a disk that is being read now does not count either.
    pub(super) fn forget(&mut self) {
        self.0 = Arc::default();
    }

    /// Reads the disks that are not known yet, all at once, and forgets those that are not attached any more.
    pub(super) fn look(&self, root: &Root) {
        let mut disks: Vec<AttachedDisk> =
            disk_names(root).iter().map(|name| AttachedDisk::of(root, name)).collect();
        {
            let mut known = lock(&self.0);
            known.retain(|disk, _| disks.contains(disk));
            disks.retain(|disk| !known.contains_key(disk));
        }
        let (sender, receiver) = mpsc::channel();
        let mut open = 0;
        for disk in disks {
            let (sender, all) = (sender.clone(), Arc::clone(&self.0));
            let path = root.path(&format!("dev/{}", disk.name()));
            let work = move || {
                let blank = is_blank(&path).unwrap_or(false);
                lock(&all).insert(disk, blank);
                let _ = sender.send(());
            };
            open += usize::from(thread::start("look", work).is_ok());
        }
        let deadline = Instant::now() + READING;
        while open > 0 && receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {
            open -= 1;
        }
    }

    /// Whether the disk that has this name now was found to be blank.
    pub(super) fn is_blank(&self, root: &Root, name: &str) -> bool {
        lock(&self.0).get(&AttachedDisk::of(root, name)).copied().unwrap_or(false)
    }
}

/// Whether the first and the last MiB hold zeros alone: then there is no signature of a table or a file system either.
fn is_blank(path: &Path) -> io::Result<bool> {
    let mut disk = File::open(path)?;
    let size = disk.seek(SeekFrom::End(0))?;
    let mut buffer = vec![0; END as usize];
    for at in [0, size.saturating_sub(END)] {
        let length = (size - at).min(END) as usize;
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut buffer[..length])?;
        if buffer[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_anything_is_not_blank() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for (size, written, blank) in [
            (8 << 20, None, true),
            (8 << 20, Some(510), false),
            (8 << 20, Some((8 << 20) - 1), false),
            (8 << 20, Some(4 << 20), true),
            (4096, None, true),
            (4096, Some(0), false),
        ] {
            let mut bytes = vec![0u8; size];
            if let Some(at) = written {
                bytes[at as usize] = 0x55;
            }
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_blank(&path).unwrap(), blank, "{size} {written:?}");
        }
    }

    #[test]
    fn a_disk_that_gets_the_name_and_has_the_size_of_another_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let attach = |serial: &str, sequence: &str, data: u8| {
            write("sys/block/sda/size", b"16\n");
            write("sys/block/sda/device/serial", serial.as_bytes());
            write("sys/block/sda/diskseq", sequence.as_bytes());
            write("dev/sda", &[data; 8192]);
        };
        let mut blanks = Blanks::default();
        let is_blank = |blanks: &Blanks| {
            blanks.look(&root);
            blanks.is_blank(&root, "sda")
        };
        attach("A", "7", 0);
        assert!(is_blank(&blanks));
        write("dev/sda", &[1; 8192]);
        assert!(is_blank(&blanks), "it is read once");
        blanks.forget();
        assert!(!is_blank(&blanks), "after a wipe it is read again");
        attach("A", "7", 0);
        blanks.forget();
        assert!(is_blank(&blanks));
        attach("B", "7", 1);
        assert!(!blanks.is_blank(&root, "sda"), "nothing is known of it before it is read");
        assert!(!is_blank(&blanks), "it has another serial number");
        attach("B", "8", 0);
        assert!(is_blank(&blanks), "the kernel has added it anew");
        attach("A", "7", 1);
        assert!(!is_blank(&blanks), "what is not attached is forgotten");
    }
}
