//! Cases that conformance suites of DHCPv6 servers have and `ipv6.rs` has not (RFC 8415 sections
//! 16, 18.3 and 21).

use dhcproto::v6::{DhcpOption, OptionCode};
use voldemort::proto::dhcp6::Reason;

use super::ipv6::{
    FIXED, INFORMATION, ONE, RELEASE, RENEW, REQUEST, SOLICIT, address, addresses, duid, ia, link,
};
use super::ipv6::{message, o, reason, reply, table, to_us};

const DECLINE: u8 = 9;

#[test]
fn messages_with_ids_too_many_or_too_few_are_discarded() {
    let mut table = table();
    let own = link(ONE);
    // 16.2, 16.3 to 16.10: who must name a server and who must not; nobody comes without an id.
    for kind in [SOLICIT, 4, 6] {
        let wrong = to_us(&table, kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut table, &own, &wrong), Reason::Malformed(_)), "{kind} names a server");
    }
    for kind in [REQUEST, RENEW, RELEASE, DECLINE] {
        let nobodys = message(kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut table, &own, &nobodys), Reason::Malformed(_)), "{kind} names no server");
        let nameless = to_us(&table, kind, &[ia(&[])]);
        assert!(
            matches!(reason(&mut table, &own, &nameless), Reason::Malformed(_)),
            "{kind} has no client id"
        );
        let others = message(kind, &[duid(1), o(2, b"\0\x04somebody else's"), ia(&[])]);
        assert_eq!(reason(&mut table, &own, &others), Reason::OtherServer, "{kind}");
    }
    for kind in [2, 7, 10] {
        let servers = message(kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut table, &own, &servers), Reason::Unexpected(_)), "{kind} is a server's");
    }
    assert_eq!(table.leases6.iter().count(), 0);
}

/// 16.12: an INFORMATION-REQUEST may not ask for an address, and may leave its client id out.
#[test]
fn information_is_given_to_who_asks_for_nothing_else() {
    let mut table = table();
    let own = link(FIXED);
    let both = message(INFORMATION, &[duid(1), ia(&[])]);
    assert!(matches!(reason(&mut table, &own, &both), Reason::Malformed(_)));
    let nameless = reply(&mut table, &own, 0, &message(INFORMATION, &[]));
    assert!(nameless.opts().get(OptionCode::ClientId).is_none());
    let named = reply(&mut table, &own, 0, &message(INFORMATION, &[duid(1)]));
    assert!(named.opts().get(OptionCode::ClientId).is_some());
    assert!(named.opts().get(OptionCode::ServerId).is_some());
}

/// 18.3: ids are echoed, the transaction is, and a SOLICIT without rapid commit writes nothing.
#[test]
fn answers_say_whose_they_are() {
    let mut table = table();
    for (kind, named) in [(SOLICIT, false), (REQUEST, true)] {
        let options = [duid(1), ia(&[])];
        let asked = if named { to_us(&table, kind, &options) } else { message(kind, &options) };
        let answer = reply(&mut table, &link(ONE), 0, &asked);
        assert_eq!(answer.xid(), [1, 2, 3]);
        let id = [&[0, 4], &[1; 16][..]].concat();
        assert_eq!(answer.opts().get(OptionCode::ClientId), Some(&DhcpOption::ClientId(id)));
        assert_eq!(answer.opts().get(OptionCode::ServerId), Some(&DhcpOption::ServerId(table.duid())));
    }
}

/// 21.4: T1 and T2 are a half and four fifths, or nothing; preferred before valid.
#[test]
fn times_are_in_order() {
    let mut table = table();
    let answer = reply(&mut table, &link(ONE), 0, &message(SOLICIT, &[duid(1), ia(&[])]));
    let Some(DhcpOption::IANA(ia)) = answer.opts().get(OptionCode::IANA) else { panic!("{answer:?}") };
    assert!(ia.t1 <= ia.t2 && ia.t2 <= 3600, "{} {}", ia.t1, ia.t2);
    let Some(DhcpOption::IAAddr(one)) = ia.opts.get(OptionCode::IAAddr) else { panic!("{ia:?}") };
    assert!(one.preferred_life <= one.valid_life && one.valid_life == 3600);
}

/// 18.3.2: a wish in a REQUEST that can't be had is answered with what can.
#[test]
fn a_wish_that_can_not_be_had_is_answered_with_the_right_address() {
    let mut table = table();
    let fixed = to_us(&table, REQUEST, &[duid(1), ia(&["fd00:10::1000"])]);
    let answer = reply(&mut table, &link(FIXED), 0, &fixed);
    assert_eq!(addresses(&answer)[0], ("fd00:10::21".into(), 3600));
    let taken = to_us(&table, REQUEST, &[duid(2), ia(&["fd00:10::21"])]);
    let other = reply(&mut table, &link(ONE), 0, &taken);
    assert_ne!(address(&other), "fd00:10::21");
}

/// RFC 5970: option 60 is misread by EDK2 as the size of the file (quirk 47), so it is never sent.
#[test]
fn parameters_of_the_boot_file_are_not_sent() {
    let mut table = table();
    let class = [&[0, 0, 1, 0x57, 0, 32][..], b"PXEClient:Arch:00007:UNDI:003000"].concat();
    let wanted = o(6, &[0, 59, 0, 60, 0, 23]);
    let asked = message(SOLICIT, &[duid(1), ia(&[]), o(16, &class), o(61, &[0, 7]), wanted]);
    let answer = reply(&mut table, &link(FIXED), 0, &asked);
    assert!(answer.opts().get(OptionCode::OptBootfileParam).is_none());
    assert!(answer.opts().get(OptionCode::OptBootfileUrl).is_some());
}
