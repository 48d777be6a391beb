//! The last good revisions, a file each in the state directory: what `voldemortctl pin` goes back to.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::RevisionRecord;
use crate::model::hex;
use crate::state::Revision;
use crate::state::revision::stored::key;

/// How many revisions are kept.
const KEPT_MAX: usize = 5;
/// Most bytes of all of them; the newest is kept in any case.
const BYTES_MAX: u64 = 256 << 20;

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

/// How a revision became live. Pages of earlier versions have none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// Milliseconds since 1970.
    pub since: Option<u64>,
    /// The source that changed, where there are several.
    pub source: Option<String>,
    /// Who wrote its commit, the first line of the message, and when it was committed.
    pub author: Option<String>,
    pub subject: Option<String>,
    pub committed: Option<u64>,
    /// What changed, in words.
    pub effect: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Page {
    #[serde(default)]
    note: Note,
    #[serde(flatten)]
    revision: RevisionRecord,
    texts: BTreeMap<String, String>,
    /// Files that are no text, as hexadecimal digits; without those that are only served, which are
    /// read from their copies.
    #[serde(default)]
    binary: BTreeMap<String, String>,
    /// The same as earlier versions wrote it: a list of numbers.
    #[serde(default, skip_serializing)]
    bytes: BTreeMap<String, Vec<u8>>,
}

/// How the names of encrypted secrets end, whose bytes a load needs.
const SECRET: &str = ".age";

impl History {
    pub fn new(state: &Path) -> History {
        History { folder: state.join("history"), newest: Arc::default() }
    }

    /// Adds a revision as the newest and forgets the oldest.
    pub fn add(&self, kept: &Revision, note: &Note) -> io::Result<()> {
        let pages = self.pages();
        // Reading a page of thousands of files takes longer than writing it.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.number != pages.last().copied() {
            let revision = pages.last().and_then(|number| self.page(*number)).map(|page| page.name());
            *newest = Newest { number: pages.last().copied(), revision };
        }
        let name = kept.name();
        if newest.revision.as_ref() == Some(&name) {
            return Ok(());
        }
        if !self.folder.is_dir() {
            DirBuilder::new().mode(0o700).create(&self.folder)?;
        }
        let (texts, binary, bytes) = Default::default();
        let note = note.clone();
        let mut page = Page { note, revision: RevisionRecord::of(kept), texts, binary, bytes };
        for layer in kept.layers() {
            let prefix = layer.prefix();
            for (path, bytes) in &layer.tree.files {
                let key = || key(&prefix, path).to_string();
                match std::str::from_utf8(bytes) {
                    Ok(text) => drop(page.texts.insert(key(), text.to_owned())),
                    Err(_) if layer.tree.copies.contains_key(path) && !path.ends_with(SECRET) => {}
                    Err(_) => drop(page.binary.insert(key(), hex(bytes))),
                }
            }
        }
        let number = pages.last().map_or(1, |last| last + 1);
        super::directory::put(&self.path(number), &super::record::write(&page))?;
        *newest = Newest { number: Some(number), revision: Some(name) };
        self.trim(&pages, number, BYTES_MAX)
    }

    /// Forgets of the `earlier` pages the oldest while there are too many beside the newest one, or all
    /// together are larger than `room` bytes.
    fn trim(&self, earlier: &[u64], newest: u64, room: u64) -> io::Result<()> {
        let length = |number: u64| std::fs::metadata(self.path(number)).map_or(0, |found| found.len());
        let mut used = length(newest);
        for (later, number) in (1..).zip(earlier.iter().rev()) {
            used += length(*number);
            if later >= KEPT_MAX || used > room {
                std::fs::remove_file(self.path(*number))?;
            }
        }
        Ok(())
    }

    /// The names of the revisions with what is noted of each, the newest first.
    pub fn notes(&self) -> Vec<(Arc<str>, Note)> {
        let named = |number: u64| {
            let page = self.read(number)?;
            Some((page.revision.name().into(), page.note))
        };
        self.pages().into_iter().rev().filter_map(named).collect()
    }

    /// The revisions, the newest first.
    pub fn all(&self) -> Vec<Revision> {
        self.pages().into_iter().rev().filter_map(|number| self.page(number)).collect()
    }

    /// How many pages there are, and how many of them can't be read.
    pub fn count(&self) -> (usize, usize) {
        let pages = self.pages();
        let damaged = pages.iter().filter(|number| self.page(**number).is_none()).count();
        (pages.len(), damaged)
    }

    /// The newest revision that is called so: its whole name, or the beginning of its digest.
    pub fn find(&self, name: &str) -> Option<Revision> {
        let has_digest = |kept: &Revision| {
            let digest = |revision: &str| Some(revision.rsplit_once(':')?.1.starts_with(name));
            kept.sources().any(|(_, source)| digest(&source.revision) == Some(true))
        };
        let named = |kept: &Revision| *kept.name() == *name || (name.len() >= 6 && has_digest(kept));
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
    fn read(&self, number: u64) -> Option<Page> {
        super::record::read(&std::fs::read(self.path(number)).ok()?).ok()
    }

    fn page(&self, number: u64) -> Option<Revision> {
        let page = self.read(number)?;
        let texts = page.texts.into_iter().map(|(path, text)| (path.into(), Bytes::from(text)));
        let bytes = page.bytes.into_iter().map(|(path, bytes)| (path.into(), Bytes::from(bytes)));
        let binary = page.binary.into_iter().map(|(path, digits)| Some((path.into(), unhex(&digits)?)));
        let binary: Vec<(Arc<str>, Bytes)> = binary.collect::<Option<_>>()?;
        Some(Revision::of(&page.revision.into_saved()?, &texts.chain(bytes).chain(binary).collect()))
    }
}

