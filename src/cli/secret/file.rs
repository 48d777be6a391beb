//! The files that secrets are kept in.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Identity, InventoryDirectory};
use crate::model::Name;
use crate::secret::{self, FOLDER, Keys, RECIPIENTS, Recipients};
use crate::source::replace::Draft;

/// Longest file of keys, and longest secret as it is kept.
const FILE_MAX: u64 = 1 << 20;

/// The name of a secret on the command line.
pub(super) fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("`{text}` can't be the name of a secret: {error}"))
}

impl InventoryDirectory {
    pub(super) fn secret(&self, name: &Name) -> PathBuf {
        self.inventory.join(secret::path(name))
    }

    /// All secrets, by name.
    pub(super) fn secrets(&self) -> Result<Vec<(String, PathBuf)>, String> {
        let folder = self.inventory.join(FOLDER);
        let entries = fs::read_dir(&folder).map_err(|error| named(&folder, &error))?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| named(&folder, &error))?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = file.strip_suffix(".age").filter(|name| !name.is_empty() && !name.starts_with('.'));
            if let Some(name) = name {
                found.push((name.to_owned(), path.clone()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The recipients that secrets are to be encrypted to.
    pub(super) fn recipients(&self) -> Result<Recipients, String> {
        let path = self.inventory.join(RECIPIENTS);
        let shown = path.display();
        let how = "write the daemon's public key into it, one key a line; `voldemort secret keygen FILE` makes a key";
        if !path.exists() {
            return Err(format!("{shown} does not exist: {how}"));
        }
        let text = String::from_utf8(regular(&path)?).map_err(|_| format!("{shown}: it is not UTF-8"))?;
        let (recipients, wrong) = Recipients::parse(&text);
        match wrong.first() {
            Some(wrong) => Err(format!("{shown}:{}: {}", wrong.line, wrong.why)),
            None if recipients.is_empty() => Err(format!("{shown} has no key: {how}")),
            None => Ok(recipients),
        }
    }
}

impl Identity {
    pub(super) fn keys(&self) -> Result<Keys, String> {
        let from_environment = || std::env::var_os("VOLDEMORT_IDENTITY").map(PathBuf::from);
        let path = self.identity.clone().or_else(from_environment).ok_or_else(|| {
            "reading a secret needs a private key: name its file with --identity FILE or VOLDEMORT_IDENTITY".to_owned()
        })?;
        // A pipe is accepted, as in --identity <(…).
        let bytes = bounded(&path).map_err(|error| named(&path, &error))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{}: it is not UTF-8", path.display()))?;
        Keys::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Encrypts a text into a new file; what is there already stays.
pub(super) fn create(path: &Path, recipients: &Recipients, text: &str) -> Result<(), String> {
    let draft = draft(path, recipients, text)?;
    let linked = fs::hard_link(&draft, path);
    // Another program may have removed it; the secret is in its place all the same.
    let _ = fs::remove_file(&draft);
    linked.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists already: `voldemort secret edit` changes it", path.display())
        }
        _ => named(path, &error),
    })
}

/// The encrypted text, to replace an existing file.
pub(super) fn sealed(path: &Path, recipients: &Recipients, text: &str) -> Result<Draft, String> {
    let bytes = secret::seal(recipients, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Draft::write(path, &bytes).map_err(|error| named(path, &error))
}

/// Decrypts a secret. A file in an inventory may be anything, also a pipe that never ends.
pub(super) fn open(path: &Path, keys: &Keys) -> Result<String, String> {
    let bytes = regular(path)?;
    secret::open(keys, &bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The text that a person gave as a secret.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_owned())?;
    match text.contains('\0') {
        true => Err("the text holds a NUL character, which no installer reads".to_owned()),
        false => Ok(text),
    }
}

/// The bytes of an ordinary file of a sensible size.
fn regular(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| named(path, &error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{}: this is no ordinary file", path.display()));
    }
    bounded(path).map_err(failed)
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_MAX {
        true => Err(io::Error::other(format!("it is longer than {} KiB", FILE_MAX >> 10))),
        false => Ok(bytes),
    }
}

/// A hidden file beside the target: hidden files are no part of an inventory.
fn draft(path: &Path, recipients: &Recipients, text: &str) -> Result<PathBuf, String> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = secret::seal(recipients, text).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    let draft = folder.join(format!(".{file}.{}", std::process::id()));
    // Left by a killed command that had the same process number; a link is removed and not followed.
    let _ = fs::remove_file(&draft);
    let mut out = fs::File::create_new(&draft).map_err(|error| named(&draft, &error))?;
    out.write_all(&bytes).and_then(|()| out.sync_all()).map_err(|error| {
        let _ = fs::remove_file(&draft);
        named(&draft, &error)
    })?;
    Ok(draft)
}

/// Writes a new file that only its owner may read.
pub(super) fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

pub(super) fn named(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    format!("{}: {why}", path.display())
}
