//! The public keys that secrets are encrypted to.

use age::x25519;

/// The public keys of `secrets/recipients.txt`, each once.
#[derive(Clone, Debug, Default)]
pub struct Recipients(pub(super) Vec<x25519::Recipient>);

/// A line of `secrets/recipients.txt` that is no public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Counted from 1.
    pub line: u32,
    pub why: &'static str,
}

impl Recipients {
    /// Reads one key a line, `#` comments and empty lines aside.
    pub fn parse(text: &str) -> (Recipients, Vec<Wrong>) {
        let mut keys: Vec<x25519::Recipient> = Vec::new();
        let mut wrong = Vec::new();
        for (line, word) in (1..).zip(text.lines().map(str::trim)) {
            if word.is_empty() || word.starts_with('#') {
                continue;
            }
            match word.parse::<x25519::Recipient>() {
                Ok(key) if keys.iter().any(|known| known.to_string() == key.to_string()) => {}
                Ok(key) => keys.push(key),
                Err(_) => wrong.push(Wrong { line, why: why(word) }),
            }
        }
        (Recipients(keys), wrong)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn why(word: &str) -> &'static str {
    match word {
        _ if word.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") => {
            "this is a private key: take it out, and consider it known to everybody who can read this repository"
        }
        _ if word.starts_with("ssh-") => "keys of ssh can't be used; make one with `voldemort secret keygen`",
        _ if word.starts_with("age1") => {
            "this age key has a typing mistake, or is of a kind that needs a plugin"
        }
        _ => "public keys begin with age1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Key;

    #[test]
    fn keys_count_once_and_wrong_lines_are_named() {
        let key = Key::generate();
        let text = format!("# us\n{0}\n\n {0} \nssh-ed25519 AAAA\n{1}\nage1oops\n", key.public(), key.file());
        let (recipients, wrong) = Recipients::parse(&text);
        assert_eq!(recipients.len(), 1);
        let lines: Vec<u32> = wrong.iter().map(|wrong| wrong.line).collect();
        assert_eq!(lines, [5, 7, 9]);
        assert!(wrong[1].why.contains("private key"));
    }
}
