//! Private keys ("identities" in age's words): they lie on the daemon's host and nowhere else.

use std::fmt;

use age::secrecy::ExposeSecret;
use age::x25519;

/// A key that was just made.
pub struct Key(x25519::Identity);

/// The keys of an identity file. They never print.
pub struct Keys(pub(super) Vec<x25519::Identity>);

/// Why a text is no identity file. Its lines are never repeated: they may be keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("line {0} is no age key (AGE-SECRET-KEY-1…)")]
    Line(usize),
    #[error("there is no age key in it")]
    None,
}

impl Key {
    /// A new key, from the operating system's randomness.
    pub fn generate() -> Key {
        Key(x25519::Identity::generate())
    }

    /// `age1…`, for `secrets/recipients.txt`.
    pub fn public(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The text of an identity file, as `age-keygen` writes it.
    pub fn file(&self) -> String {
        format!("# public key: {}\n{}\n", self.public(), self.0.to_string().expose_secret())
    }
}

impl Keys {
    /// Reads an identity file: one key a line, `#` comments.
    pub fn parse(text: &str) -> Result<Keys, KeyError> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(line.parse().map_err(|_| KeyError::Line(number + 1))?);
            }
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Keys(keys)) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.to_public().to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_and_never_print() {
        let key = Key::generate();
        let keys = Keys::parse(&key.file()).unwrap();
        assert_eq!(format!("{keys:?}"), format!("[\"{}\"]", key.public()));
        assert!(!format!("{key:?}{keys:?}").contains("SECRET"));
        assert_eq!(Keys::parse("# nothing\n\n").unwrap_err(), KeyError::None);
        let error = Keys::parse("# x\nage-secret-oops\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is no age key (AGE-SECRET-KEY-1…)");
    }
}
