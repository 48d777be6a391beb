//! Cases that conformance suites of DHCPv6 servers have and `ipv6.rs` has not (RFC 8415 sections
//! 16, 18.3 and 21).

use dhcproto::v6::{DhcpOption, OptionCode, Status};
use voldemort::proto::dhcp6::{Decision, Link, Reason};
use voldemort::state::State;

use super::ipv6::{
    CONFIRM, DECLINE, FIXED, INFORMATION, ONE, REBIND, RELEASE, RENEW, REQUEST, SOLICIT, address, addresses,
    duid, ia, link, message, o, reason, relay, reply, settle, state, status_of_ia, to_us,
};

#[test]
fn messages_with_ids_too_many_or_too_few_are_discarded() {
    let mut state = state();
    let own = link(ONE);
    // 16.2, 16.3 to 16.10: who must name a server and who must not; nobody comes without an id.
    for kind in [SOLICIT, 4, 6] {
        let wrong = to_us(&state, kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut state, &own, &wrong), Reason::Malformed(_)), "{kind} names a server");
    }
    for kind in [REQUEST, RENEW, RELEASE, DECLINE] {
        let nobodys = message(kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut state, &own, &nobodys), Reason::Malformed(_)), "{kind} names no server");
        let nameless = to_us(&state, kind, &[ia(&[])]);
        assert!(
            matches!(reason(&mut state, &own, &nameless), Reason::Malformed(_)),
            "{kind} has no client id"
        );
        let others = message(kind, &[duid(1), o(2, b"\0\x04somebody else's"), ia(&[])]);
        assert_eq!(reason(&mut state, &own, &others), Reason::OtherServer, "{kind}");
    }
    for kind in [2, 7, 10] {
        let servers = message(kind, &[duid(1), ia(&[])]);
        assert!(matches!(reason(&mut state, &own, &servers), Reason::Unexpected(_)), "{kind} is a server's");
    }
    assert_eq!(state.leases6().iter().count(), 0);
}

/// 16.12: an INFORMATION-REQUEST may not ask for an address, and may leave its client id out.
#[test]
fn information_is_given_to_who_asks_for_nothing_else() {
    let mut state = state();
    let own = link(FIXED);
    let both = message(INFORMATION, &[duid(1), ia(&[])]);
    assert!(matches!(reason(&mut state, &own, &both), Reason::Malformed(_)));
    let nameless = reply(&mut state, &own, 0, &message(INFORMATION, &[]));
    assert!(nameless.opts().get(OptionCode::ClientId).is_none());
    let named = reply(&mut state, &own, 0, &message(INFORMATION, &[duid(1)]));
    assert!(named.opts().get(OptionCode::ClientId).is_some());
    assert!(named.opts().get(OptionCode::ServerId).is_some());
}

/// 18.3: ids are echoed, the transaction is, and a SOLICIT without rapid commit writes nothing.
#[test]
fn answers_say_whose_they_are() {
    let mut state = state();
    for (kind, named) in [(SOLICIT, false), (REQUEST, true)] {
        let options = [duid(1), ia(&[])];
        let asked = if named { to_us(&state, kind, &options) } else { message(kind, &options) };
        let answer = reply(&mut state, &link(ONE), 0, &asked);
        assert_eq!(answer.xid(), [1, 2, 3]);
        let id = [&[0, 4], &[1; 16][..]].concat();
        assert_eq!(answer.opts().get(OptionCode::ClientId), Some(&DhcpOption::ClientId(id)));
        assert_eq!(answer.opts().get(OptionCode::ServerId), Some(&DhcpOption::ServerId(state.duid())));
    }
}

/// 21.4: T1 and T2 are a half and four fifths, or nothing; preferred before valid.
#[test]
fn times_are_in_order() {
    let mut state = state();
    let answer = reply(&mut state, &link(ONE), 0, &message(SOLICIT, &[duid(1), ia(&[])]));
    let Some(DhcpOption::IANA(ia)) = answer.opts().get(OptionCode::IANA) else { panic!("{answer:?}") };
    assert!(ia.t1 <= ia.t2 && ia.t2 <= 3600, "{} {}", ia.t1, ia.t2);
    let Some(DhcpOption::IAAddr(one)) = ia.opts.get(OptionCode::IAAddr) else { panic!("{ia:?}") };
    assert!(one.preferred_life <= one.valid_life && one.valid_life == 3600);
}

