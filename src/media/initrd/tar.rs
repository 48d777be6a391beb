//! Reads tar archives, as the data of Debian's packages are: POSIX ustar, with GNU's and POSIX's long
//! names (POSIX.1-2024 `pax`, "Extended Header" and "ustar Interchange Format"; GNU tar's manual,
//! "Basic Tar Format").

use std::io::Read;

use super::package::{self, Files, Limits};

const BLOCK: usize = 512;
/// Longest name, in bytes.
const LONGEST_NAME: u64 = 64 << 10;

/// Calls `files` with every regular file.
pub(super) fn read(archive: &mut dyn Read, limits: &mut Limits, files: &mut Files<'_>) -> Result<(), String> {
    let mut long: Option<String> = None;
    loop {
        let mut header = [0; BLOCK];
        let got = fill(archive, &mut header)?;
        if got == 0 || header == [0; BLOCK] {
            return Ok(());
        }
        if got < BLOCK {
            return Err("its archive ends in the middle of a header".into());
        }
        let Header { name, kind, size } = Header::parse(&header)?;
        limits.entry()?;
        let mut body = archive.take(size);
        match kind {
            b'L' | b'x' if size > LONGEST_NAME => {
                return Err(format!("its archive has a name of {size} bytes"));
            }
            b'L' => {
                let text = limits.bytes(&mut body, LONGEST_NAME)?;
                long = Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
            }
            b'x' => long = pax_path(&limits.bytes(&mut body, LONGEST_NAME)?).or(long),
            b'0' | b'\0' => {
                let name = long.take().unwrap_or(name);
                if !files(&name, size, &mut body, limits)? {
                    return Ok(());
                }
            }
            _ => long = None,
        }
        let left = body.limit();
        skip(archive, left + padding(size), limits)?;
    }
}

struct Header {
    name: String,
    kind: u8,
    size: u64,
}

impl Header {
    fn parse(header: &[u8; BLOCK]) -> Result<Header, String> {
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let field: u64 = header[148..156].iter().map(|byte| u64::from(*byte)).sum();
        let spaces = 8 * u64::from(b' ');
        if number(&header[148..156]) != Some(sum - field + spaces) {
            return Err("its archive is damaged: a header has not the sum that it names".into());
        }
        let size = number(&header[124..136]).ok_or("its archive is damaged: a size is no number")?;
        let prefix = match header[257..263] == *b"ustar\0" {
            true => text(&header[345..500]),
            false => String::new(),
        };
        let name = text(&header[..100]);
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // Of other kinds than files nothing follows, whatever they name as their size.
        let kind = header[156];
        let size = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        Ok(Header { name, kind, size })
    }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// An octal number, or GNU's binary one of a large file.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        let (high, low) = field[1..].split_at(field.len() - 9);
        let low = low.try_into().ok().map(u64::from_be_bytes);
        return low.filter(|low| high.iter().all(|byte| *byte == 0) && *low < 1 << 62);
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

/// The `path` of an extended header: records of `LENGTH KEY=VALUE\n`.
fn pax_path(mut records: &[u8]) -> Option<String> {
    let mut path = None;
    while let Some(space) = records.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(String::from_utf8_lossy(value.strip_suffix(b"\n")?).into_owned());
        }
        records = &records[length..];
    }
    path
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn skip(archive: &mut dyn Read, length: u64, limits: &mut Limits) -> Result<(), String> {
    limits.skip(archive, length)
}

/// As many bytes as there are.
fn fill(archive: &mut dyn Read, into: &mut [u8]) -> Result<usize, String> {
    let mut got = 0;
    while got < into.len() {
        match archive.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(package::damaged(&error)),
        }
    }
    Ok(got)
}
