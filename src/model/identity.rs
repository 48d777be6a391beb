//! The identities that a machine may show beside a hardware address: a DHCP client id, or the UUID that its
//! firmware reads from its board.

use std::fmt;

use super::{hex, junk};

/// One identity by which the manifests may know a machine whose card they do not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Option 61 as it travels, its type byte included.
    ClientId(Box<[u8]>),
    /// As people and SMBIOS write it: the first three fields big-endian.
    Uuid([u8; 16]),
}

/// Why a text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("a UUID is written like 4c4c4544-0042-3510-8056-b4c04f4e4d32")]
    Uuid,
    #[error("a UUID of only zeros or only ones is what boards without one show")]
    Nobody,
    #[error(
        "a client id is 1 to 255 bytes: a text, or pairs of hexadecimal digits as in \"hex:01525400aa0001\""
    )]
    ClientId,
}

impl Identity {
    pub fn uuid(text: &str) -> Result<Identity, IdentityError> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        if groups != [8, 4, 4, 4, 12] {
            return Err(IdentityError::Uuid);
        }
        let bytes = pairs(&text.replace('-', "")).ok_or(IdentityError::Uuid)?;
        let uuid: [u8; 16] = bytes.try_into().map_err(|_| IdentityError::Uuid)?;
        if uuid == [0; 16] || uuid == [0xff; 16] {
            Err(IdentityError::Nobody)
        } else {
            Ok(Identity::Uuid(uuid))
        }
    }

    /// The bytes of a text; after `hex:` come pairs of digits, with or without colons between them.
    pub fn client_id(text: &str) -> Result<Identity, IdentityError> {
        let bytes = match text.strip_prefix("hex:") {
            Some(digits) => pairs(&digits.replace(':', "")).ok_or(IdentityError::ClientId)?,
            None => text.as_bytes().to_vec(),
        };
        let fits = (1..=255).contains(&bytes.len());
        if fits { Ok(Identity::ClientId(bytes.into())) } else { Err(IdentityError::ClientId) }
    }

    /// Whether many machines show this: it identifies nobody.
    pub fn is_junk(&self) -> bool {
        match self {
            Identity::ClientId(id) => junk::is_junk_client_id(id),
            Identity::Uuid(uuid) => junk::is_junk_uuid(*uuid),
        }
    }

    /// The UUIDs that the 16 bytes of option 97 may be: firmware sends them in SMBIOS order, with the first
    /// three fields little-endian, and some as people write them.
    pub fn on_wire(bytes: [u8; 16]) -> [Identity; 2] {
        let mut swapped = bytes;
        swapped[..4].reverse();
        swapped[4..6].reverse();
        swapped[6..8].reverse();
        [Identity::Uuid(swapped), Identity::Uuid(bytes)]
    }
}

fn pairs(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        digits.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::ClientId(bytes) => write!(f, "client id hex:{}", hex(bytes)),
            Identity::Uuid(uuid) => {
                let digits = hex(uuid);
                let [a, b, c, d] = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20]];
                write!(f, "UUID {a}-{b}-{c}-{d}-{}", &digits[20..])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_shown() {
        let uuid = Identity::uuid("11223344-5566-7788-99AA-525400770001").unwrap();
        assert_eq!(uuid.to_string(), "UUID 11223344-5566-7788-99aa-525400770001");
        let mut wire =
            [0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0x52, 0x54, 0, 0x77, 0, 1];
        assert_eq!(Identity::on_wire(wire)[0], uuid);
        wire[..8].copy_from_slice(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(Identity::on_wire(wire)[1], uuid);
        let id = Identity::client_id("hex:01:52:54:00:aa:00:01").unwrap();
        assert_eq!(id, Identity::ClientId([1, 0x52, 0x54, 0, 0xaa, 0, 1].into()));
        assert_eq!(Identity::client_id("rack1").unwrap(), Identity::ClientId((*b"rack1").into()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "11223344", "1122334455667788-99aa-5254-0077-0001", "g1223344-5566-7788-99aa-525400770001"]
        {
            assert_eq!(Identity::uuid(text), Err(IdentityError::Uuid), "{text}");
        }
        assert_eq!(Identity::uuid("00000000-0000-0000-0000-000000000000"), Err(IdentityError::Nobody));
        for text in ["", "hex:", "hex:1", "hex:zz"] {
            assert_eq!(Identity::client_id(text), Err(IdentityError::ClientId), "{text}");
        }
    }
}