/// 18.3.2: a requested address that can't be had is answered with one that can.
#[test]
fn a_wish_that_can_not_be_had_is_answered_with_the_right_address() {
    let mut state = state();
    let fixed = to_us(&state, REQUEST, &[duid(1), ia(&["fd00:10::1000"])]);
    let answer = reply(&mut state, &link(FIXED), 0, &fixed);
    assert_eq!(addresses(&answer)[0], ("fd00:10::21".into(), 3600));
    let taken = to_us(&state, REQUEST, &[duid(2), ia(&["fd00:10::21"])]);
    let other = reply(&mut state, &link(ONE), 0, &taken);
    assert_ne!(address(&other), "fd00:10::21");
}

/// RFC 5970: option 60 is misread by EDK2 as the size of the file (quirk 47), so it is never sent.
#[test]
fn parameters_of_the_boot_file_are_not_sent() {
    let mut state = state();
    let class = [&[0, 0, 1, 0x57, 0, 32][..], b"PXEClient:Arch:00007:UNDI:003000"].concat();
    let wanted = o(6, &[0, 59, 0, 60, 0, 23]);
    let asked = message(SOLICIT, &[duid(1), ia(&[]), o(16, &class), o(61, &[0, 7]), wanted]);
    let answer = reply(&mut state, &link(FIXED), 0, &asked);
    assert!(answer.opts().get(OptionCode::OptBootfileParam).is_none());
    assert!(answer.opts().get(OptionCode::OptBootfileUrl).is_some());
}

/// The answer's options by code, without dhcproto.
fn raw_options(answer: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    let mut at = 4;
    while at < answer.len() {
        let end = at + 4 + usize::from(u16::from_be_bytes([answer[at + 2], answer[at + 3]]));
        options.push((u16::from_be_bytes([answer[at], answer[at + 1]]), answer[at + 4..end].to_vec()));
        at = end;
    }
    options
}

fn raw_reply(state: &mut State, link: &Link, datagram: &[u8]) -> Vec<u8> {
    match settle(state, link, 0, datagram) {
        Decision::Reply { bytes, .. } => bytes,
        other => panic!("no answer: {other:?}"),
    }
}

/// 18.4, and 18.3.2 to 18.3.8: only relays send to a server's own address.
#[test]
fn messages_to_our_own_address_are_discarded_or_sent_to_the_group() {
    let mut state = state();
    let own = Link { unicast: true, ..link(ONE) };
    for kind in [SOLICIT, CONFIRM, REBIND, INFORMATION] {
        let mut options = vec![duid(1)];
        options.extend((kind != INFORMATION).then(|| ia(&["fd00:10::1234"])));
        assert_eq!(reason(&mut state, &own, &message(kind, &options)), Reason::Unicast, "{kind}");
    }
    for kind in [REQUEST, RENEW, RELEASE, DECLINE] {
        let asked = to_us(&state, kind, &[duid(1), ia(&["fd00:10::1234"])]);
        let answer = raw_reply(&mut state, &own, &asked);
        let codes: Vec<u16> = raw_options(&answer).iter().map(|(code, _)| *code).collect();
        assert_eq!((answer[0], codes), (7, vec![1, 2, 13]), "{kind}: and no other options");
        assert_eq!(raw_options(&answer)[2].1[..2], [0, 5], "UseMulticast");
        let others = message(kind, &[duid(1), o(2, b"\0\x04somebody else's"), ia(&[])]);
        assert_eq!(reason(&mut state, &own, &others), Reason::OtherServer, "{kind}");
    }
    assert_eq!(state.leases6().iter().count(), 0, "nothing was leased");
    let card = o(79, b"\0\x01\x52\x54\0\0\0\x01");
    let relayed = relay(0, "fd00:10::9", "fe80::1", &[card], &message(SOLICIT, &[duid(1), ia(&[])]));
    assert_eq!(raw_reply(&mut state, &own, &relayed)[0], 13, "relays may");
}

