//! Images that manifests name by their address, from web servers.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use sha2::{Digest, Sha256};

use crate::media::Fetch;
use crate::media::verify::Verifier;
use crate::model::hex;
use crate::source::download::{Download, DownloadError};

/// The folder of the state directory that they are fetched into.
pub(super) const FETCHED: &str = "fetched";
/// Bytes that a download leaves free: the state is stored on the same file system.
const LEFT: u64 = 256 * MEBIBYTE;
const MEBIBYTE: u64 = 1 << 20;
/// The room is looked at each time that so many bytes have come.
const STEP: u64 = 16 * MEBIBYTE;
/// How long an image that nothing names is kept: its revision may be gone back to.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the part of an image is kept that does not grow.
const PART_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The web, as this host reaches it.
#[derive(Debug)]
pub(super) struct Web;

impl Fetch for Web {
    fn fetch(
        &self,
        url: &str,
        sha256: &str,
        path: &Path,
        goes_on: &dyn Fn(u64, u64) -> bool,
    ) -> Result<(), String> {
        // One image may be fetched from two addresses at once: each download has a part of its own.
        let own = path.with_extension(format!("{}.iso", hex(&Sha256::digest(url)[..4])));
        let download = Download::new(url, &own);
        let came = bring(&download, sha256, path, goes_on);
        // From the other address. It may be served already: a file in its place would be taken for a change.
        if path.exists() {
            download.discard();
            return Ok(());
        }
        came?;
        download.keep(path).map_err(|error| error.to_string())
    }
}

/// Fetches what will be the file at `path`, unless that comes from elsewhere meanwhile, and checks it.
fn bring(
    download: &Download,
    sha256: &str,
    path: &Path,
    goes_on: &dyn Fn(u64, u64) -> bool,
) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut looked: Option<u64> = None;
    let mut lack: Option<String> = None;
    let fetched = download.run(&mut |done, total| {
        if looked.is_none_or(|at| done.abs_diff(at) >= STEP) {
            looked = Some(done);
            lack = lack_of_room(folder, done, total);
        }
        lack.is_none() && !path.exists() && goes_on(done, total.unwrap_or_default())
    });
    if let Some(why) = lack {
        download.discard();
        return Err(why);
    }
    if let Err(error) = fetched {
        // On a full disk, or at the end of a quota, the part keeps the state from being stored.
        if matches!(error, DownloadError::Disk { .. }) {
            download.discard();
        }
        return Err(error.to_string());
    }
    let found = Verifier::default().digest(download.part()).map_err(|error| error.to_string())?;
    if !found.eq_ignore_ascii_case(sha256) {
        download.discard();
        return Err(format!("what came has the sha256 {found}, and the manifest asks for {sha256}"));
    }
    Ok(())
}

/// Why the rest of a download may not be written into `folder`; `None` where it may, or where the room is not
/// known.
fn lack_of_room(folder: &Path, done: u64, total: Option<u64>) -> Option<String> {
    let found = statvfs(folder).ok()?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    let (has, room) = beyond(free, done, total)?;
    Some(format!(
        "it has {has}, and {} has room for {} MiB beside {} MiB that stay free for the state: make room, or put the \
         file into a folder of [media] paths",
        folder.display(),
        room / MEBIBYTE,
        LEFT / MEBIBYTE
    ))
}

/// The size of a download in words and the room for it in bytes, where it does not fit into `free` bytes.
fn beyond(free: u64, done: u64, total: Option<u64>) -> Option<(String, u64)> {
    let rest = total.map_or(0, |total| total.saturating_sub(done));
    if free >= rest.saturating_add(LEFT) {
        return None;
    }
    let has = match total {
        Some(total) => format!("{} MiB", total.div_ceil(MEBIBYTE)),
        None => format!("more than {} MiB", done / MEBIBYTE),
    };
    // What has come is removed again.
    Some((has, free.saturating_add(done).saturating_sub(LEFT)))
}

/// Removes images that are not in `used` and were last read long ago, and parts that nobody goes on with.
pub(super) fn sweep(folder: &Path, used: &BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        match path.extension().and_then(OsStr::to_str) {
            Some("iso") if !used.contains(&path) && is_older(&path, KEPT) => {
                if let Err(error) = std::fs::remove_file(&path) {
                    let path = path.display();
                    tracing::warn!(%path, %error, "this image is not needed any more and can't be removed");
                }
            }
            // With the note beside it that says where it is from.
            Some("part") if is_older(&path, PART_KEPT) => {
                Download::new("", &path.with_extension("")).discard();
            }
            _ => {}
        }
    }
}

/// Whether a file was neither written nor read for longer than `limit`.
fn is_older(path: &Path, limit: Duration) -> bool {
    let used = std::fs::metadata(path).and_then(|found| Ok(found.modified()?.max(found.accessed()?)));
    used.ok().and_then(|used| used.elapsed().ok()).is_some_and(|age| age > limit)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_download_leaves_room_for_the_state() {
        let mib = |number: u64| number * MEBIBYTE;
        assert_eq!(beyond(mib(1256), 0, Some(mib(1000))), None);
        assert_eq!(beyond(mib(1255), 0, Some(mib(1000))), Some(("1000 MiB".to_owned(), mib(999))));
        // Half of it is on the disk already.
        assert_eq!(beyond(mib(756), mib(500), Some(mib(1000))), None);
        assert_eq!(beyond(mib(755), mib(500), Some(mib(1000))), Some(("1000 MiB".to_owned(), mib(999))));
        assert_eq!(beyond(mib(256), mib(500), None), None);
        assert_eq!(beyond(mib(255), mib(500), None), Some(("more than 500 MiB".to_owned(), mib(499))));
        assert_eq!(beyond(0, 0, Some(u64::MAX)).map(|(_, room)| room), Some(0));
    }

    #[test]
    fn only_old_images_that_nothing_names_and_old_parts_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = |name: &str, age: Duration| {
            let then = SystemTime::now() - age - Duration::from_secs(60);
            let file = File::create(path(name)).unwrap();
            file.set_times(FileTimes::new().set_modified(then).set_accessed(then)).unwrap();
        };
        for name in ["old.iso", "used.iso", "old.iso.part.origin", "notes.txt"] {
            file(name, KEPT);
        }
        file("old.iso.part", PART_KEPT);
        // A download that takes long: what says where it is from was written at its begin.
        file("grows.iso.part", Duration::ZERO);
        file("grows.iso.part.origin", KEPT);
        file("new.iso", PART_KEPT);
        sweep(folder.path(), &[path("used.iso")].into());
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["grows.iso.part", "grows.iso.part.origin", "new.iso", "notes.txt", "used.iso"]);
    }
}
