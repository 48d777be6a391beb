//! Router advertisements (RFC 4861 section 4.2) as the operator chooses. They let machines use DHCPv6;
//! without them iPXE does not (and waits some 16 s for one to come).

use std::net::Ipv6Addr;

use crate::desired::{Advertise, Ipv6};
use crate::model::Span;

/// Types of ICMPv6 messages.
pub const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// All nodes of a link, and all its routers.
pub const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Every advertisement and solicitation has this hop limit: it has passed no router.
pub const HOP_LIMIT: u8 = 255;
/// How often one is sent without a solicitation.
pub const PERIOD: Span = Span::seconds(200);

const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
/// How long machines keep the daemon as their router, and addresses of their own as valid: nine periods, so
/// that a lost one or two do no harm.
const LIFETIME: u32 = 1800;

/// The message, with its checksum left to the kernel; `None` where none is to be sent.
pub fn advertisement(ipv6: &Ipv6) -> Option<Vec<u8>> {
    let Ipv6 { cidr, dynamic: _, dns, ra, router } = ipv6;
    let flags = match ra {
        Advertise::Off => return None,
        Advertise::Managed => MANAGED | OTHER,
        // An address that the machine makes itself brings no boot file, so DHCPv6 is still needed for that.
        Advertise::Other | Advertise::Slaac => OTHER,
    };
    let lifetime: u16 = if *router { LIFETIME as u16 } else { 0 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, flags];
    message.extend_from_slice(&lifetime.to_be_bytes());
    // Reachable and retransmission time: unspecified by this router.
    message.extend_from_slice(&[0; 8]);
    let prefix = match ra {
        Advertise::Slaac => ON_LINK | AUTONOMOUS,
        _ => ON_LINK,
    };
    if *ra != Advertise::Other {
        message.extend_from_slice(&[3, 4, cidr.length(), prefix]);
        message.extend_from_slice(&LIFETIME.to_be_bytes());
        message.extend_from_slice(&LIFETIME.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&cidr.network().octets());
    }
    // Name servers (RFC 8106); the length counts eights of bytes in one byte.
    let dns = &dns[..dns.len().min(8)];
    if !dns.is_empty() {
        message.extend_from_slice(&[25, 1 + 2 * dns.len() as u8, 0, 0]);
        message.extend_from_slice(&LIFETIME.to_be_bytes());
        dns.iter().for_each(|server| message.extend_from_slice(&server.octets()));
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(ra: Advertise) -> Ipv6 {
        let dns = vec!["fd00:10::1".parse().unwrap()];
        Ipv6 { cidr: "fd00:10::/64".parse().unwrap(), dynamic: Vec::new(), dns, ra, router: false }
    }

    #[test]
    fn what_is_advertised_is_what_was_chosen() {
        assert_eq!(advertisement(&ipv6(Advertise::Off)), None);
        let managed = advertisement(&ipv6(Advertise::Managed)).unwrap();
        assert_eq!(managed[..8], [134, 0, 0, 0, 64, 0xc0, 0, 0]);
        assert_eq!(managed[16..20], [3, 4, 64, 0x80]);
        assert_eq!(managed[32..34], [0xfd, 0]);
        assert_eq!(managed[48..50], [25, 3]);
        assert_eq!(managed.len(), 72);
        let slaac = advertisement(&ipv6(Advertise::Slaac)).unwrap();
        assert_eq!((slaac[5], slaac[19]), (0x40, 0xc0));
        let other = advertisement(&ipv6(Advertise::Other)).unwrap();
        assert_eq!((other[5], other[16]), (0x40, 25), "of addresses nothing is said");
        let router = advertisement(&Ipv6 { router: true, ..ipv6(Advertise::Managed) }).unwrap();
        assert_eq!(router[6..8], 1800u16.to_be_bytes());
    }
}
