//! The operations that reading a disc's tree needs from its file system, whichever parser reads it.

use std::io;

use hadris_fs::sync::FileSystem;
use hadris_fs::{Error, ErrorKind, NodeId};

use super::tree::Kind;

/// Why a disc can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No volume of that kind.
    Unrecognised,
    /// A structure contradicts itself or the standard.
    Damaged(String),
    /// The thing named lies beyond the end of the image.
    Outside(String),
    /// The operating system failed a read, or the deadline passed.
    Io(String),
}

/// A mounted file system whose files are stretches of the image.
pub(super) trait Disc: FileSystem<DeviceError = io::Error> {
    /// Where the bytes of the file `node` lie, or why they can't be served as they lie.
    fn file(&mut self, node: NodeId) -> Result<Kind, Error<io::Error>>;

    /// Whether `error` says that a structure lies beyond the end of the image.
    fn is_outside(error: &Error<io::Error>) -> bool;

    /// `error`, met at `place`, as a message.
    fn trouble(error: &Error<io::Error>, place: &str) -> Trouble {
        let place = if place.is_empty() { "the root directory" } else { place };
        match error.kind() {
            ErrorKind::NotRecognized => Trouble::Unrecognised,
            ErrorKind::Io => Trouble::Io(device_words(error)),
            _ if Self::is_outside(error) => Trouble::Outside(format!("`{place}`")),
            _ => Trouble::Damaged(format!("{error} ({place})")),
        }
    }
}

fn device_words(error: &Error<io::Error>) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}
