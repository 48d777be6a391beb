//! What an age file shows without a key.

use std::io::Read;

use age::armor::ArmoredReader;

/// First line of every age file.
const VERSION: &[u8] = b"age-encryption.org/v1\n";
/// Longest header, in bytes; one recipient takes about 100.
const HEADER_MAX: u64 = 256 << 10;
/// Least that follows a header: a nonce, and the tag of an empty text, 16 bytes each.
const BODY_MIN: usize = 32;

/// The header of an age file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of each recipient: `X25519`, `scrypt`, `ssh-ed25519`, …
    pub kinds: Vec<String>,
}

/// Why a file is no age file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("this is not an age file: its text is not encrypted")]
    Clear,
    #[error("this age file is damaged: its armour is broken or cut off")]
    Armour,
    #[error("this age file is damaged: its header is broken or cut off")]
    Broken,
    #[error("this age file is damaged: it ends too early")]
    Short,
}

impl Header {
    /// How many ordinary age keys the file is encrypted to.
    pub fn keys(&self) -> usize {
        self.kinds.iter().filter(|kind| *kind == "X25519").count()
    }

    /// Whether a passphrase opens it; a daemon has nobody to ask for one.
    pub fn wants_passphrase(&self) -> bool {
        self.kinds.iter().any(|kind| kind == "scrypt")
    }
}

/// Reads the header of an age file, armoured or binary.
pub fn header(file: &[u8]) -> Result<Header, HeaderError> {
    let begins = |with: &[u8]| file.starts_with(with);
    if !begins(VERSION) && !begins(b"-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(HeaderError::Clear);
    }
    let mut bytes = Vec::new();
    let read = ArmoredReader::new(file).take(HEADER_MAX).read_to_end(&mut bytes);
    read.map_err(|_| HeaderError::Armour)?;
    let mut rest = bytes.strip_prefix(VERSION).ok_or(HeaderError::Broken)?;
    let mut kinds = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(HeaderError::Broken)?;
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| HeaderError::Broken)?;
        rest = &rest[end + 1..];
        if line.starts_with("--- ") {
            break;
        }
        if let Some(stanza) = line.strip_prefix("-> ") {
            kinds.push(stanza.split(' ').next().unwrap_or_default().to_owned());
        } else if kinds.is_empty() {
            return Err(HeaderError::Broken);
        }
    }
    match rest.len() {
        0..BODY_MIN => Err(HeaderError::Short),
        _ => Ok(Header { kinds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "age-encryption.org/v1\n-> X25519 AAAA\nBBBB\n-> joint-grease x\n\n--- mac\n";

    fn file(body: usize) -> Vec<u8> {
        [WHOLE.as_bytes(), &vec![7; body]].concat()
    }

    #[test]
    fn recipients_are_counted_and_grease_is_not() {
        let header = header(&file(40)).unwrap();
        assert_eq!(header.kinds, ["X25519", "joint-grease"]);
        assert_eq!(header.keys(), 1);
        assert!(!header.wants_passphrase());
    }

    #[test]
    fn damage_is_told_from_clear_text() {
        assert_eq!(header(b"hunter2"), Err(HeaderError::Clear));
        assert_eq!(header(b""), Err(HeaderError::Clear));
        assert_eq!(header(&file(31)), Err(HeaderError::Short));
        assert_eq!(header(&file(0)[..40]), Err(HeaderError::Broken));
        assert_eq!(header(b"age-encryption.org/v1\nnonsense\n--- x\n"), Err(HeaderError::Broken));
        assert_eq!(header(b"-----BEGIN AGE ENCRYPTED FILE-----\nAAA"), Err(HeaderError::Armour));
    }
}
