//! IPv4 networks and address ranges.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: a base address with no host bits set, and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: u32,
    length: u8,
}

/// Why a text is not a network or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    #[error("a network is written as address/length, as in 10.0.10.0/24")]
    Shape,
    #[error("an IPv4 network has at most 32 bits, not {0}")]
    TooLong(u16),
    #[error("bits are set after the first {length}: did you mean {base}/{length}?")]
    HostBits { base: Ipv4Addr, length: u8 },
    #[error("a range is written as first-last, as in 10.0.10.100-10.0.10.199")]
    RangeShape,
    #[error("the range ends before it begins")]
    RangeOrder,
}

impl Cidr {
    /// The network of `length` bits that holds `address`; `length` at most 32.
    pub fn around(address: Ipv4Addr, length: u8) -> Cidr {
        let length = length.min(32);
        Cidr { base: u32::from(address) & mask(length), length }
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.length) == self.base
    }

    pub fn network(&self) -> Ipv4Addr {
        self.base.into()
    }

    /// The last address, whatever it is for.
    pub fn last(&self) -> Ipv4Addr {
        (self.base | !mask(self.length)).into()
    }

    /// The broadcast address; a /31 and a /32 have none (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (self.length <= 30).then(|| self.last())
    }

    /// Whether a packet to `destination` is a broadcast on this network.
    pub fn is_for_everybody(&self, destination: Ipv4Addr) -> bool {
        destination.is_broadcast() || self.broadcast() == Some(destination)
    }

    pub fn netmask(&self) -> Ipv4Addr {
        mask(self.length).into()
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether a machine may carry this address: inside, and neither network nor broadcast
    /// address (which /31 and /32 do not have, RFC 3021).
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && (self.length >= 31 || (address != self.network() && address != self.last()))
    }

    /// First and last host address.
    pub fn hosts(&self) -> Range {
        let (first, last) = (self.base, self.base | !mask(self.length));
        let edge = u32::from(self.length < 31);
        Range { first: (first + edge).into(), last: (last - edge).into() }
    }

    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Cidr, NetError> {
        let (address, length) = text.split_once('/').ok_or(NetError::Shape)?;
        let address: Ipv4Addr = address.parse().map_err(|_| NetError::Shape)?;
        let length: u16 = length.parse().map_err(|_| NetError::Shape)?;
        let length =
            u8::try_from(length).ok().filter(|length| *length <= 32).ok_or(NetError::TooLong(length))?;
        let cidr = Cidr::around(address, length);
        if cidr.network() == address {
            Ok(cidr)
        } else {
            Err(NetError::HostBits { base: cidr.network(), length })
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl Range {
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// How many addresses, both ends counted.
    pub fn len(&self) -> u64 {
        u64::from(u32::from(self.last)) - u64::from(u32::from(self.first)) + 1
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

impl FromStr for Range {
    type Err = NetError;

    /// Reads `10.0.10.100-10.0.10.199`; blanks around the hyphen are allowed.
    fn from_str(text: &str) -> Result<Range, NetError> {
        let (first, last) = text.split_once('-').ok_or(NetError::RangeShape)?;
        let first: Ipv4Addr = first.trim().parse().map_err(|_| NetError::RangeShape)?;
        let last: Ipv4Addr = last.trim().parse().map_err(|_| NetError::RangeShape)?;
        if first <= last { Ok(Range { first, last }) } else { Err(NetError::RangeOrder) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_know_their_hosts() {
        let lab: Cidr = "10.0.10.0/24".parse().unwrap();
        assert_eq!(lab.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(lab.hosts().to_string(), "10.0.10.1-10.0.10.254");
        assert!(!lab.is_host("10.0.10.255".parse().unwrap()));
        assert_eq!(lab.broadcast(), Some(Ipv4Addr::new(10, 0, 10, 255)));
        for small in ["10.0.0.0/31", "10.0.0.7/32"] {
            let small: Cidr = small.parse().unwrap();
            assert_eq!(small.broadcast(), None, "{small}");
            assert!(!small.is_for_everybody(small.last()), "{small}: its own address");
            assert!(small.is_for_everybody(Ipv4Addr::BROADCAST));
        }
        assert_eq!("10.0.0.0/31".parse::<Cidr>().unwrap().hosts().len(), 2);
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap().netmask(), Ipv4Addr::UNSPECIFIED);
        assert!("10.0.10.0/24".parse::<Cidr>().unwrap().overlaps(&"10.0.0.0/16".parse().unwrap()));
    }

    #[test]
    fn mistakes_name_the_cure() {
        assert_eq!(
            "10.0.10.7/24".parse::<Cidr>().unwrap_err().to_string(),
            "bits are set after the first 24: did you mean 10.0.10.0/24?"
        );
        assert_eq!("10.0.10.9-10.0.10.1".parse::<Range>(), Err(NetError::RangeOrder));
        assert_eq!(
            "10.0.10.0/33".parse::<Cidr>().unwrap_err().to_string(),
            "an IPv4 network has at most 32 bits, not 33"
        );
        for text in ["", "10.0.10.0", "10.0.10.0/-1", "10.0.10/24"] {
            assert_eq!(text.parse::<Cidr>(), Err(NetError::Shape), "{text}");
        }
    }
}
