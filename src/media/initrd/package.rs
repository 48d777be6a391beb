//! The files of a package of modules: Debian's (`.deb`, `.udeb`), RPM, or the initrd of a distribution.

use std::io::{self, BufReader, Read};

use super::stretch::Stretch;
use super::unpack::{is_packed, unpacked};
use super::{cpio, tar};
use crate::media::{Entry, MediaError};

/// Takes the files of a package one by one: name, size in bytes, content. False is returned when no more are wanted.
pub(super) type Files<'f> = dyn FnMut(&str, u64, &mut dyn Read, &mut Limits) -> Result<bool, String> + 'f;

/// Most files of a package.
const MOST_FILES: u32 = 500_000;
/// Most bytes of a package, unpacked. Debian 12's largest kernel package has 0.5 GB.
const MOST_BYTES: u64 = 4 << 30;

/// What may still come of a package: one that is made to use up memory or time ends here.
pub(super) struct Limits {
    files: u32,
    bytes: u64,
}

impl Limits {
    pub(super) fn new() -> Limits {
        Limits { files: MOST_FILES, bytes: MOST_BYTES }
    }

    /// Counts one file.
    pub(super) fn entry(&mut self) -> Result<(), String> {
        self.files = self.files.checked_sub(1).ok_or(format!("it has more than {MOST_FILES} files"))?;
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), String> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or(format!("it has more than {} GiB when it is unpacked", MOST_BYTES >> 30))?;
        Ok(())
    }

    /// All bytes of `read`, which may be `most`.
    pub(super) fn bytes(&mut self, read: &mut dyn Read, most: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        read.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        self.count(bytes.len() as u64)?;
        match bytes.len() as u64 > most {
            true => Err(format!("a file in it has more than {most} bytes")),
            false => Ok(bytes),
        }
    }

    /// Exactly `size` bytes, which may be `most`.
    pub(super) fn exactly(&mut self, read: &mut dyn Read, size: u64, most: u64) -> Result<Vec<u8>, String> {
        let bytes = self.bytes(&mut read.take(size), most)?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(ENDS.into()),
        }
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, read: &mut dyn Read, length: u64) -> Result<(), String> {
        self.count(length)?;
        let skipped = io::copy(&mut read.take(length), &mut io::sink()).map_err(|error| damaged(&error))?;
        match skipped == length {
            true => Ok(()),
            false => Err(ENDS.into()),
        }
    }
}

pub(super) const ENDS: &str = "it is not complete: it ends in the middle of a file";

/// An error of an unpacker, as a message.
pub(super) fn damaged(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is not complete: its packed data end early".into(),
        _ => format!("its data are damaged: {error}"),
    }
}

/// Calls `files` with the files of a package that manifests call `name`.
///
/// # Errors
/// What can't be read, is no package, or is damaged, with `name` in front.
pub(super) fn read(name: &str, package: &Entry, files: &mut Files<'_>) -> Result<(), MediaError> {
    let fail = |why| MediaError::BadPackage { path: name.into(), why };
    let mut bytes = Stretch::open(package)?;
    let mut head = [0; 8];
    bytes.read_exact(&mut head).map_err(|_| fail(NO_PACKAGE.into()))?;
    let mut limits = Limits::new();
    match head {
        _ if head == *AR => deb(&mut bytes, package.len() - 8, &mut limits, files).map_err(fail),
        [0xed, 0xab, 0xee, 0xdb, ..] => rpm(&mut bytes, &mut limits, files).map_err(fail),
        _ if cpio::is_archive(&head) || is_packed(&head) => {
            let whole = BufReader::new(io::Cursor::new(head).chain(bytes));
            initrd(Box::new(whole), true, &mut limits, files).map_err(fail)
        }
        _ => Err(fail(NO_PACKAGE.into())),
    }
}

const NO_PACKAGE: &str = "it is no package with modules: a .deb, .udeb or .rpm is expected, or an initrd";
/// deb(5), ar(5).
const AR: &[u8; 8] = b"!<arch>\n";

