//! The files that the settings name: there, and readable for the daemon's user.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, User, getgrouplist};

use super::finding::Finding;
use crate::config::{Config, Write};
use crate::model::Inventory;

/// Whom a daemon of the packages runs as.
const USER: &str = "voldemort";

/// Whose permissions are asked for.
struct Reader {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Reader {
    /// The packages' user, or root, who may read everything.
    fn of_the_daemon() -> Reader {
        let root = Reader { name: "root".into(), uid: 0, groups: vec![0] };
        let Some(user) = User::from_name(USER).ok().flatten() else { return root };
        let groups = CString::new(USER).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
        let groups =
            groups.unwrap_or_default().into_iter().map(Gid::as_raw).chain([user.gid.as_raw()]).collect();
        Reader { name: user.name, uid: user.uid.as_raw(), groups }
    }

    /// Whether the mode of a file gives this reader one of the three rights (4 read, 2 write, 1 enter). Access lists
    /// (acl(5)) may give more than that.
    fn may(&self, uid: u32, gid: u32, mode: u32, right: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if self.uid == uid => 6,
            () if self.groups.contains(&gid) => 3,
            () => 0,
        };
        mode >> shift & right != 0
    }

    /// The first part of a path that keeps this reader from it, with the reason.
    fn barrier(&self, path: &Path, right: u32) -> Option<String> {
        let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
        parts.reverse();
        for part in parts {
            let metadata = match part.metadata() {
                Ok(metadata) => metadata,
                Err(error) => return Some(format!("{}: {error}", part.display())),
            };
            let right = if part == path { right } else { 1 };
            if !self.may(metadata.uid(), metadata.gid(), metadata.mode(), right) {
                let verb = if right == 2 { "write to" } else { "read" };
                return Some(format!(
                    "{} can't {verb} {} (mode {:o})",
                    self.name,
                    part.display(),
                    metadata.mode() & 0o7777
                ));
            }
        }
        None
    }
}

/// A file or directory that the settings name.
struct Named {
    /// The key.
    key: String,
    path: PathBuf,
    /// Verbs write there.
    is_written: bool,
    /// Nobody but its owner may read it.
    is_secret: bool,
}

pub(super) fn look(config: &Config, settings: Option<&Path>) -> Vec<Finding> {
    let reader = Reader::of_the_daemon();
    let settings = settings.unwrap_or(Path::new(super::SETTINGS));
    let own = Named { key: "settings".into(), path: settings.into(), is_written: false, is_secret: false };
    std::iter::once(own).chain(named(config)).filter_map(|one| judge(&one, &reader)).collect()
}

fn named(config: &Config) -> Vec<Named> {
    let plain = |key: &str, path: &Path| Named {
        key: key.to_owned(),
        path: path.into(),
        is_written: false,
        is_secret: false,
    };
    let secret = |key: &str, path: &Path| Named { is_secret: true, ..plain(key, path) };
    let mut named: Vec<Named> =
        config.secrets.identity.iter().map(|path| secret("secrets.identity", path)).collect();
    named.extend(config.media.paths.iter().map(|path| plain("media.paths", path)));
    named.extend(config.api.viewer_token.iter().map(|path| secret("api.viewer-token", path)));
    let pairs = config.http.tls.iter().filter_map(|tls| tls.given.as_ref()).chain(&config.api.given);
    for (certificate, key) in pairs {
        named.push(plain("certificate", certificate));
        named.push(secret("key", key));
    }
    named.extend(config.firmware.agents.values().map(|path| plain("firmware.agents", path)));
    named.extend(config.webhooks.iter().map(|webhook| secret("webhook secret", &webhook.secret)));
    for source in &config.sources {
        named.extend(source.webhook.iter().map(|path| secret("inventory.webhook", path)));
        match &source.inventory {
            Inventory::Directory(path) => named.push(Named {
                is_written: source.writes() == Write::Direct,
                ..plain("inventory.directory", path)
            }),
            Inventory::Git(git) => {
                named.extend(
                    git.access.token.iter().chain(&git.access.key).map(|path| secret("inventory key", path)),
                );
                named.extend(
                    git.access.ca.iter().chain(&git.access.known_hosts).map(|path| plain("inventory", path)),
                );
            }
            Inventory::Own => {}
        }
    }
    named
}

/// Nothing is said of a file that is as it should be.
fn judge(named: &Named, reader: &Reader) -> Option<Finding> {
    let Named { key, path, is_written, is_secret } = named;
    let finding = Finding::about("file", format!("{} ({key})", path.display()));
    if let Some(barrier) = reader.barrier(path, 4) {
        let advice = format!(
            "let {} read it: chgrp voldemort and chmod g+r, and g+x on the directories above",
            reader.name
        );
        return Some(finding.error(
            barrier,
            if path.exists() { advice } else { "make it, or correct the settings".to_owned() },
        ));
    }
    if *is_secret && path.metadata().is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
        return Some(
            finding.warning("everybody on this host can read it", format!("chmod o= {}", path.display())),
        );
    }
    if *is_written && let Some(barrier) = reader.barrier(path, 2) {
        let advice = "voldemortctl create, update and delete write there: let that user write, with ReadWritePaths= in the unit too; \
                      or set `write = \"off\"`";
        return Some(finding.warning(barrier, advice));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn what_the_daemons_user_cannot_read_is_named_with_the_directory_that_keeps_it_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        let key = closed.join("age.key");
        fs::write(&key, "x").unwrap();
        let nobody = Reader { name: "nobody".into(), uid: 65_534, groups: vec![65_534] };
        let one = |is_secret| Named { key: "k".into(), path: key.clone(), is_written: false, is_secret };
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let found = judge(&one(true), &nobody).unwrap();
        assert!(found.level == Level::Error && found.found.contains("closed (mode 700)"), "{found:?}");
        fs::set_permissions(&closed, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(judge(&one(true), &nobody).unwrap().level, Level::Warning);
        assert!(judge(&one(false), &nobody).is_none());
        let written = Named { is_written: true, ..one(false) };
        assert!(judge(&written, &nobody).unwrap().found.contains("can't write to"));
        let gone = Named { path: folder.path().join("gone"), ..one(false) };
        assert_eq!(judge(&gone, &nobody).unwrap().advice.unwrap(), "make it, or correct the settings");
    }
}
