//! The digest that every record carries: keyed, so that only this state directory makes it, and over
//! the record's kind and name besides its value, so that two records can't change places.
//!
//! A stored value is the digest (16 bytes), the length of the name (2 bytes, little-endian), the name,
//! then the value. The name lies there a second time so that damage to one of the two still tells which
//! record it was.
//!
//! What this detects: any changed, swapped or forged record. Together with the sum over all digests
//! (`records::Head`) also a record that is missing, added, or put back to an earlier value. What it
//! does not detect: a whole older copy of the file, unless the lease journal beside it is newer.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// Length of a digest in bytes.
pub(crate) const TAG: usize = 16;

/// HMAC-SHA256, the first 16 bytes.
pub(crate) type Tag = [u8; TAG];

/// The key of a state directory's digests.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// A stored value that does not fit its digest. These are the names it may have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub names: Vec<String>,
}

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Key {
        Key(Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length"))
    }

    /// What makes the digests of the lease journal unforgeable; nobody on the network knows it.
    pub(crate) fn salt(&self) -> [u8; 16] {
        self.tag("salt", "leases", b"")
    }

    fn tag(&self, kind: &str, name: &str, value: &[u8]) -> Tag {
        let mut hmac = self.0.clone();
        for part in [kind.as_bytes(), name.as_bytes()] {
            hmac.update(&(part.len() as u32).to_le_bytes());
            hmac.update(part);
        }
        hmac.update(value);
        let mut tag = Tag::default();
        tag.copy_from_slice(&hmac.finalize().into_bytes()[..TAG]);
        tag
    }

    /// A value as it was stored.
    #[cfg(test)]
    fn seal(&self, kind: &str, name: &str, value: &[u8]) -> Vec<u8> {
        let mut stored = self.tag(kind, name, value).to_vec();
        stored.extend_from_slice(&(name.len() as u16).to_le_bytes());
        stored.extend_from_slice(name.as_bytes());
        stored.extend_from_slice(value);
        stored
    }

    /// The value of a stored one that fits its digest.
    pub(crate) fn open<'a>(&self, kind: &str, name: &str, stored: &'a [u8]) -> Result<&'a [u8], Unfit> {
        let inside = split(stored);
        match inside {
            Some((own, value))
                if own == name.as_bytes() && self.tag(kind, name, value)[..] == stored[..TAG] =>
            {
                Ok(value)
            }
            _ => {
                let own = inside.and_then(|(own, _)| std::str::from_utf8(own).ok());
                let mut names = vec![name.to_owned()];
                names.extend(own.filter(|own| *own != name).map(str::to_owned));
                Err(Unfit { names })
            }
        }
    }
}

/// The digest that a stored value carries, fitting or not.
pub(crate) fn tag_of(stored: &[u8]) -> Tag {
    stored.get(..TAG).and_then(|tag| tag.try_into().ok()).unwrap_or_default()
}

/// Name and value of a stored value, believed without its digest.
pub(crate) fn split(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = stored.get(TAG..)?;
    let (length, rest) = rest.split_at_checked(2)?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(length.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed_and_the_name_is_still_known() {
        let key = Key::new([3; 32]);
        let stored = key.seal("install", "web-1", b"{\"redeploy\":1}");
        assert_eq!(key.open("install", "web-1", &stored), Ok(&b"{\"redeploy\":1}"[..]));
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let unfit = key.open("install", "web-1", &flipped).unwrap_err();
            assert_eq!(unfit.names[0], "web-1", "bit {bit}");
        }
        // One bit of the name it lies under.
        assert_eq!(key.open("install", "web-3", &stored).unwrap_err().names, ["web-3", "web-1"]);
    }

    #[test]
    fn records_can_not_change_places() {
        let (key, other) = (Key::new([3; 32]), Key::new([4; 32]));
        let stored = key.seal("install", "a", b"1");
        assert!(key.open("install", "b", &stored).is_err());
        assert!(key.open("note", "a", &stored).is_err());
        assert!(other.open("install", "a", &stored).is_err());
        assert!(key.open("install", "a", &[]).is_err());
    }
}
