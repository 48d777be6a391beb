//! Git LFS pointers: the text in a work tree in place of a large file until `git lfs pull` (git-lfs,
//! docs/spec.md).

use std::io::Read;
use std::path::Path;

use super::regular;

/// Why such a file in a directory can't be used.
pub(super) const WHY: &str = "it is a Git LFS pointer, not the file itself: run `git lfs pull`";

/// The same for a file of a commit, where no work tree exists.
pub(super) const WHY_IN_GIT: &str = "it is a Git LFS pointer, not the file itself, which the daemon does not fetch: \
    put the file into a folder of `[media] paths` in the daemon's file, or into the repository itself";

/// How every pointer begins; the whole is shorter than 1024 bytes.
const BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
const LARGEST_BYTES: u64 = 1024;

/// Whether the file, of this length, is a pointer. One that can't be read is reported elsewhere.
pub(super) fn is_pointer(path: &Path, length: u64) -> bool {
    let mut begin = [0; BEGINS.len()];
    length < LARGEST_BYTES
        && regular::open(path)
            .is_ok_and(|(mut file, _)| file.read_exact(&mut begin).is_ok() && begin == BEGINS)
}
