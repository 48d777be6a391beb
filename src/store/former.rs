//! State directories of earlier versions: read once, when they are upgraded, and never written.
//!
//! | version | records | leases of IPv4 addresses |
//! |---|---|---|
//! | cb52119 (0.1) | `state.redb`, without digests | `leases.journal` |
//! | aa93fd4 | `records.redb`, under digests (`seal`) | `leases4.journal` |
//!
//! In a directory of today texts lie under the names of both, which those versions refuse: none of them may
//! take the directory for a new one.

pub(super) mod journal;
mod journal01;
mod record;
pub(super) mod records;
pub(super) mod seal;
mod upgrade;
pub(super) mod v01;
pub(super) mod v02;

use std::io;
use std::path::Path;

/// In the place of version 0.1's file: that version refuses it instead of taking the directory for new.
const REFUSAL: &str = "This is no database: a later version of voldemort than 0.1 keeps its state in records.redb. \
                       Do not remove this file: version 0.1 would take the directory for a new one and install \
                       machines again.\n";
/// In the places of the files that came after.
const LATER_REFUSAL: &str = "This is no file of records: a later version of voldemort keeps its state in \
                             records.snapshot and records.N.log. Do not remove this file: an earlier version would \
                             take the directory for a damaged or a new one.\n";

/// Files of earlier versions whose places are taken, and the texts there.
const PLACES: [(&str, &str); 3] =
    [(v01::FILE, REFUSAL), (records::FILE, LATER_REFUSAL), (journal::FILE, LATER_REFUSAL)];

/// The content of a file that an earlier version used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormerFile {
    Empty,
    /// The text that is there on purpose.
    Text,
    /// A file of that version, or another one.
    Other,
}

/// The content of one of these files.
fn place(directory: &Path, (file, text): (&str, &str)) -> FormerFile {
    match std::fs::read(directory.join(file)) {
        Ok(bytes) if bytes == text.as_bytes() => FormerFile::Text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FormerFile::Empty,
        _ => FormerFile::Other,
    }
}

/// The content of each file, with its name.
pub(super) fn places(directory: &Path) -> [(&'static str, FormerFile); 3] {
    PLACES.map(|one| (one.0, place(directory, one)))
}

/// The content of one file.
pub(super) fn place_of(directory: &Path, file: &str) -> FormerFile {
    places(directory)
        .into_iter()
        .find(|(name, _)| *name == file)
        .map_or(FormerFile::Empty, |(_, place)| place)
}

/// Puts the texts in place, of whatever was there.
pub(super) fn refuse(directory: &Path) -> io::Result<()> {
    for one in PLACES.into_iter().filter(|one| place(directory, *one) != FormerFile::Text) {
        super::directory::put(&directory.join(one.0), one.1.as_bytes())?;
    }
    Ok(())
}
