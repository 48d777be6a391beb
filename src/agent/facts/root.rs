//! Files below a root directory: `/` on the machine, a captured tree in tests.

use std::io::Read;
use std::path::{Path, PathBuf};

/// No file of /sys and /proc that is read here is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// Where the trees of /sys, /proc and /dev hang.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// Paths are below this directory.
    pub fn new(path: impl Into<PathBuf>) -> Root {
        Root(path.into())
    }

    /// The file's place.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Whether there is something of this name.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The content; `None` if it can't be read.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.path(path)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The content without blanks at its ends; `None` if nothing is left.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes(path)?).trim_matches(blank).to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A number in decimal.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Names in a directory, sorted, numbers in them by value: `sda`, `sdb`, …, `nvme2n1` before `nvme10n1`.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_cached_key(|name| (name.len(), name.clone()));
        names
    }

    /// The last name of what a link points to.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The place with all links followed, from the root on: which buses lead to a device.
    pub fn real(&self, path: &str) -> Option<String> {
        let place = self.path(path).canonicalize().ok()?;
        let root = self.0.canonicalize().ok()?;
        Some(place.strip_prefix(root).unwrap_or(Path::new("")).to_str()?.to_owned())
    }
}

fn blank(sign: char) -> bool {
    sign.is_whitespace() || sign == '\0'
}
