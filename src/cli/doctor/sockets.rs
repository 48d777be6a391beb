//! Which program has which port: the kernel's tables of sockets, and the open files of processes (proc(5)).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

/// A socket that waits for others: UDP, or TCP that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    local: SocketAddr,
    inode: u64,
}

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub pid: u32,
    /// As `ps -o comm` shows it.
    pub name: String,
}

/// `(address, owner)` of every socket that an own one at `at` would collide with. The owner is unknown to users who
/// may not look into others' processes.
pub(super) fn holders(transport: Transport, at: SocketAddr) -> Vec<(SocketAddr, Option<Owner>)> {
    let tables = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let texts = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let open = texts.iter().flat_map(|text| table(text, transport));
    let found: Vec<Open> = open.filter(|one| collides(one.local, at)).collect();
    let mut owners = if found.is_empty() { BTreeMap::new() } else { owners() };
    found.into_iter().map(|one| (one.local, owners.remove(&one.inode))).collect()
}

/// Whether two sockets of one transport can't both be there. `::` takes IPv4 too, unless it says otherwise, which the
/// tables do not show.
fn collides(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let any = |ip: IpAddr, of: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || of.is_ipv4());
    one.port() == other.port() && (a == b || any(a, b) || any(b, a))
}

/// Rows of `/proc/net/tcp` and its siblings. The state of TCP sockets that listen is 0A.
fn table(text: &str, transport: Transport) -> Vec<Open> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if transport == Transport::Tcp && *fields.get(3)? != "0A" {
            return None;
        }
        Some(Open { local: address(fields.get(1)?)?, inode: fields.get(9)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// `0100007F:0035`: words of 32 bits in the host's byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Every socket of a process that this user may look into, by inode.
fn owners() -> BTreeMap<u64, Owner> {
    let mut owners = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        let inodes: Vec<u64> = targets.filter_map(|target| inode(target.to_str()?)).collect();
        if inodes.is_empty() {
            continue;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let owner = Owner { pid, name: name.trim().to_owned() };
        owners.extend(inodes.into_iter().map(|inode| (inode, owner.clone())));
    }
    owners
}

fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let udp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                   1234: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n";
        let found = table(udp, Transport::Udp);
        assert_eq!(found, [Open { local: "0.0.0.0:67".parse().unwrap(), inode: 4711 }]);
        let tcp = "header\n\
            0: 0100007F:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12 1 0 100 0 0 10 0\n\
            1: 0100007F:3039 0100007F:C000 01 00000000:00000000 00:00000000 00000000 0 0 13 1 0 100 0 0 10 0\nodd\n";
        let found = table(tcp, Transport::Tcp);
        if cfg!(target_endian = "little") {
            assert_eq!(found, [Open { local: "127.0.0.1:12345".parse().unwrap(), inode: 12 }]);
        }
        let six = address("00000000000000000000000001000000:0050");
        if cfg!(target_endian = "little") {
            assert_eq!(six, Some("[::1]:80".parse().unwrap()));
        }
        for odd in ["", "00:", "0100007F", "zz00007F:0035", "0100007F:10000"] {
            assert_eq!(address(odd), None, "{odd}");
        }
    }

    #[test]
    fn sockets_collide_where_their_addresses_do() {
        let at = |one: &str, other: &str| collides(one.parse().unwrap(), other.parse().unwrap());
        assert!(
            at("0.0.0.0:80", "10.0.0.1:80")
                && at("[::]:80", "10.0.0.1:80")
                && at("10.0.0.1:80", "10.0.0.1:80")
        );
        assert!(!at("10.0.0.2:80", "10.0.0.1:80") && !at("0.0.0.0:81", "10.0.0.1:80"));
        assert!(!at("0.0.0.0:80", "[fd00::1]:80"));
    }
}