/// The bytes of hexadecimal digits.
fn unhex(digits: &str) -> Option<Bytes> {
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Selection;
    use crate::state::{Composition, SourceRevision};

    fn one(name: &str, files: BTreeMap<Arc<str>, Bytes>, copies: BTreeMap<Arc<str>, PathBuf>) -> Revision {
        Revision::of_one(SourceRevision { revision: name.into(), files, copies, ..SourceRevision::default() })
    }

    #[test]
    fn partial_applies_are_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        let tree = |name: &str, text: &'static str| SourceRevision {
            revision: name.into(),
            settled: "main@sha1:1".into(),
            files: [("a.toml".into(), Bytes::from_static(text.as_bytes()))].into(),
            ..SourceRevision::default()
        };
        let selection = || Selection { only: vec!["web-1".into()], except: vec!["x".into()] };
        let twice = tree("b", "2").in_part(selection(), tree("a", "1"), Some("lab".into()));
        let twice = tree("c", "3").in_part(selection(), twice, None);
        let kept = Revision { environment: Some("lab".into()), ..Revision::of_one(twice) };
        history.add(&kept, &Note::default()).unwrap();
        assert_eq!(history.find("c (only web-1 without x)"), Some(kept));
    }

    #[test]
    fn what_is_noted_of_a_revision_is_kept_and_absent_of_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        let note = Note { since: Some(7), author: Some("A <a@b>".into()), ..Note::default() };
        history.add(&one("b", BTreeMap::new(), BTreeMap::new()), &note).unwrap();
        let page = std::fs::read_to_string(history.path(1)).unwrap();
        let mut former: serde_json::Value = serde_json::from_str(&page).unwrap();
        former["revision"] = "a".into();
        former.as_object_mut().unwrap().remove("note");
        std::fs::write(history.path(0), former.to_string()).unwrap();
        assert_eq!(history.notes(), [("b".into(), note), ("a".into(), Note::default())]);
    }

    /// As versions until November 2026 wrote it.
    #[test]
    fn earlier_pages_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        std::fs::create_dir(folder.path().join("history")).unwrap();
        let note = r#"{\"selection\":{\"only\":[\"x\"],\"except\":[]},\"revision\":\"hand\",\"base\":\"1\",\"root\":null,\"environment\":null}"#;
        let page = format!(
            r#"{{"revision":"a:hand (only x) net:9","source":"a:1 net:9","root":null,"copies":{{"a:.base/k":"/k"}},
            "texts":{{"a:m.toml":"2","a:.base/m.toml":"1","a:.base/.note.json":"{note}","net:n.toml":"n"}},"binary":{{}}}}"#
        );
        std::fs::write(folder.path().join("history/1.json"), page).unwrap();
        let read = history.find("a:hand (only x) net:9").unwrap();
        let (before, after, _) = read.split().unwrap();
        assert_eq!(
            (&**before.file("m.toml").unwrap(), &**after.file("m.toml").unwrap()),
            (&b"1"[..], &b"2"[..])
        );
        assert_eq!(before.copies()["a:k"], PathBuf::from("/k"));
    }

    #[test]
    fn a_handful_is_kept_and_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        for number in 0..8 {
            let revision: Arc<str> = format!("main@sha1:{number}abcdef").into();
            let files =
                [("a".into(), Bytes::from_static(b"x = 1")), ("b".into(), Bytes::from_static(&[255, 0]))];
            let kept = one(&revision, files.into(), BTreeMap::new());
            history.add(&kept, &Note::default()).unwrap();
            history.add(&kept, &Note::default()).unwrap();
            assert_eq!(history.all()[0], kept);
        }
        assert_eq!(history.all().len(), KEPT_MAX);
        assert!(history.find("5abcde").is_some() && history.find("main@sha1:5abcdef").is_some());
        assert!(history.find("5ab").is_none() && history.find("1abcdef").is_none());
        let pages = history.pages();
        let length = std::fs::metadata(history.path(8)).unwrap().len();
        history.trim(&pages[..4], 8, 3 * length).unwrap();
        assert_eq!(history.pages(), [6, 7, 8], "of large ones fewer are kept");
        history.trim(&pages[2..4], 8, 0).unwrap();
        assert_eq!(history.pages(), [8], "the newest in any case");
    }

    /// A kernel of a megabyte was four megabytes of numbers, written anew with each revision.
    #[test]
    fn binary_files_are_small_or_left_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        let noise = Bytes::from(vec![0xfe; 100_000]);
        let names = ["files/vmlinuz", "secrets/a.age", "no-copy"];
        let files = names.map(|name| (Arc::from(name), noise.clone())).into();
        let copies = names[..2].iter().map(|name| (Arc::from(*name), folder.path().join("x"))).collect();
        let kept = one("main@sha1:abcdef", files, copies);
        history.add(&kept, &Note::default()).unwrap();
        let page = folder.path().join("history/1.json");
        assert!(std::fs::metadata(&page).unwrap().len() < 410_000);
        let read = history.all().remove(0);
        let Composition::One(read) = read.sources else { panic!("one source was stored") };
        assert_eq!(read.files.keys().map(|name| &**name).collect::<Vec<_>>(), ["no-copy", "secrets/a.age"]);
        assert!(read.files.values().all(|bytes| *bytes == noise));
        // As version 0.1.0 wrote it.
        let old = std::fs::read_to_string(&page).unwrap();
        let at = old.find("\"binary\":").unwrap();
        std::fs::write(&page, format!("{}\"bytes\":{{\"a.age\":[255,0]}}}}", &old[..at])).unwrap();
        assert_eq!(history.all()[0].file("a.age"), Some(&Bytes::from_static(&[255, 0])));
    }
}
