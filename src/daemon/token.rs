//! The token that `start` leaves for the commands of the same user: a new one at each start, gone
//! when the daemon stops.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::getuid;

use crate::config::runtime;
use crate::model::hex;

/// A token and the files that hold it; they are removed with it.
#[derive(Debug)]
pub(super) struct Token {
    text: String,
    files: Vec<PathBuf>,
}

impl Token {
    /// Makes a token out of `random` bytes and writes it for the daemon's `ports`, into the first directory
    /// where that can be done. Without such a directory no client can know the token.
    pub(super) fn write(random: [u8; 32], ports: impl Iterator<Item = u16>) -> Token {
        let mut token = Token { text: hex(&random), files: Vec::new() };
        for port in ports {
            match leave(&runtime::directories(), &runtime::token_name(port), &token.text) {
                Ok(file) => token.files.push(file),
                Err(why) => tracing::warn!("the API's token for port {port} can't be written: {why}"),
            }
        }
        token
    }

    /// Writes it again where it was removed.
    pub(super) fn mend(&self) {
        for file in self.files.iter().filter(|file| !file.exists()) {
            let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { continue };
            if let Err(error) = leave_in(directory, &name.to_string_lossy(), &self.text) {
                tracing::debug!("the API's token can't be written again: {error}");
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where it lies.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let ours = |file: &&PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == self.text);
        for file in self.files.iter().filter(ours) {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn leave(directories: &[PathBuf], name: &str, text: &str) -> Result<PathBuf, String> {
    let mut why = "there is no directory for it".to_owned();
    for directory in directories {
        match leave_in(directory, name, text) {
            Ok(file) => return Ok(file),
            Err(error) => why = format!("{}: {error}", directory.display()),
        }
    }
    Err(why)
}

/// Whole or not at all, never through a link, never readable by others.
fn leave_in(directory: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    // `/run/voldemort` holds the socket, too, which others look for.
    let mode = if directory == Path::new(runtime::DIRECTORY) { 0o755 } else { 0o700 };
    if !directory.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
        // Not less than that either: members of the group go through it to the socket.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))?;
    }
    if !runtime::is_trusted(directory, getuid().as_raw()) {
        let why = "others could put files there";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let (file, draft) = (directory.join(name), directory.join(format!(".{name}.new")));
    // Only daemons write here: it was left by one that was killed.
    if let Err(error) = std::fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    out.write_all(format!("{text}\n").as_bytes())?;
    std::fs::rename(&draft, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn it_is_left_where_only_we_write() {
        let folder = tempfile::tempdir().unwrap();
        let (open, own) = (folder.path().join("open"), folder.path().join("own/voldemort"));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let file = leave(&[open.clone(), own.clone()], "token-1-2", "secret").unwrap();
        assert_eq!(file, own.join("token-1-2"));
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        // A second daemon's replaces it, and the first one's end does not take that away.
        let first = Token { text: "secret".into(), files: vec![file.clone()] };
        leave(&[own], "token-1-2", "other").unwrap();
        drop(first);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "other\n");
        drop(Token { text: "other".into(), files: vec![file.clone()] });
        assert!(!file.exists());
        assert!(leave(&[open], "token-1-2", "secret").is_err());
    }
}
