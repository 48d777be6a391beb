//! The IPv6 addresses of an interface, with what the kernel says of each.

use std::net::Ipv6Addr;

/// Flags of `/proc/net/if_inet6` (linux/if_addr.h).
const TEMPORARY: u8 = 0x01;
const DUPLICATE: u8 = 0x08;
const PERMANENT: u8 = 0x80;

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address6 {
    pub address: Ipv6Addr,
    /// Whether it is configured permanently; a router's or a DHCPv6 server's expires by itself.
    pub permanent: bool,
    /// A privacy address (RFC 8981), which changes every day.
    pub temporary: bool,
    /// Another host on the link has it (RFC 4862 section 5.4): it can't be used.
    pub duplicate: bool,
}

/// The addresses of the interface `name`, the link-local ones too; none if they can't be read.
pub fn addresses6(name: &str) -> Vec<Address6> {
    // Of this thread's network namespace.
    let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    text.lines().filter_map(|line| read(line, name)).collect()
}

/// `fd000010000000000000000000000001 02 40 00 80 eth0`: address, index, prefix length, scope, flags, name.
fn read(line: &str, name: &str) -> Option<Address6> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, _, _, flags, device] = words.as_slice() else { return None };
    if *device != name {
        return None;
    }
    let address = u128::from_str_radix(address, 16).ok()?.into();
    // The file has the flags' low eight bits.
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let has = |flag: u8| flags & flag != 0;
    Some(Address6 {
        address,
        permanent: has(PERMANENT),
        temporary: has(TEMPORARY),
        duplicate: has(DUPLICATE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let own = "fd000010000000000000000000000001 02 40 00 80     eth0";
        let found = read(own, "eth0").unwrap();
        assert_eq!(found.address, "fd00:10::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!((found.permanent, found.temporary, found.duplicate), (true, false, false));
        assert_eq!(read(own, "eth"), None);
        let privacy = read("fd00001000000000020c29fffe0c47d5 02 40 00 09 eth0", "eth0").unwrap();
        assert_eq!((privacy.permanent, privacy.temporary, privacy.duplicate), (false, true, true));
        assert_eq!(read("nonsense", "eth0"), None);
    }
}
