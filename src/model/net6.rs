//! IPv6 networks and address ranges.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::Mac;

/// An IPv6 network: a base address with no host bits set, and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr6 {
    base: u128,
    length: u8,
}

/// Why a text is not an IPv6 network or range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Net6Error {
    #[error("an IPv6 network is written as address/length, as in fd00:10::/64")]
    Shape,
    #[error("an IPv6 network has at most 128 bits, not {0}")]
    TooLong(u16),
    #[error("bits are set after the first {length}: did you mean {base}/{length}?")]
    HostBits { base: Ipv6Addr, length: u8 },
    #[error("an IPv6 range is written as first-last, as in fd00:10::1000-fd00:10::1fff")]
    RangeShape,
    #[error("the range ends before it begins")]
    RangeOrder,
}

impl Cidr6 {
    /// The network of `length` bits that holds `address`; `length` at most 128.
    pub fn around(address: Ipv6Addr, length: u8) -> Cidr6 {
        let length = length.min(128);
        Cidr6 { base: u128::from(address) & mask(length), length }
    }

    pub fn contains(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.length) == self.base
    }

    pub fn network(&self) -> Ipv6Addr {
        self.base.into()
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether a machine may carry this address: inside, and not the network's own, which is
    /// every router's (RFC 4291 section 2.6.1).
    pub fn is_host(&self, address: Ipv6Addr) -> bool {
        self.contains(address) && (self.length >= 127 || address != self.network())
    }

    pub fn overlaps(&self, other: &Cidr6) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// The address that a card makes for itself here out of its own (RFC 4291 appendix A); only
    /// a /64 has one.
    pub fn own_address(&self, mac: Mac) -> Option<Ipv6Addr> {
        (self.length == 64).then(|| Ipv6Addr::from(self.base | u128::from(interface_id(mac))))
    }
}

/// The lower half of an address that is made of a hardware address: modified EUI-64.
pub fn interface_id(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The hardware address that an IPv6 address is made of, if it looks like that.
pub fn mac_in(address: Ipv6Addr) -> Option<Mac> {
    match address.octets()[8..] {
        [a, b, c, 0xff, 0xfe, d, e, f] => Mac::new([a ^ 2, b, c, d, e, f]).ok(),
        _ => None,
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

impl FromStr for Cidr6 {
    type Err = Net6Error;

    fn from_str(text: &str) -> Result<Cidr6, Net6Error> {
        let (address, length) = text.split_once('/').ok_or(Net6Error::Shape)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Net6Error::Shape)?;
        let length: u16 = length.parse().map_err(|_| Net6Error::Shape)?;
        let length =
            u8::try_from(length).ok().filter(|length| *length <= 128).ok_or(Net6Error::TooLong(length))?;
        let cidr = Cidr6::around(address, length);
        match cidr.network() == address {
            true => Ok(cidr),
            false => Err(Net6Error::HostBits { base: cidr.network(), length }),
        }
    }
}

impl fmt::Display for Cidr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

/// A range of IPv6 addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range6 {
    pub first: Ipv6Addr,
    pub last: Ipv6Addr,
}

impl Range6 {
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// How far the last address is from the first.
    pub fn distance(&self) -> u128 {
        u128::from(self.last) - u128::from(self.first)
    }
}

impl FromStr for Range6 {
    type Err = Net6Error;

    /// Reads `fd00:10::1000-fd00:10::1fff`; blanks around the hyphen are allowed.
    fn from_str(text: &str) -> Result<Range6, Net6Error> {
        let (first, last) = text.split_once('-').ok_or(Net6Error::RangeShape)?;
        let first: Ipv6Addr = first.trim().parse().map_err(|_| Net6Error::RangeShape)?;
        let last: Ipv6Addr = last.trim().parse().map_err(|_| Net6Error::RangeShape)?;
        if first <= last { Ok(Range6 { first, last }) } else { Err(Net6Error::RangeOrder) }
    }
}

impl fmt::Display for Range6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_know_what_is_in_them() {
        let lab: Cidr6 = "fd00:10::/64".parse().unwrap();
        assert!(lab.contains("fd00:10::ffff:1".parse().unwrap()));
        assert!(!lab.contains("fd00:10:0:1::1".parse().unwrap()));
        assert!(!lab.is_host("fd00:10::".parse().unwrap()));
        assert!(lab.overlaps(&"fd00::/16".parse().unwrap()));
        assert_eq!("::/0".parse::<Cidr6>().unwrap().to_string(), "::/0");
        assert!("fd00::1/128".parse::<Cidr6>().unwrap().is_host("fd00::1".parse().unwrap()));
    }

    #[test]
    fn a_card_has_its_own_address() {
        let mac: Mac = "52:54:00:77:00:01".parse().unwrap();
        let own = "fd00:10::/64".parse::<Cidr6>().unwrap().own_address(mac).unwrap();
        assert_eq!(own.to_string(), "fd00:10::5054:ff:fe77:1");
        assert_eq!(mac_in(own), Some(mac));
        assert_eq!(mac_in("fd00:10::1".parse().unwrap()), None);
        assert_eq!("fd00:10::/80".parse::<Cidr6>().unwrap().own_address(mac), None);
    }

    #[test]
    fn mistakes_name_the_cure() {
        assert_eq!(
            "fd00:10::1/64".parse::<Cidr6>().unwrap_err().to_string(),
            "bits are set after the first 64: did you mean fd00:10::/64?"
        );
        assert_eq!("fd00::9-fd00::1".parse::<Range6>(), Err(Net6Error::RangeOrder));
        assert_eq!("fd00::/129".parse::<Cidr6>(), Err(Net6Error::TooLong(129)));
        for text in ["", "fd00::", "fd00::/x", "10.0.0.0/8"] {
            assert_eq!(text.parse::<Cidr6>(), Err(Net6Error::Shape), "{text}");
        }
    }
}
