//! Opens regular files only: a FIFO would block the reader, a device has no end, and the files that the
//! kernel generates in `/proc` or `/sys` report no true length.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::statfs::{FsType, fstatfs, statfs};

use super::{MediaError, identity};

/// Types of `statfs(2)` (linux/magic.h): proc, sysfs, debugfs, tracefs, securityfs, selinuxfs, bpf,
/// cgroup, cgroup2, configfs, efivarfs, devpts, mqueue, binfmt_misc, pstore.
const OF_THE_KERNEL: [u32; 15] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0xcafe_4a11,
    0x0027_e0eb,
    0x6367_7270,
    0x6265_6570,
    0xde5e_81e4,
    0x1cd1,
    0x1980_0202,
    0x4249_4e4d,
    0x6165_676c,
];
const MADE_UP: &str = "it lies in a file system of the kernel such as /proc or /sys, not on a disk";

/// Opens the regular file at `path` for reading, links followed.
///
/// # Errors
/// Whatever else lies there is named and never opened: opening some devices does something.
pub fn open(path: &Path) -> Result<(File, Metadata), MediaError> {
    let fail = |error: io::Error| identity::failed(path, &error);
    stat(path)?;
    // Another file may have taken its place since: open without blocking, and check again.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    expect(path, metadata.file_type())?;
    match fstatfs(&file) {
        Ok(found) if is_made_up(found.filesystem_type()) => Err(refused(path, MADE_UP)),
        _ => Ok((file, metadata)),
    }
}

/// What is known of the regular file at `path` without opening it.
///
/// # Errors
/// As those of [`open`].
pub fn stat(path: &Path) -> Result<Metadata, MediaError> {
    let metadata = std::fs::metadata(path).map_err(|error| identity::failed(path, &error))?;
    expect(path, metadata.file_type())?;
    match is_kernels(path) {
        true => Err(refused(path, MADE_UP)),
        false => Ok(metadata),
    }
}

/// The text of a small regular file, such as a key.
///
/// # Errors
/// As those of [`open`], and for more than `most` bytes or what is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String, MediaError> {
    let (file, _) = open(path)?;
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(|error| identity::failed(path, &error))?;
    match text.len() as u64 > most {
        true => Err(refused(path, &format!("it is larger than {most} bytes"))),
        false => Ok(text),
    }
}

/// Whether the kernel generates the file at `path`.
pub(super) fn is_kernels(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| is_made_up(found.filesystem_type()))
}

// The constants are 32 bits wide.
#[allow(
    clippy::unnecessary_cast,
    reason = "the field's width and sign differ between processors and C libraries"
)]
fn is_made_up(kind: FsType) -> bool {
    OF_THE_KERNEL.contains(&(kind.0 as u32))
}

fn expect(path: &Path, kind: FileType) -> Result<(), MediaError> {
    let found = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => return Err(refused(path, "it is a folder; name a file in it")),
        kind if kind.is_fifo() => "a FIFO (named pipe)",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() => "a block device; name an image file",
        kind if kind.is_char_device() => "a character device",
        _ => "something else",
    };
    Err(refused(path, &format!("it is not a regular file but {found}")))
}

fn refused(path: &Path, why: &str) -> MediaError {
    MediaError::Io { path: path.into(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn whatever_is_no_regular_file_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("fifo", at("link")).unwrap();
        let cases = [
            (at("fifo"), "a FIFO (named pipe)"),
            (at("link"), "a FIFO (named pipe)"),
            (at("socket"), "a socket"),
            (at(""), "it is a folder"),
            ("/dev/zero".into(), "a character device"),
            ("/dev/null".into(), "a character device"),
            ("/proc/self/maps".into(), "a file system of the kernel"),
            ("/sys/kernel/uevent_seqnum".into(), "a file system of the kernel"),
        ];
        for (path, why) in cases {
            if !path.exists() {
                continue;
            }
            let error = open(&path).unwrap_err();
            assert!(matches!(&error, MediaError::Io { why: found, .. } if found.contains(why)), "{error}");
            assert_eq!(stat(&path).unwrap_err(), error);
        }
        std::fs::write(at("key"), "12345").unwrap();
        assert_eq!(text(&at("key"), 5).unwrap(), "12345");
        assert!(text(&at("key"), 4).unwrap_err().to_string().ends_with("it is larger than 4 bytes"));
        assert!(matches!(text(&at("no"), 4), Err(MediaError::Missing { .. })));
    }
}
