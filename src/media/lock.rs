//! The list of an image's names, with its digest. It is committed beside the manifests (`locks/IMAGE.json`) and stands for
//! the image where it is missing: a runner that checks an inventory has no images.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Entry, Index};
use crate::model::Extent;
use crate::model::content::FileId;

/// The folder of an inventory that holds such lists.
pub const FOLDER: &str = "locks";
/// Raised when a list means something else.
const VERSION: u32 = 1;
/// What entries of a list name in the place of a file.
const NOWHERE: &str = "listed";

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// The image's name, without folders.
    pub image: String,
    /// Absent for a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    label: String,
    /// Lengths in bytes.
    files: BTreeMap<Box<str>, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    links: BTreeMap<Box<str>, Box<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<Box<str>, Box<str>>,
}

/// Where an inventory keeps the list of an image that a manifest names so: by a path, or by an address.
pub fn place(image: &str) -> String {
    format!("{FOLDER}/{}.json", last_part(image))
}

/// An image's name without folders, the name of a source or the rest of an address.
fn last_part(image: &str) -> &str {
    let path = image.split(['?', '#']).next().unwrap_or(image).trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit(':').next().unwrap_or(name)
}

/// Whether the bytes of an entry are missing, because a list stands for its image.
pub fn is_listed(entry: &Entry) -> bool {
    *entry.path == *Path::new(NOWHERE)
}

impl Lock {
    pub fn of(image: &str, index: &Index, sha256: Option<String>) -> Lock {
        let Index { label, files, links, refused } = index;
        Lock {
            version: VERSION,
            image: image.to_owned(),
            sha256,
            label: label.clone(),
            files: files.iter().map(|(path, entry)| (path.clone(), entry.len())).collect(),
            links: links.clone(),
            refused: refused.clone(),
        }
    }

    /// Reads a list.
    ///
    /// # Errors
    /// It is no such list; with the line where one is known.
    pub fn read(bytes: &[u8]) -> Result<Lock, String> {
        let lock: Lock = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(format!("it has version {other}, and this voldemort reads version {VERSION}")),
        }
    }

    /// A line for each name, with a line end: what a new image changes shows in a review.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// How many files it names.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What the image holds, without its bytes.
    pub fn index(&self) -> Index {
        let nowhere: Arc<Path> = Path::new(NOWHERE).into();
        let entry = |length: u64| Entry {
            path: nowhere.clone(),
            id: FileId::default(),
            extents: [Extent { offset: 0, length }].into(),
        };
        Index {
            label: self.label.clone(),
            files: self.files.iter().map(|(path, length)| (path.clone(), entry(*length))).collect(),
            links: self.links.clone(),
            refused: self.refused.clone(),
        }
    }

    /// How an image that is there differs from the list.
    pub fn differs(&self, index: &Index) -> Option<String> {
        let now = Lock::of(&self.image, index, None);
        let missing = self.files.keys().find(|path| !now.files.contains_key(*path));
        let further = now.files.keys().find(|path| !self.files.contains_key(*path));
        let other = self.files.iter().find(|(path, length)| now.files.get(*path) != Some(*length));
        match (missing, further, other) {
            (Some(path), ..) => Some(format!("the image does not hold `{path}`, which is listed")),
            (_, Some(path), _) => Some(format!("the image holds `{path}`, which is not listed")),
            (_, _, Some((path, _))) => Some(format!("`{path}` has another length in the image")),
            _ if (&self.label, &self.links) != (&now.label, &now.links) => {
                Some("the image has another name or other links".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(files: &[(&str, u64)]) -> Index {
        let entry = |length| Entry {
            path: Path::new("/x.iso").into(),
            id: FileId::default(),
            extents: [Extent { offset: 9, length }].into(),
        };
        let files = files.iter().map(|(path, length)| ((*path).into(), entry(*length))).collect();
        Index { label: "Debian".into(), files, ..Index::default() }
    }

    #[test]
    fn a_list_holds_names_and_lengths_and_comes_back() {
        let image = index(&[("linux", 3), ("initrd.gz", 0)]);
        let lock = Lock::of("a.iso", &image, Some("ab".into()));
        let again = Lock::read(lock.text().as_bytes()).unwrap();
        assert_eq!((&again, again.len()), (&lock, 2));
        let listed = again.index();
        assert_eq!(listed.files["linux"].len(), 3);
        assert!(listed.files["initrd.gz"].is_empty() && is_listed(&listed.files["linux"]));
        assert!(!is_listed(&image.files["linux"]));
        assert_eq!(again.differs(&image), None);
        for (other, wanted) in [
            (index(&[("linux", 3)]), "does not hold `initrd.gz`"),
            (index(&[("linux", 3), ("initrd.gz", 0), ("new", 1)]), "holds `new`"),
            (index(&[("linux", 4), ("initrd.gz", 0)]), "`linux` has another length"),
        ] {
            assert!(again.differs(&other).unwrap().contains(wanted));
        }
    }

    #[test]
    fn damaged_lists_and_those_of_later_versions_are_refused() {
        for (text, wanted) in [
            ("", "line 1"),
            ("{\"version\": 1}", "missing field"),
            ("{\"version\": 2, \"image\": \"a\", \"label\": \"\", \"files\": {}}", "version 2"),
            (
                "{\"version\": 1, \"image\": \"a\", \"label\": \"\", \"files\": {}, \"own\": 1}",
                "unknown field",
            ),
        ] {
            assert!(Lock::read(text.as_bytes()).unwrap_err().contains(wanted), "{text}");
        }
    }

    #[test]
    fn its_place_follows_from_what_manifests_say() {
        for name in
            ["a.iso", "images/a.iso", "/srv/media/a.iso", "net:images/a.iso", "https://x.example/y/a.iso?z=1"]
        {
            assert_eq!(place(name), "locks/a.iso.json", "{name}");
        }
        assert_eq!(place("net:a.iso"), "locks/a.iso.json");
        assert_eq!(place("tree/"), "locks/tree.json");
    }
}
