//! Ethernet hardware addresses.

use std::fmt;
use std::str::FromStr;

use super::similar::distance;

/// A unicast, non-zero Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text or byte string is not a usable hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    #[error("a hardware address is six pairs of hexadecimal digits, as in 52:54:00:aa:00:01")]
    Shape,
    #[error("this is a multicast address; a network card has a unicast one (first octet even)")]
    Multicast,
    #[error("the all-zero address belongs to no network card")]
    Zero,
}

impl Mac {
    /// Accepts any six octets of a card; refuses multicast and all-zero ones.
    pub fn new(octets: [u8; 6]) -> Result<Mac, MacError> {
        if octets == [0; 6] {
            Err(MacError::Zero)
        } else if octets[0] & 1 == 1 {
            Err(MacError::Multicast)
        } else {
            Ok(Mac(octets))
        }
    }

    pub fn octets(&self) -> [u8; 6] {
        self.0
    }

    /// `52-54-00-aa-00-01`: the form in file names (PXELINUX, iPXE `hexhyp`).
    pub fn dashed(&self) -> String {
        self.join("-")
    }

    /// Whether one may be a typing mistake for the other: a wrong digit, a digit in the wrong place, or two
    /// neighbours swapped.
    pub fn is_slip_of(&self, other: Mac) -> bool {
        *self != other && distance(&self.join(""), &other.join(""), 2).is_some_and(|edits| edits <= 1)
    }

    fn join(&self, separator: &str) -> String {
        let digits = super::hex(&self.0);
        let mut text = String::with_capacity(17);
        for at in (0..digits.len()).step_by(2) {
            if at > 0 {
                text.push_str(separator);
            }
            text.push_str(&digits[at..at + 2]);
        }
        text
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Reads `52:54:00:aa:00:01`, `52-54-00-AA-00-01`, `5254.00aa.0001` and `525400aa0001`.
    fn from_str(text: &str) -> Result<Mac, MacError> {
        let group = match text.len() {
            17 => 2,
            14 => 4,
            12 => 12,
            _ => return Err(MacError::Shape),
        };
        let mut digits = Vec::with_capacity(12);
        let mut separator = None;
        for (index, byte) in text.bytes().enumerate() {
            if group < 12 && index % (group + 1) == group {
                let expected = *separator.get_or_insert(byte);
                let allowed: &[u8] = if group == 4 { b"." } else { b":-" };
                if byte != expected || !allowed.contains(&byte) {
                    return Err(MacError::Shape);
                }
            } else {
                digits.push((byte as char).to_digit(16).ok_or(MacError::Shape)? as u8);
            }
        }
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = pair[0] << 4 | pair[1];
        }
        Mac::new(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_common_spelling() {
        for text in ["52:54:00:aa:00:01", "52-54-00-AA-00-01", "5254.00aa.0001", "525400aa0001"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:aa:00:01");
        }
    }

    #[test]
    fn refuses_what_no_card_can_have() {
        assert_eq!("01:00:5e:00:00:01".parse::<Mac>(), Err(MacError::Multicast));
        assert_eq!("ff:ff:ff:ff:ff:ff".parse::<Mac>(), Err(MacError::Multicast));
        assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(MacError::Zero));
        for text in ["", "52:54:00:aa:00", "52:54-00:aa:00:01", "52:54:00:aa:00:0g", "52:54:00:aa:00:0é"] {
            assert_eq!(text.parse::<Mac>(), Err(MacError::Shape), "{text}");
        }
    }
}
