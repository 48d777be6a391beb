//! The bytes that a served name stands for: in memory, or a stretch of a file on disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// A run of bytes inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Byte offset from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The identity of a file at the time it was read; another identity means other bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub modified: i128,
}

/// The device of files that are known by their content; no file system has it.
const BY_CONTENT: u64 = u64::MAX;

impl FileId {
    /// The modification time of a copy that this program made and named after its content, in nanoseconds
    /// since the epoch. Any write to such a file sets another time, so that the copy counts as unknown
    /// until its content was compared with its name again. Whole, even seconds, because some file systems
    /// store no others.
    pub const SEAL: i128 = 1_234_567_890_000_000_000;
    /// Hexadecimal digits in the name of such a copy (SHA-1 of a git blob).
    const NAME_DIGITS: usize = 40;

    /// The identity of a sealed copy with this name: the same wherever and whenever the copy was
    /// made. `None` if the name is no digest.
    pub fn of_content(name: &str, size: u64) -> Option<FileId> {
        let digits = name.len() == Self::NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (first, rest) = digits.then(|| name.split_at(16))?;
        let inode = u64::from_str_radix(first, 16).ok()?;
        let modified = i128::from_str_radix(rest, 16).ok()?;
        Some(FileId { device: BY_CONTENT, inode, size, modified })
    }

    /// Whether the file with the identity `found` on disk still has the bytes of this one.
    pub fn is_kept_by(&self, found: &FileId) -> bool {
        match self.device {
            BY_CONTENT => found.size == self.size && found.modified == Self::SEAL,
            _ => self == found,
        }
    }

    /// When the file was changed last, in nanoseconds since the epoch; `None` for one that is known by
    /// its content.
    pub fn changed_at(&self) -> Option<i128> {
        (self.device != BY_CONTENT).then_some(self.modified)
    }
}

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FileId { device, inode, size, modified } = self;
        write!(f, "{device:x}-{inode:x}-{size:x}-{modified:x}")
    }
}

/// The bytes behind a name.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Bytes),
    /// The concatenation of `extents` of the file at `path`, which is to be read only while
    /// its identity is still `id`.
    File {
        path: Arc<Path>,
        id: FileId,
        extents: Arc<[Extent]>,
    },
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { extents, .. } => extents.iter().map(|extent| extent.length).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_is_known_by_its_name_and_others_by_all_they_are() {
        let name = "5479acb847ec85b155d86be65b7d7c6218153c00";
        let copy = FileId::of_content(name, 7).unwrap();
        let found = FileId { device: 1, inode: 2, size: 7, modified: FileId::SEAL };
        assert!(copy.is_kept_by(&found) && copy.is_kept_by(&FileId { inode: 3, ..found }));
        assert!(!copy.is_kept_by(&FileId { size: 8, ..found }));
        assert!(!copy.is_kept_by(&FileId { modified: FileId::SEAL + 1, ..found }));
        assert_eq!((copy.changed_at(), found.changed_at()), (None, Some(FileId::SEAL)));
        assert!(found.is_kept_by(&found) && !found.is_kept_by(&FileId { inode: 3, ..found }));
        assert_ne!(FileId::of_content(&name.replace('5', "6"), 7), Some(copy));
        for name in ["", "vmlinuz", &name[1..], &name.replace('a', "g")] {
            assert_eq!(FileId::of_content(name, 7), None, "{name}");
        }
    }
}