/// A package of Debian: an `ar` archive with a member `data.tar`, packed.
fn deb(
    bytes: &mut dyn Read,
    mut left: u64,
    limits: &mut Limits,
    files: &mut Files<'_>,
) -> Result<(), String> {
    const HEADER: u64 = 60;
    loop {
        let Some(rest) = left.checked_sub(HEADER) else {
            return Err("it is not complete: its data (data.tar) are missing".into());
        };
        let header = limits.exactly(bytes, HEADER, HEADER)?;
        let field = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).trim().to_owned();
        let (name, size) = (field(0, 16), field(48, 58).parse::<u64>());
        let (Ok(size), b"`\n") = (size, &header[58..60]) else {
            return Err("it is damaged: a header of its archive can't be read".into());
        };
        if size > rest {
            return Err(format!("it is not complete: {name} has {size} bytes, and {rest} are there"));
        }
        if name.starts_with("data.tar") {
            let mut data = unpacked(bytes.take(size)).map_err(|error| damaged(&error))?;
            return tar::read(&mut data, limits, files);
        }
        let padded = (size + size % 2).min(rest);
        limits.skip(bytes, padded)?;
        left = rest - padded;
    }
}

/// An RPM: a lead of 96 bytes, the headers of signature and package, and a packed cpio archive
/// (rpm.org, "RPM V4 Package format").
fn rpm(bytes: &mut dyn Read, limits: &mut Limits, files: &mut Files<'_>) -> Result<(), String> {
    const LEAD: u64 = 96;
    limits.skip(bytes, LEAD - AR.len() as u64)?;
    let signature = rpm_header(bytes, limits)?;
    limits.skip(bytes, signature.next_multiple_of(8) - signature)?;
    rpm_header(bytes, limits)?;
    let mut data = unpacked(bytes).map_err(|error| damaged(&error))?;
    cpio::read(&mut data, limits, files).map(drop)
}

/// An initrd: archives one after the other with zeros in between, of which all but the last are plain (that with
/// microcode is one); in what is packed there may be several again.
fn initrd<'a>(
    mut bytes: Box<dyn Read + 'a>,
    may_be_packed: bool,
    limits: &mut Limits,
    files: &mut Files<'_>,
) -> Result<(), String> {
    const MOST: usize = 16;
    for _ in 0..MOST {
        let Some(first) = after_zeros(&mut bytes).map_err(|error| damaged(&error))? else { return Ok(()) };
        let mut head = vec![first];
        bytes.by_ref().take(5).read_to_end(&mut head).map_err(|error| damaged(&error))?;
        let (is_archive, is_packed) = (cpio::is_archive(&head), is_packed(&head));
        let mut whole: Box<dyn Read + 'a> = Box::new(io::Cursor::new(head).chain(bytes));
        if is_archive {
            if !cpio::read(&mut whole, limits, files)? {
                return Ok(());
            }
            bytes = whole;
        } else if is_packed && may_be_packed {
            let plain = unpacked(whole).map_err(|error| damaged(&error))?;
            return initrd(Box::new(BufReader::new(plain)), false, limits, files);
        } else {
            return Err("an archive in it is packed in a way that is not known: gzip, xz and zstd are".into());
        }
    }
    Err(format!("it has more than {MOST} archives"))
}

/// The first byte that is not zero.
fn after_zeros(bytes: &mut dyn Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    while bytes.read(&mut byte)? == 1 {
        if byte[0] != 0 {
            return Ok(Some(byte[0]));
        }
    }
    Ok(None)
}

/// Passes over a header and returns the length of its store of data.
fn rpm_header(bytes: &mut dyn Read, limits: &mut Limits) -> Result<u64, String> {
    const INTRO: u64 = 16;
    const INDEX: u64 = 16;
    let intro = limits.exactly(bytes, INTRO, INTRO)?;
    let number =
        |at: usize| u64::from(u32::from_be_bytes([intro[at], intro[at + 1], intro[at + 2], intro[at + 3]]));
    if intro[..4] != [0x8e, 0xad, 0xe8, 1] {
        return Err("it is damaged: a header can't be read".into());
    }
    let (entries, store) = (number(8), number(12));
    limits.skip(bytes, entries * INDEX + store)?;
    Ok(store)
}