/// 18.3.2: temporary addresses and prefixes are refused each by its own code, and bind nothing.
#[test]
fn prefixes_and_temporary_addresses_are_refused() {
    let mut state = state();
    let temporary = || o(4, &[0, 0, 0, 9]);
    let prefix = || o(25, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let code_in = |value: &[u8], at: usize| value[at..at + 6].to_vec();
    let no_addresses = |value: &[u8]| assert_eq!(code_in(&value[4..], 0)[..2], [0, 13], "{value:?}");
    for (kind, named) in [(SOLICIT, false), (REQUEST, true), (RENEW, true), (RELEASE, true)] {
        for with in [vec![], vec![ia(&[])]] {
            let options = [vec![duid(1), temporary(), prefix()], with.clone()].concat();
            let asked = if named { to_us(&state, kind, &options) } else { message(kind, &options) };
            let answer = raw_options(&raw_reply(&mut state, &link(ONE), &asked));
            let value = |code: u16| &answer.iter().find(|(one, _)| *one == code).unwrap().1;
            no_addresses(value(4));
            assert_eq!(value(4)[..4], [0, 0, 0, 9]);
            assert_eq!(value(25)[..12], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
            let fresh = matches!(kind, SOLICIT | REQUEST);
            assert_eq!(value(4)[8..10], if fresh { [0, 2] } else { [0, 3] }, "{kind}: IA_TA");
            assert_eq!(value(25)[16..18], if fresh { [0, 6] } else { [0, 3] }, "{kind}: IA_PD");
            assert_eq!(answer.iter().any(|(code, _)| *code == 3), !with.is_empty(), "{kind}: IA_NA");
            if with.is_empty() {
                assert_eq!(state.leases6().iter().count(), 0, "{kind}: no address was asked for");
            }
        }
        state = self::state();
    }
    for (code, value) in [(4, &[0; 3][..]), (25, &[0; 11])] {
        let short = message(SOLICIT, &[duid(1), o(code, value)]);
        assert!(matches!(reason(&mut state, &link(ONE), &short), Reason::Malformed(_)), "{code}");
    }
    for option in [temporary(), prefix()] {
        let asked = message(INFORMATION, &[duid(1), option]);
        assert!(matches!(reason(&mut state, &link(ONE), &asked), Reason::Malformed(_)), "16.12");
    }
}

/// 18.3.2: an address of another network is refused as such, and nothing is bound in its place.
#[test]
fn a_request_from_another_link_is_told_so() {
    let mut state = state();
    for card in [ONE, FIXED] {
        let asked = to_us(&state, REQUEST, &[duid(1), ia(&["fd00:20::1000"])]);
        let answer = reply(&mut state, &link(card), 0, &asked);
        assert_eq!((addresses(&answer), status_of_ia(&answer)), (vec![], Some(Status::NotOnLink)));
    }
    assert_eq!(state.leases6().iter().count(), 0);
    let hint = message(SOLICIT, &[duid(1), ia(&["fd00:20::1000"])]);
    let answer = reply(&mut state, &link(ONE), 0, &hint);
    assert!(address(&answer).starts_with("fd00:10::1"), "in a SOLICIT it is a hint");
}

/// 18.3.2, 18.3.4, 18.3.9: the answer says that no address is left.
#[test]
fn a_full_range_says_so() {
    let mut state = state();
    let far = |card: &str| Link { server: "fd00:20::1".parse().unwrap(), ..link(card) };
    for card in ["52:54:00:00:01:01", "52:54:00:00:01:02"] {
        let taken = to_us(&state, REQUEST, &[duid(1), ia(&[])]);
        assert_eq!(addresses(&reply(&mut state, &far(card), 0, &taken)).len(), 1);
    }
    let rapid = message(SOLICIT, &[duid(1), ia(&[]), o(14, &[])]);
    let answer = raw_reply(&mut state, &far(ONE), &rapid);
    assert_eq!(answer[0], 2, "nothing is committed, so it is an ADVERTISE");
    assert!(raw_options(&answer).iter().all(|(code, _)| *code != 7 && *code != 14), "no preference for that");
    let asked = to_us(&state, REQUEST, &[duid(1), ia(&["fd00:20::1000"])]);
    let answer = reply(&mut state, &far(ONE), 0, &asked);
    assert_eq!((addresses(&answer), status_of_ia(&answer)), (vec![], Some(Status::NoAddrsAvail)));
    let asked = to_us(&state, RENEW, &[duid(1), ia(&["fd00:20::1000"])]);
    let answer = reply(&mut state, &far(ONE), 0, &asked);
    assert_eq!(addresses(&answer), [("fd00:20::1000".to_owned(), 0)], "not to be used any longer");
    assert_eq!(status_of_ia(&answer), Some(Status::NoBinding));
    assert_eq!(state.leases6().iter().count(), 2);
}

/// 21.4: of several IA_NAs of a machine one is filled, the others are refused.
#[test]
fn several_associations_share_one_address() {
    let mut state = state();
    let second = || o(3, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let asked = to_us(&state, REQUEST, &[duid(1), ia(&[]), second()]);
    let answer = raw_options(&raw_reply(&mut state, &link(ONE), &asked));
    let all: Vec<&Vec<u8>> = answer.iter().filter(|(code, _)| *code == 3).map(|(_, value)| value).collect();
    assert_eq!((&all[0][..4], &all[0][12..14]), (&[0, 0, 0, 7][..], &[0, 5][..]));
    assert_eq!((&all[1][..4], &all[1][12..14]), (&[0, 0, 0, 8][..], &[0, 13][..]));
    assert_eq!((all.len(), &all[1][16..18]), (2, &[0, 2][..]), "NoAddrsAvail");
    assert_eq!(all[1][4..12], [0; 8], "no times for no address");
    assert_eq!(state.leases6().iter().count(), 1);
}

/// 21.9 and others: what says nothing of the answer is not looked at.
#[test]
fn unknown_options_elapsed_time_and_odd_ids_change_nothing() {
    let mut state = state();
    let plain = raw_reply(&mut state, &link(ONE), &message(SOLICIT, &[duid(1), ia(&[])]));
    let odd = [o(8, &[0xff, 0xff]), o(20, &[]), o(11, &[3, 1, 0]), o(0xfffe, b"?"), o(39, &[0, 1, b'h'])];
    for option in odd {
        let asked = message(SOLICIT, &[duid(1), option, ia(&[])]);
        assert_eq!(raw_reply(&mut state, &link(ONE), &asked), plain);
    }
    let long = message(SOLICIT, &[o(1, &[9; 131]), ia(&[])]);
    assert!(matches!(reason(&mut state, &link(ONE), &long), Reason::Malformed(_)), "RFC 8415 section 11.1");
    // DUID-LLT, -EN, -LL, -UUID and one of a type to come.
    for id in [&b"\0\x01\0\x01\x11\x22\x33\x44\x52\x54\0\0\0\x09"[..], b"\0\x02\0\0\x01\x57abc"] {
        let asked = message(SOLICIT, &[o(1, id), ia(&[])]);
        let answer = raw_options(&raw_reply(&mut state, &link(ONE), &asked));
        assert_eq!(answer[0], (1, id.to_vec()));
        assert_eq!(
            answer.iter().find(|(code, _)| *code == 3),
            raw_options(&plain).iter().find(|(code, _)| *code == 3)
        );
    }
}

/// 21.7: what is not asked for is left out, but for what boots the machine.
#[test]
fn option_request_lists_are_followed() {
    let mut state = state();
    let class = [&[0, 0, 1, 0x57, 0, 32][..], b"PXEClient:Arch:00007:UNDI:003000"].concat();
    let mut codes = |wanted: &[u8]| -> Vec<u16> {
        let asked = message(SOLICIT, &[duid(1), ia(&[]), o(16, &class), o(61, &[0, 7]), o(6, wanted)]);
        let answer = raw_options(&raw_reply(&mut state, &link(FIXED), &asked));
        answer.into_iter().map(|(code, _)| code).collect()
    };
    assert_eq!(codes(&[0, 23]), [1, 2, 7, 3, 23, 59]);
    assert_eq!(codes(&[]), [1, 2, 7, 3, 59]);
    assert_eq!(codes(&[0xff]), [1, 2, 7, 3, 59], "half a code");
}
