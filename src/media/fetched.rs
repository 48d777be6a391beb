//! Images that manifests name by their address: they are fetched once, into a folder of the daemon's, and are
//! known by their digest alone.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::MediaError;

/// How long a failed download is not tried again.
const PAUSE: Duration = Duration::from_secs(60);

/// Fetches files from web servers.
pub trait Fetch: Debug + Send + Sync {
    /// Brings the file at `url` to `path`, which is not there, if its SHA-256 is `sha256`. `goes_on` is called with
    /// the bytes done and their number (0 where it is not known) and ends the work when it returns false.
    fn fetch(
        &self,
        url: &str,
        sha256: &str,
        path: &Path,
        goes_on: &dyn Fn(u64, u64) -> bool,
    ) -> Result<(), String>;
}

/// Where images that were fetched lie, and what fetches them.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub folder: PathBuf,
    pub fetch: Arc<dyn Fetch>,
    pub failures: Arc<Failures>,
}

/// The failures of the last minute by address and digest.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, (Instant, String)>>);

/// Whether a manifest's name of an image is an address.
pub fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// The file's name in an address.
pub(super) fn last_part(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, last) = path.split_once("://")?.1.rsplit_once('/')?;
    (!last.is_empty() && last != "..").then_some(last)
}

impl Fetched {
    /// Where the image with this digest lies, or will.
    pub(super) fn place(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{}.iso", sha256.to_ascii_lowercase()))
    }

    /// Brings an image to its place.
    pub(super) fn bring(
        &self,
        url: &str,
        sha256: &str,
        goes_on: &dyn Fn(u64, u64) -> bool,
    ) -> Result<(), MediaError> {
        let fail = |why: String| MediaError::Io { path: url.into(), why };
        let key = format!("{url} {sha256}");
        let failed = self.failures.lock().get(&key).filter(|(at, _)| at.elapsed() < PAUSE).cloned();
        if let Some((_, why)) = failed {
            return Err(fail(why));
        }
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| fail(format!("{}: {error}", self.folder.display())))?;
        let fetched = self.fetch.fetch(url, sha256, &self.place(sha256), goes_on);
        fetched.map_err(|why| {
            let mut failures = self.failures.lock();
            failures.retain(|_, (at, _)| at.elapsed() < PAUSE);
            failures.insert(key, (Instant::now(), why.clone()));
            fail(why)
        })
    }
}

impl Failures {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_files() {
        assert!(is_url("https://h/x.iso") && is_url("http://h/x.iso"));
        assert!(!is_url("x.iso") && !is_url("/srv/https://x") && !is_url("file:///x"));
        assert_eq!(last_part("https://h/a/x.iso?y=/z"), Some("x.iso"));
        for none in ["https://h", "https://h/", "https://h/.."] {
            assert_eq!(last_part(none), None, "{none}");
        }
    }
}
