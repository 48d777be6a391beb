//! Secrets as age files (<https://age-encryption.org/v1>) in the inventory: `secrets/NAME.age`, encrypted
//! to the public keys in `secrets/recipients.txt`. Plain texts leave this room only as values that the
//! caller keeps in memory.

pub mod header;
pub mod key;
pub mod recipients;
pub mod seal;

pub use header::{HeaderError, header};
pub use key::{Key, Keys};
pub use recipients::Recipients;
pub use seal::{open, seal};

use crate::model::Name;

/// The inventory's folder of secrets, with a slash at its end.
pub const FOLDER: &str = "secrets/";
/// The public keys that secrets are encrypted to, one a line.
pub const RECIPIENTS: &str = "secrets/recipients.txt";

/// The path of a secret in the inventory.
pub fn path(name: &Name) -> String {
    format!("{FOLDER}{name}.age")
}

/// The word in `secrets/WORD.age`; `None` for other paths.
pub fn name_in(path: &str) -> Option<&str> {
    path.strip_prefix(FOLDER)?.strip_suffix(".age")
}
