//! The output of the guest on its serial line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::model::printable::is_printable;

/// Follows the file that QEMU writes the serial line to.
#[derive(Debug)]
pub struct Serial {
    path: PathBuf,
    position: u64,
    /// The beginning of a line whose end has not come yet.
    unfinished: Vec<u8>,
}

/// No line for people is longer; a guest that never ends a line must not fill the memory.
const LONGEST: usize = 4096;

impl Serial {
    pub fn follow(path: &Path) -> Serial {
        Serial { path: path.to_owned(), position: 0, unfinished: Vec::new() }
    }

    /// Lines since the last call. The unfinished last line is included (and again when it is complete),
    /// because a prompt has no end. A missing file has no lines.
    pub fn lines(&mut self) -> Vec<String> {
        let mut fresh = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.position))?;
            file.take(1 << 20).read_to_end(&mut fresh)
        });
        match read {
            Ok(length) if length > 0 => self.position += length as u64,
            _ => return Vec::new(),
        }
        self.unfinished.extend_from_slice(&fresh);
        let mut lines: Vec<String> = self
            .unfinished
            .split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let rest = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.unfinished.drain(..rest);
        if self.unfinished.len() > LONGEST {
            self.unfinished.clear();
        }
        lines.retain(|line| !line.is_empty());
        lines
    }
}

/// The last `count` lines of a log, made safe for a terminal.
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(64 << 10);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let lines: Vec<String> = text.lines().map(printable).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// Terminal escape sequences (ECMA-48 5.4) are left out, other control characters escaped.
pub fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' if characters.peek() == Some(&'[') => {
                characters.next();
                characters.by_ref().find(|end| ('\x40'..='\x7e').contains(end));
            }
            '\t' => out.push(' '),
            other if is_printable(other) => out.push(other),
            other => out.extend(other.escape_default()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial");
        let mut serial = Serial::follow(&path);
        assert!(serial.lines().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\r\ndemo-1 log").unwrap();
        assert_eq!(serial.lines(), ["one\r", "demo-1 log"]);
        file.write_all(b"in: ").unwrap();
        assert_eq!(serial.lines(), ["demo-1 login: "]);
        assert!(serial.lines().is_empty());
    }

    #[test]
    fn nothing_from_a_guest_reaches_the_terminal_raw() {
        assert_eq!(printable("\x1b[2J\x1b[0;1miPXE\x1b[0m 1.0\x07\r"), "iPXE 1.0\\u{7}");
        assert_eq!(printable("a\x1bcb\u{9b}2J"), "a\\u{1b}cb\\u{9b}2J");
        assert_eq!(printable("\x1b["), "");
    }

    #[test]
    fn the_tail_skips_empty_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\n\n\nb\r\n\x1b[0m\nc").unwrap();
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert!(tail(Path::new("/no/such/log"), 2).is_empty());
    }
}
