//! Pointers of Git LFS: what lies in a work tree in place of a large file until `git lfs pull`
//! (git-lfs, docs/spec.md).

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What is wrong with such a file.
pub const WHY: &str = "it is a pointer of Git LFS and not the file itself: `git lfs pull` brings it";

/// How every pointer begins; the whole is shorter than 1024 bytes.
const BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
const LARGEST_BYTES: u64 = 1024;

/// Whether the file, of so many bytes, is a pointer. One that can't be read is told of elsewhere.
pub fn is_pointer(path: &Path, length: u64) -> bool {
    let mut begin = [0; BEGINS.len()];
    length < LARGEST_BYTES
        && File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok_and(|()| begin == BEGINS)
}
