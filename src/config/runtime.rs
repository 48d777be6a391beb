//! The paths that a daemon and the commands on its host share: the API's socket, and the token that the
//! daemon leaves for commands of the same user.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory that belongs to the daemon while it runs.
pub const DIRECTORY: &str = "/run/voldemort";
/// The API's socket where none is configured.
pub const SOCKET: &str = "/run/voldemort/api.sock";
/// The API's port where none is configured.
pub const PORT: u16 = 12345;
/// Members of this group may use the socket.
pub const GROUP: &str = "voldemort";

/// The directories in which a daemon may leave its token, the preferred one first: `/run/voldemort`,
/// and for users who may not write there one of their own.
pub fn directories() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = set("XDG_RUNTIME_DIR").map(|runtime| runtime.join("voldemort"));
    let home = set("HOME").map(|home| home.join(".local/state/voldemort"));
    std::iter::once(PathBuf::from(DIRECTORY)).chain(own).chain(home).collect()
}

/// The name of the token's file for a port of this host. Daemons in several network namespaces of
/// one host may use the same port.
pub fn token_name(port: u16) -> String {
    format!("token-{}-{port}", network().unwrap_or_default())
}

/// Identifies this process's network namespace among those of the host; `None` where /proc is missing.
pub fn network() -> Option<u64> {
    std::fs::metadata("/proc/self/ns/net").ok().map(|metadata| metadata.ino())
}

/// Whether only root, or the user `uid`, can put files into this directory. A link is none.
pub fn is_trusted(directory: &Path, uid: u32) -> bool {
    let trusted = |metadata: std::fs::Metadata| {
        metadata.is_dir() && [0, uid].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
    };
    std::fs::symlink_metadata(directory).is_ok_and(trusted)
}
