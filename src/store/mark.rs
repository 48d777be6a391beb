//! `state.key`: shows that a state directory was initialised, and holds its keys. A missing or empty part
//! of an initialised directory was lost, and is never treated as new.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::directory;

use crate::model::hex;

/// The file's name in the state directory.
pub(super) const FILE: &str = "state.key";
/// First line; the number changes when earlier versions could not read the directory.
const FORMAT: &str = "voldemort state 2";
/// The same of a directory whose records lie in a database, and its leases in a journal.
const FORMER: &str = "voldemort state 1";
const NOTE: &str =
    "# This directory can't be used without this file. Back it up with the rest, and keep it secret.";

/// How far a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was being made when the daemon died: nothing was served from it.
    Making,
    /// It was being upgraded from version 0.1 when the daemon died: what that version wrote counts.
    Upgrading,
    /// It was upgraded when the daemon died: the log counts, and what earlier versions wrote is to go.
    Tidying,
    Ready,
}

impl Phase {
    const ALL: [(Phase, &str); 4] = [
        (Phase::Making, "making"),
        (Phase::Upgrading, "upgrading"),
        (Phase::Tidying, "tidying"),
        (Phase::Ready, "ready"),
    ];

    fn text(self) -> &'static str {
        Phase::ALL.into_iter().find(|(phase, _)| *phase == self).map_or("ready", |(_, text)| text)
    }
}

/// What the digests of records are keyed with.
pub(super) type RecordKey = [u8; 32];

/// What the file says.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// Whether the directory is one of before there was a log. It is written as one of today.
    pub is_former: bool,
    pub phase: Phase,
    pub lineage: String,
    pub token_key: [u8; 32],
    pub record_key: RecordKey,
}

/// Why the file can't be used.
#[derive(Debug)]
pub(super) enum MarkError {
    File(io::Error),
    /// It is empty, cut, or changed.
    Damaged,
    /// A later version wrote it.
    Later(String),
}

impl Mark {
    /// A new directory's; `fresh` are random bytes.
    pub(super) fn new(phase: Phase, fresh: &[u8; 48]) -> Mark {
        let mut token_key = [0; 32];
        token_key.copy_from_slice(&fresh[..32]);
        let lineage = hex(&fresh[32..]);
        Mark { is_former: false, phase, lineage, token_key, record_key: record_key(fresh) }
    }

    /// `None` if there is no such file.
    pub(super) fn read(directory: &Path) -> Result<Option<Mark>, MarkError> {
        let text = match std::fs::read(path(directory)) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| MarkError::Damaged)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MarkError::File(error)),
        };
        let first = text.lines().next().unwrap_or_default();
        let (body, digest) = text.rsplit_once("digest ").ok_or(MarkError::Damaged)?;
        if hex(&Sha256::digest(body)[..]) != digest.trim_end() {
            return Err(MarkError::Damaged);
        }
        if first != FORMAT && first != FORMER {
            return Err(MarkError::Later(first.to_owned()));
        }
        parse(body, first == FORMER).map(Some).ok_or(MarkError::Damaged)
    }

    /// Puts the file in place, whole, and on disk.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let Mark { is_former: _, phase, lineage, token_key, record_key } = self;
        let body = format!(
            "{FORMAT}\n{NOTE}\nphase {}\nlineage {lineage}\ntoken-key {}\nrecord-key {}\n",
            phase.text(),
            hex(token_key),
            hex(record_key)
        );
        let text = format!("{body}digest {}\n", hex(&Sha256::digest(&body)[..]));
        directory::put(&path(directory), text.as_bytes())
    }

    /// The same directory in another phase, on disk.
    pub(super) fn enter(&mut self, phase: Phase, directory: &Path) -> io::Result<()> {
        self.phase = phase;
        self.is_former = false;
        self.write(directory)
    }
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

fn record_key(fresh: &[u8; 48]) -> RecordKey {
    Sha256::new().chain_update(b"records\n").chain_update(fresh).finalize().into()
}

fn parse(body: &str, is_former: bool) -> Option<Mark> {
    let value = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let (phase, _) = Phase::ALL.into_iter().find(|(_, text)| value("phase") == Some(text))?;
    Some(Mark {
        is_former,
        phase,
        lineage: value("lineage")?.to_owned(),
        token_key: unhex(value("token-key")?)?,
        record_key: unhex(value("record-key")?)?,
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes?.try_into().ok()
}

/// Opens the directory's lock: one daemon at a time. `None` where the file system has no locks.
pub(super) fn lock(directory: &Path) -> io::Result<Option<nix::fcntl::Flock<File>>> {
    use nix::errno::Errno;
    use nix::fcntl::{Flock, FlockArg};
    match Flock::lock(File::open(directory)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_written_and_no_byte_of_it_may_change() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Mark::read(folder.path()).unwrap().is_none());
        let mut fresh = [9; 48];
        fresh[40] = 1;
        let mark = Mark::new(Phase::Ready, &fresh);
        mark.write(folder.path()).unwrap();
        let read = Mark::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (read.phase, &read.lineage, read.token_key),
            (Phase::Ready, &mark.lineage, mark.token_key)
        );
        assert_eq!(read.record_key, mark.record_key);
        let whole = std::fs::read(path(folder.path())).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(path(folder.path()), &bytes).unwrap();
            assert!(Mark::read(folder.path()).is_err(), "byte {at}");
            std::fs::write(path(folder.path()), &whole[..at]).unwrap();
            assert!(Mark::read(folder.path()).is_err(), "cut at {at}");
        }
    }
}
