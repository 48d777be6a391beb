//! The last good revisions, a file each in the state directory: what `voldemortctl pin` goes back to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Kept;
use super::record::KeptRecord;

/// How many revisions are kept.
const KEPT_MAX: usize = 5;

/// A folder of revisions.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    newest: Arc<Mutex<Newest>>,
}

/// The newest page, as far as it was looked at, and its revision, if it can be read.
#[derive(Debug, Default)]
struct Newest {
    number: Option<u64>,
    revision: Option<Arc<str>>,
}

#[derive(Serialize, Deserialize)]
struct Page {
    #[serde(flatten)]
    kept: KeptRecord,
    texts: BTreeMap<String, String>,
    /// Files that are no text.
    bytes: BTreeMap<String, Vec<u8>>,
}

impl History {
    pub fn new(state: &Path) -> History {
        History { folder: state.join("history"), newest: Arc::default() }
    }

    /// Adds a revision as the newest and forgets the oldest.
    pub fn add(&self, kept: &Kept) -> io::Result<()> {
        let pages = self.pages();
        // Reading a page of thousands of files takes longer than writing it.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.number != pages.last().copied() {
            let revision = pages.last().and_then(|number| self.page(*number)).map(|page| page.revision);
            *newest = Newest { number: pages.last().copied(), revision };
        }
        if newest.revision.as_ref() == Some(&kept.revision) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        let mut page = Page { kept: KeptRecord::of(kept), texts: BTreeMap::new(), bytes: BTreeMap::new() };
        for (path, bytes) in &kept.files {
            match std::str::from_utf8(bytes) {
                Ok(text) => drop(page.texts.insert(path.to_string(), text.to_owned())),
                Err(_) => drop(page.bytes.insert(path.to_string(), bytes.to_vec())),
            }
        }
        let number = pages.last().map_or(1, |last| last + 1);
        let draft = self.folder.join("draft");
        std::fs::write(&draft, super::record::write(&page))?;
        std::fs::rename(draft, self.path(number))?;
        *newest = Newest { number: Some(number), revision: Some(kept.revision.clone()) };
        let excess = (pages.len() + 1).saturating_sub(KEPT_MAX);
        for old in pages.iter().take(excess) {
            std::fs::remove_file(self.path(*old))?;
        }
        Ok(())
    }

    /// The revisions, the newest first.
    pub fn all(&self) -> Vec<Kept> {
        self.pages().into_iter().rev().filter_map(|number| self.page(number)).collect()
    }

    /// The newest revision that is called so: its whole name, or the beginning of its digest.
    pub fn find(&self, name: &str) -> Option<Kept> {
        let named = |kept: &Kept| {
            let mut digests = kept.revision.split(' ').filter_map(|word| Some(word.rsplit_once(':')?.1));
            *kept.revision == *name || (name.len() >= 6 && digests.any(|digest| digest.starts_with(name)))
        };
        self.all().into_iter().find(named)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.json"))
    }

    fn pages(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let number = |entry: io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok()
        };
        let mut pages: Vec<u64> = entries.filter_map(number).collect();
        pages.sort_unstable();
        pages
    }

    /// A damaged page is as good as none.
    fn page(&self, number: u64) -> Option<Kept> {
        let page: Page = super::record::read(&std::fs::read(self.path(number)).ok()?).ok()?;
        let texts = page.texts.into_iter().map(|(path, text)| (path.into(), Bytes::from(text)));
        let bytes = page.bytes.into_iter().map(|(path, bytes)| (path.into(), Bytes::from(bytes)));
        Some(Kept { files: texts.chain(bytes).collect(), ..page.kept.into_kept() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_is_kept_and_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        for number in 0..8 {
            let revision = format!("main@sha1:{number}abcdef").into();
            let files =
                [("a".into(), Bytes::from_static(b"x = 1")), ("b".into(), Bytes::from_static(&[255, 0]))];
            let kept = Kept { revision, files: files.into(), ..Kept::default() };
            history.add(&kept).unwrap();
            history.add(&kept).unwrap();
            assert_eq!(history.all()[0], kept);
        }
        assert_eq!(history.all().len(), KEPT_MAX);
        assert!(history.find("5abcde").is_some() && history.find("main@sha1:5abcdef").is_some());
        assert!(history.find("5ab").is_none() && history.find("1abcdef").is_none());
    }
}
