//! Pointers of Git LFS: what lies in a work tree in place of a large file until `git lfs pull`
//! (git-lfs, docs/spec.md).

use std::io::Read;
use std::path::Path;

use super::regular;

/// What is wrong with such a file in a directory.
pub const WHY: &str = "it is a pointer of Git LFS and not the file itself: `git lfs pull` brings it";

/// The same where the file is one of a commit: nobody pulls there.
pub const WHY_IN_GIT: &str = "it is a pointer of Git LFS and not the file itself, which the daemon does not fetch: \
    put the file into a folder of `[media] paths` in the daemon's file, or into the repository itself";

/// How every pointer begins; the whole is shorter than 1024 bytes.
const BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
const LARGEST_BYTES: u64 = 1024;

/// Whether the file, of so many bytes, is a pointer. One that can't be read is told of elsewhere.
pub fn is_pointer(path: &Path, length: u64) -> bool {
    let mut begin = [0; BEGINS.len()];
    length < LARGEST_BYTES
        && regular::open(path)
            .is_ok_and(|(mut file, _)| file.read_exact(&mut begin).is_ok() && begin == BEGINS)
}
