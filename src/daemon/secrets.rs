//! The secrets of a revision, decrypted in memory with this host's key.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;

use crate::desired::Desired;
use crate::media::{MediaError, regular};
use crate::secret::{self, Keys};
use crate::state::Secrets;

/// Longest identity file, in bytes.
const LARGEST_KEY: u64 = 1 << 20;

/// Decrypts the secrets that the revision names, from `files` by their paths; of each that can't be it says which file, and why.
/// The identity file is read again each time, so that a new key needs no restart; `read` does that.
pub fn decrypt(
    desired: &Desired,
    files: &BTreeMap<String, Bytes>,
    identity: Option<&Path>,
    read: impl FnOnce(&Path) -> Result<Identity, MediaError>,
) -> (Secrets, Vec<String>) {
    if desired.secrets.is_empty() {
        return Default::default();
    }
    let keys = match identity {
        Some(path) => read(path)
            .map_err(|error| error.why())
            .and_then(|identity| keys(path, &identity))
            .map_err(|why| format!("the key {}: {why}", path.display())),
        None => Err("no key is configured: set `identity` in [secrets] of the daemon's file".to_owned()),
    };
    let mut texts = BTreeMap::new();
    let mut failures = Vec::new();
    for name in desired.secrets.keys() {
        let path = secret::path(name);
        let text = keys.as_ref().map_err(String::clone).and_then(|keys| {
            let file = files.get(&path).ok_or("there is no such file")?;
            secret::open(keys, file).map_err(|error| error.to_string())
        });
        match text {
            Ok(text) => drop(texts.insert(name.to_string(), text)),
            Err(why) => failures.push(format!("{path} can't be decrypted: {why}")),
        }
    }
    (Secrets::Known(texts), failures)
}

/// A key file as it was read.
pub struct Identity {
    text: String,
    /// Permissions, as of `stat(2)`.
    mode: u32,
}

/// Reads a key file.
pub fn read(path: &Path) -> Result<Identity, MediaError> {
    let mode = regular::stat(path)?.mode();
    Ok(Identity { text: regular::text(path, LARGEST_KEY)?, mode })
}

fn keys(path: &Path, identity: &Identity) -> Result<Keys, String> {
    if identity.mode & 0o077 != 0 {
        tracing::warn!("the key {} can be read by others than its owner: chmod 600", path.display());
    }
    Keys::parse(&identity.text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Key, Recipients, seal};

    #[test]
    fn each_failure_names_its_file_and_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (Key::generate(), Key::generate());
        let identity = folder.path().join("age.key");
        std::fs::write(&identity, ours.file()).unwrap();
        let sealed = |key: &Key| Bytes::from(seal(&Recipients::parse(&key.public()).0, "hunter2").unwrap());
        let mut files = BTreeMap::from([("secrets/a.age".into(), sealed(&ours))]);
        let mut desired = Desired { secrets: [("a".parse().unwrap(), [0; 32])].into(), ..Desired::default() };

        let (secrets, failures) = decrypt(&desired, &files, Some(&identity), read);
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(secrets.get("a").as_deref(), Some("hunter2"));
        assert!(!format!("{secrets:?}").contains("hunter2"));

        files.insert("secrets/b.age".to_owned(), sealed(&other));
        files.insert("secrets/c.age".to_owned(), sealed(&ours).slice(..300));
        desired.secrets.extend(["b", "c"].map(|name| (name.parse().unwrap(), [0; 32])));
        let (secrets, failures) = decrypt(&desired, &files, Some(&identity), read);
        assert_eq!(secrets.get("a").as_deref(), Some("hunter2"), "the others are known");
        let failure = failures.join("\n");
        assert!(
            failure.starts_with("secrets/b.age can't be decrypted: it is not encrypted to this host's key\n")
        );
        assert!(failure.contains("secrets/c.age can't be decrypted: this age file is damaged"), "{failure}");
        assert!(!failure.contains("hunter2"));

        let failure = decrypt(&desired, &files, None, read).1.join("\n");
        assert!(failure.contains("no key is configured"), "{failure}");
        let failure = decrypt(&desired, &files, Some(&folder.path().join("gone")), read).1.join("\n");
        assert!(failure.contains("gone: no such file"), "{failure}");
    }
}
