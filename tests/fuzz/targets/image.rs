//! Disc images, to the index of what they hold.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use voldemort::media::image;

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "image",
    pace: 100,
    seeds,
    run,
    words: &["CD001", "NSR02", "NSR03", "BEA01", "TEA01", "RR", "NM", "SL", "CE", "ZF", "CL", "EL TORITO"],
};

const SECTOR: usize = 2048;
/// A number in two bytes, then a sector: an image is the sectors that are not all zeros.
const PART: usize = 2 + SECTOR;

/// Images made by xorriso and genisoimage of a small tree with links, long names and folders: see
/// `tests/fuzz/seeds/image/make`.
fn seeds() -> Vec<Vec<u8>> {
    let stored = seed::files(&super::root().join("tests/fuzz/seeds/image"));
    let images = stored.into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "sectors"));
    images.map(|(_, bytes)| bytes).collect()
}

/// The image in memory, and the path it can be opened by.
fn image(bytes: &[u8]) -> (File, PathBuf) {
    let file = File::from(memfd_create("image", MFdFlags::MFD_CLOEXEC).expect("memory for an image"));
    for part in bytes.chunks(PART).filter(|part| part.len() > 2) {
        let number = u64::from(u16::from_be_bytes([part[0], part[1]]));
        let mut sector = part[2..].to_vec();
        sector.resize(SECTOR, 0);
        file.write_all_at(&sector, number * SECTOR as u64).expect("memory");
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    (file, path)
}

fn run(bytes: &[u8]) {
    let (file, path) = image(bytes);
    let size = file.metadata().expect("a file in memory").len();
    let Ok(index) = image::open(&path) else { return };
    for (name, entry) in &index.files {
        assert!(!name.split('/').any(|part| matches!(part, "" | "." | "..")), "{name:?}");
        for extent in &*entry.extents {
            let end = extent.offset.checked_add(extent.length);
            assert!(end.is_some_and(|end| end <= size), "{name:?} lies at {extent:?} of {size}");
        }
        assert!(index.lookup(name).is_some(), "{name:?} is there and is not found");
    }
    for name in index.files.keys().chain(index.links.keys()).take(64) {
        let _ = index.lookup(&name.to_uppercase());
        let _ = index.list(name);
        let _ = index.nearest(name);
    }
    if let Ok(images) = image::boot_images(&path) {
        assert!(images.len() <= 4096, "{} boot images", images.len());
    }
}
