//! cpio archives in the format `newc`, as the kernel unpacks an initrd (Documentation/driver-api/early-userspace/
//! buffer-format.rst) and as RPM packs its files.

use std::io::{self, Read, Write};

use super::package::{Files, Limits};

const MAGIC: &[u8; 6] = b"070701";
const HEADER: u64 = 110;
const TRAILER: &str = "TRAILER!!!";
/// Longest name, in bytes: `PATH_MAX` of the kernel, which unpacks no longer one.
const LONGEST_NAME: u64 = 4096;

/// Types of `st_mode` (inode(7)).
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// Writes an archive whose bytes depend on its files alone: all belong to root and have no time.
pub(super) struct Writer<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Writer<W> {
        Writer { out, inode: 0 }
    }

    /// A folder; those above it must have been written.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.header(path, FOLDER | 0o755, 0, (0, 0))
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.header(path, LINK | 0o777, target.len() as u32, (0, 0))?;
        self.body(target.as_bytes())
    }

    /// A device of characters with this major and minor number.
    pub(super) fn device(&mut self, path: &str, number: (u32, u32)) -> io::Result<()> {
        self.header(path, DEVICE | 0o600, 0, number)
    }

    /// A file with these permissions.
    ///
    /// # Errors
    /// Those of writing, and for 4 GiB and more, which the format can't say.
    pub(super) fn file(&mut self, path: &str, permissions: u32, bytes: &[u8]) -> io::Result<()> {
        let size = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
        self.header(path, REGULAR | permissions, size, (0, 0))?;
        self.body(bytes)
    }

    /// Ends the archive.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0, (0, 0))?;
        Ok(self.out)
    }

    fn header(&mut self, path: &str, mode: u32, size: u32, device: (u32, u32)) -> io::Result<()> {
        self.inode += 1;
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        let name = path.len() as u32 + 1;
        self.out.write_all(MAGIC)?;
        let (major, minor) = device;
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0];
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        let length = HEADER + u64::from(name);
        self.zeros(1 + padding(length))
    }

    fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.zeros(padding(bytes.len() as u64))
    }

    fn zeros(&mut self, many: u64) -> io::Result<()> {
        self.out.write_all(&[0; 4][..many as usize])
    }
}

/// Calls `files` with every regular file; whether more are wanted.
///
/// # Errors
/// What is damaged, or ends without its trailer.
pub(super) fn read(
    archive: &mut dyn Read,
    limits: &mut Limits,
    files: &mut Files<'_>,
) -> Result<bool, String> {
    loop {
        let header = limits.exactly(archive, HEADER, HEADER)?;
        if header[..5] != MAGIC[..5] || !matches!(header[5], b'1' | b'2') {
            return Err("its archive is damaged or of a format that is not known: newc is expected".into());
        }
        let field = |at: usize| {
            let text = std::str::from_utf8(&header[6 + 8 * at..14 + 8 * at]).ok();
            let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
            number.ok_or("its archive is damaged: a header holds no numbers")
        };
        let (mode, size, named) = (field(1)?, field(6)?, field(11)?);
        let name = limits.exactly(archive, named, LONGEST_NAME)?;
        limits.skip(archive, padding(HEADER + named))?;
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        if name == TRAILER {
            return Ok(true);
        }
        limits.entry()?;
        let mut left = size;
        if mode & 0o170_000 == u64::from(REGULAR) {
            let mut body = archive.take(size);
            if !files(&name, size, &mut body, limits)? {
                return Ok(false);
            }
            left = body.limit();
        }
        limits.skip(archive, left + padding(size))?;
    }
}

/// Whether bytes that begin like this are an archive that [`read`] reads.
pub(super) fn is_archive(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.starts_with(b"070702")
}

/// To a multiple of four.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.folder("sbin").unwrap();
        writer.file("init", 0o755, b"#!").unwrap();
        writer.file("empty", 0o644, b"").unwrap();
        writer.link("sbin/modprobe", "/init").unwrap();
        writer.device("console", (5, 1)).unwrap();
        writer.file("five", 0o644, b"12345").unwrap();
        writer.end().unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let archive = archive();
        assert_eq!(archive.len() % 4, 0);
        let mut found = Vec::new();
        let mut note = |name: &str, size: u64, body: &mut dyn Read, limits: &mut Limits| {
            found.push((name.to_owned(), limits.exactly(body, size, 100)?));
            Ok(true)
        };
        read(&mut &archive[..], &mut Limits::new(), &mut note).unwrap();
        let expected = [("init", "#!"), ("empty", ""), ("five", "12345")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    }

    #[test]
    fn an_archive_that_is_cut_or_bent_ends() {
        let archive = archive();
        let read = |bytes: &[u8]| read(&mut &bytes[..], &mut Limits::new(), &mut |_, _, _, _| Ok(true));
        for end in 0..archive.len() - 4 {
            assert!(read(&archive[..end]).is_err(), "{end}");
        }
        for at in 0..archive.len() {
            let mut bent = archive.clone();
            bent[at] = b'f';
            let _ = read(&bent);
        }
    }

    /// GNU cpio reads the same: bytes that the kernel would take as well.
    #[test]
    fn another_program_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cpio");
        std::fs::write(&path, archive()).unwrap();
        let Ok(listed) =
            std::process::Command::new("cpio").arg("-tv").stdin(std::fs::File::open(&path).unwrap()).output()
        else {
            return;
        };
        let text = String::from_utf8(listed.stdout).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(8)).collect();
        assert!(listed.status.success(), "{text}");
        assert!(text.contains("sbin/modprobe -> /init") && text.contains("5,   1"), "{text}");
        assert!(names.starts_with(&["sbin", "init", "empty"]), "{names:?}");
    }
}
