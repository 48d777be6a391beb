//! Trees of manifests that somebody sends.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{Selection, hex};
use crate::secret;

/// A tree of manifests, for `POST /v1/plan` and `POST /v1/apply`. It names no place on the daemon's host:
/// what it does not hold is found by content, or is not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    pub revision: String,
    /// Which of the daemon's sources it stands for; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The environment to lay over it; the daemon's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Text files by path.
    #[serde(deserialize_with = "few")]
    pub files: BTreeMap<String, String>,
    /// Files that are no text, in hexadecimal, by path: secrets, and what the daemon asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "few")]
    pub binary: BTreeMap<String, String>,
    /// Files that are not sent: images, kernels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "few")]
    pub media: BTreeMap<String, Blob>,
    /// What of it takes part.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub selection: Selection,
}

/// A file that the daemon may have already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// In bytes.
    pub length: u64,
    /// Device, inode, size and time of the file at the sender: the same file on the same host.
    pub mark: String,
    /// Of its bytes; only where the daemon asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Most files of a tree, of each kind.
const FILES_MAX: usize = 200_000;
/// Longest path of a file in it, and longest name of its revision, in bytes.
const NAME_MAX: usize = 1024;

/// A map of at most [`FILES_MAX`] entries: a small body can name millions.
fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("files by path")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut files = BTreeMap::new();
            while let Some((path, file)) = map.next_entry()? {
                files.insert(path, file);
                if files.len() > FILES_MAX {
                    return Err(A::Error::custom(format!("a tree has at most {FILES_MAX} files")));
                }
            }
            Ok(files)
        }
    }
    deserializer.deserialize_map(Few(PhantomData))
}

impl Tree {
    /// The files that the daemon is sent: all that is text, and secrets.
    pub fn of_files<'a>(files: impl Iterator<Item = (&'a str, &'a Bytes)>) -> Tree {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            match std::str::from_utf8(bytes) {
                Ok(text) => drop(tree.files.insert(path.to_owned(), text.to_owned())),
                Err(_) if path.starts_with(secret::FOLDER) => {
                    tree.binary.insert(path.to_owned(), hex(bytes));
                }
                // Images, kernels: the request says what they are.
                Err(_) => {}
            }
        }
        tree
    }

    /// Stands for the files, whatever their revision is called.
    pub fn digest(&self) -> String {
        let mut sum = Sha256::new();
        sum.update(format!("{}\n{:?}\n", self.selection, self.environment));
        if let Some(source) = &self.source {
            sum.update(format!("{source}\n"));
        }
        let media = self.media.iter().map(|(path, blob)| (path, blob.sha256.as_ref().unwrap_or(&blob.mark)));
        for (path, text) in self.files.iter().chain(&self.binary).chain(media) {
            for part in [path, text] {
                sum.update((part.len() as u64).to_be_bytes());
                sum.update(part);
            }
        }
        sum.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The files again. What is no hexadecimal is left out, and missed where it is named.
    pub fn bytes(&self) -> BTreeMap<Arc<str>, Bytes> {
        let text = |(path, text): (&String, &String)| (path.as_str().into(), Bytes::from(text.clone()));
        let digits = |hex: &String| -> Option<Bytes> {
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
        };
        let binary = self.binary.iter().filter_map(|(path, hex)| Some((path.as_str().into(), digits(hex)?)));
        self.files.iter().map(text).chain(binary).collect()
    }

    /// Why this is no tree that a command would send: paths that lead out of it or are hidden (what is
    /// hidden is ours), names that are no text.
    pub fn fault(&self) -> Option<String> {
        let printable =
            |name: &str| name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&self.revision) {
            return Some("the tree's revision is a word of printable ASCII".into());
        }
        let good = |path: &str| {
            let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
            path.len() <= NAME_MAX && path.split('/').all(part)
        };
        let mut paths = self.files.keys().chain(self.binary.keys()).chain(self.media.keys());
        let bad = paths.find(|path| !good(path))?;
        let shown: String = bad.chars().take(100).flat_map(char::escape_default).collect();
        Some(format!("`{shown}` is no path of a file in an inventory"))
    }
}
