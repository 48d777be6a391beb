//! A library where lists of names stand for images that are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::lock::{FOLDER, Lock, is_listed, place};
use super::{Entry, Index, Library, MediaError, Parts};

/// Images of another library, and lists of an inventory for those that it does not have.
pub struct Locked<'a> {
    library: &'a dyn Library,
    /// By their place in the inventory.
    lists: BTreeMap<Arc<str>, Bytes>,
    /// Whether a list does for an image that is missing; if not it is compared with those that are there.
    stands_in: bool,
}

impl<'a> Locked<'a> {
    /// With the lists among `files`, by path in their source.
    pub fn new(
        library: &'a dyn Library,
        files: impl IntoIterator<Item = (Arc<str>, Bytes)>,
        stands_in: bool,
    ) -> Locked<'a> {
        let is_list = |path: &str| path.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'));
        let lists = files.into_iter().filter(|(path, _)| is_list(path)).collect();
        Locked { library, lists, stands_in }
    }

    fn list(&self, image: &str) -> Result<Option<Lock>, MediaError> {
        let place = place(image);
        let Some(bytes) = self.lists.get(place.as_str()) else { return Ok(None) };
        Lock::read(bytes).map(Some).map_err(|why| MediaError::BadList { path: place.into(), why })
    }
}

impl Library for Locked<'_> {
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        let list = self.list(file)?;
        let bad = |why| Err(MediaError::BadList { path: place(file).into(), why });
        match (self.library.image(file, sha256), list) {
            (found, None) => found,
            (Ok(index), Some(list)) => match list.differs(&index) {
                Some(why) => bad(format!("it is the list of another image: {why}")),
                None => Ok(index),
            },
            (Err(MediaError::Missing { .. }), Some(list)) if self.stands_in => match (&list.sha256, sha256) {
                (Some(has), Some(wanted)) if !has.eq_ignore_ascii_case(wanted) => {
                    bad(format!("it is the list of another image: of the one with the sha256 {has}"))
                }
                _ => Ok(Arc::new(list.index())),
            },
            (Err(error), Some(_)) => Err(error),
        }
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        self.library.file(path)
    }

    fn agent(&self, parts: &Parts, thorough: bool) -> Result<Option<Entry>, MediaError> {
        let mut all = std::iter::once(&parts.kernel).chain(&parts.modules);
        match all.any(|(_, entry)| is_listed(entry)) {
            // What lies in an image that is not here can't be looked at.
            true => Ok(None),
            false => self.library.agent(parts, thorough),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Shelf;

    #[test]
    fn a_list_stands_for_an_image_that_is_missing_and_is_held_to_one_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        std::fs::write(folder.path().join("tree/linux"), "kernel").unwrap();
        let shelf = Shelf::new(vec![folder.path().into()], None);
        let lock = Lock::of("tree", &shelf.image("tree", None).unwrap(), Some("ab".into()));
        let lists = |lock: &Lock| [(Arc::from("locks/tree.json"), Bytes::from(lock.text()))];
        let none = Shelf::default();
        let locked = Locked::new(&none, lists(&lock), true);
        assert_eq!(locked.image("images/tree", Some("AB")).unwrap().files["linux"].len(), 6);
        let why = |found: Result<Arc<Index>, MediaError>| found.unwrap_err().to_string();
        assert!(
            why(locked.image("tree", Some("cd"))).contains("another image: of the one with the sha256 ab")
        );
        assert!(why(locked.image("other", None)).contains("no such file"));
        assert!(why(Locked::new(&none, lists(&lock), false).image("tree", None)).contains("no such file"));
        assert!(Locked::new(&shelf, lists(&lock), true).image("tree", None).is_ok());
        std::fs::write(folder.path().join("tree/initrd"), "i").unwrap();
        assert!(why(Locked::new(&shelf, lists(&lock), true).image("tree", None)).contains("holds `initrd`"));
        let damaged = [(Arc::from("locks/tree.json"), Bytes::from("{"))];
        assert!(why(Locked::new(&none, damaged, true).image("tree", None)).contains("locks/tree.json: "));
    }
}
