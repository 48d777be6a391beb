//! What a message is made of: fields, options, what relays add.

use voldemort::proto::dhcp::{Decision, Destination};

use super::super::lab::{Lab, ip, link, mac, settle, subnet};
use super::super::message::{Answer, Message};
use super::{
    Broadcast, Case, Leased, NOW, Nak, Nothing, ONE, Offer, SERVER, Silence, any, case, discover, play,
    request,
};

/// RFC 2131 section 2 and RFC 2132: what is no message is discarded, with its reason.
#[test]
fn malformed_messages_are_discarded() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = discover().bytes();
        change(&mut bytes);
        bytes
    };
    let raw: Vec<(&'static str, Vec<u8>)> = vec![
        ("op 0", with(|bytes| bytes[0] = 0)),
        ("op 2", with(|bytes| bytes[0] = 2)),
        ("hlen 0", with(|bytes| bytes[2] = 0)),
        ("hlen 5", with(|bytes| bytes[2] = 5)),
        ("hlen 16", with(|bytes| bytes[2] = 16)),
        ("hlen 255", with(|bytes| bytes[2] = 255)),
        ("htype 0", with(|bytes| bytes[1] = 0)),
        ("InfiniBand", with(|bytes| (bytes[1], bytes[2]) = (32, 0))),
        ("a cookie of its own", with(|bytes| bytes[239] = 98)),
        ("no cookie", with(|bytes| bytes[236..240].fill(0))),
        ("no chaddr", with(|bytes| bytes[28..34].fill(0))),
        ("chaddr of everybody", with(|bytes| bytes[28..34].fill(0xff))),
        ("BOOTP, RFC 951", with(|bytes| bytes.truncate(240))),
        ("no option 53", with(|bytes| drop(bytes.splice(240..243, [])))),
        ("one byte too few", with(|bytes| bytes.truncate(239))),
        ("nothing", Vec::new()),
    ];
    for (what, bytes) in raw {
        play(vec![Case {
            what,
            before: Nothing,
            by: Broadcast,
            message: bytes,
            then: Silence("malformed"),
            also: any,
        }]);
    }
    let odd = |code: u8, value: &'static [u8]| discover().option(code, value);
    play(vec![
        case(
            "53 without a value",
            Nothing,
            Message::discover(mac(ONE)).option(53, &[1]),
            Silence("malformed"),
        ),
        case("50 of 3 bytes", Nothing, odd(50, &[10, 0, 10]), Silence("malformed")),
        case("50 twice", Nothing, discover().wants("10.0.10.101").wants("10.0.10.102"), Silence("malformed")),
        case("54 of 5 bytes", Nothing, odd(54, &[10, 0, 10, 1, 0]), Silence("malformed")),
        case("57 of 1 byte", Nothing, odd(57, &[9]), Silence("malformed")),
        case("52 is 0", Nothing, odd(52, &[0]), Silence("malformed")),
        case("52 is 4", Nothing, odd(52, &[4]), Silence("malformed")),
        case("51 of 2 bytes is a hint", Nothing, odd(51, &[1, 0]), Offer("10.0.10.100")),
        case("61 of no bytes", Nothing, odd(61, &[]), Offer("10.0.10.100")),
        case("93 of one byte", Nothing, odd(93, &[7]), Offer("10.0.10.100")),
        case("97 of 16 bytes", Nothing, odd(97, &[0; 16]), Offer("10.0.10.100")),
        case("118 of 3 bytes", Nothing, odd(118, &[10, 0, 20]), Offer("10.0.10.100")),
    ]);
    let mut cut = discover().bytes();
    cut.pop();
    cut.extend([12, 9, b'h']);
    play(vec![Case {
        what: "an option that is cut off",
        before: Nothing,
        by: Broadcast,
        message: cut,
        then: Silence("malformed"),
        also: any,
    }]);
}

/// RFC 3046, 3011, 3527, 5107, 6842.
#[test]
fn what_relays_add_is_followed_and_sent_back() {
    let relayed = || discover().relay("10.0.10.254");
    play(vec![
        case(
            "82 as it came, last",
            Nothing,
            relayed().option(82, &[1, 2, 7, 7, 99, 0]),
            Offer("10.0.10.100"),
        )
        .also(|answer, _| {
            assert_eq!(answer.options.last(), Some(&(82, vec![1, 2, 7, 7, 99, 0])));
        }),
        case("82 without sub-options", Nothing, relayed().option(82, &[]), Offer("10.0.10.100")).also(
            |answer, _| {
                assert_eq!(answer.options.last(), Some(&(82, vec![])), "RFC 3046 section 2.2: echoed whole");
            },
        ),
        case(
            "82 whose sub-options run over",
            Nothing,
            relayed().option(82, &[1, 9, 1]),
            Offer("10.0.10.100"),
        )
        .also(|answer, _| {
            assert_eq!(answer.options.last(), Some(&(82, vec![1, 9, 1])));
        }),
        case(
            "82 in two parts",
            Nothing,
            relayed().option(82, &[1, 1]).option(82, &[7]),
            Offer("10.0.10.100"),
        )
        .also(|answer, _| {
            assert_eq!(answer.options.last(), Some(&(82, vec![1, 1, 7])));
        }),
        case(
            "82 in a refusal",
            Leased,
            request().relay("10.0.10.254").wants("10.0.10.101").server(SERVER).option(82, &[2, 1, 5]),
            Nak,
        )
        .also(|answer, _| {
            assert_eq!(answer.option(82), Some(&[2, 1, 5][..]));
        }),
        case(
            "82.5 names the link",
            Nothing,
            relayed().option(82, &[5, 4, 10, 0, 20, 0]),
            Offer("10.0.20.100"),
        )
        .also(|_, to| {
            assert_eq!(*to, Destination::Relay(ip("10.0.10.254")));
        }),
        case(
            "82.5 of 3 bytes says nothing",
            Nothing,
            relayed().option(82, &[5, 3, 10, 0, 20]),
            Offer("10.0.10.100"),
        ),
        case(
            "82.5 without a relay says nothing",
            Nothing,
            discover().option(82, &[5, 4, 10, 0, 20, 0]),
            Offer("10.0.10.100"),
        ),
        case("118 by a relay", Nothing, relayed().option(118, &[10, 0, 20, 0]), Offer("10.0.20.100")).also(
            |answer, _| {
                assert_eq!(answer.option(118), Some(&[10, 0, 20, 0][..]));
            },
        ),
        case(
            "118 that is not followed is not sent back",
            Nothing,
            discover().option(118, &[10, 0, 20, 0]),
            Offer("10.0.10.100"),
        )
        .also(|answer, _| {
            assert_eq!(answer.option(118), None, "RFC 3011: it would say where the address is from");
        }),
        case(
            "82.5 wins over 118",
            Nothing,
            relayed().option(118, &[10, 0, 20, 0]).option(82, &[5, 4, 10, 0, 10, 0]),
            Offer("10.0.10.100"),
        )
        .also(|answer, _| {
            assert_eq!(answer.option(118), None);
        }),
        case("61 as it came", Nothing, discover().option(61, b"\xff\0\0\0\x01\0\x02"), Offer("10.0.10.100"))
            .also(|answer, _| {
                assert_eq!(answer.option(61), Some(&b"\xff\0\0\0\x01\0\x02"[..]));
            }),
        case(
            "61 in a refusal",
            Leased,
            request().wants("10.0.10.101").server(SERVER).option(61, b"\0id"),
            Nak,
        )
        .also(|answer, _| {
            assert_eq!(answer.option(61), Some(&b"\0id"[..]));
        }),
        case("no 61, none sent", Nothing, discover(), Offer("10.0.10.100")).also(|answer, _| {
            assert_eq!(answer.option(61), None);
        }),
    ]);
}

/// RFC 2132 sections 9.2, 9.8 and 9.10.
#[test]
fn times_lists_and_sizes() {
    let size = |bytes: u16| discover().option(57, &bytes.to_be_bytes());
    play(vec![
        case("a list of nothing we have", Nothing, discover().option(55, &[220, 221]), Offer("10.0.10.100"))
            .also(|answer, _| {
                assert!(
                    answer.option(1).is_some() && answer.option(51).is_some() && answer.option(28).is_none()
                );
            }),
        case("a list with doubles", Nothing, discover().option(55, &[28, 28, 1, 1]), Offer("10.0.10.100"))
            .also(|answer, _| {
                assert_eq!(answer.options.iter().filter(|(code, _)| *code == 28).count(), 1);
            }),
        case(
            "a list that asks for the header's options",
            Nothing,
            discover().option(55, &[0, 53, 54, 52, 50, 255]),
            Offer("10.0.10.100"),
        ),
        case("57 is 0", Nothing, size(0), Offer("10.0.10.100"))
            .also(|answer, _| assert!(answer.len() <= 548)),
        case("57 is 300", Nothing, size(300), Offer("10.0.10.100"))
            .also(|answer, _| assert!(answer.len() <= 548)),
        case("57 is 65535", Nothing, size(65535), Offer("10.0.10.100"))
            .also(|answer, _| assert!(answer.len() <= 1472)),
        case("without times asked for", Nothing, discover().option(55, &[1]), Offer("10.0.10.100")).also(
            |answer, _| {
                assert_eq!((answer.option(58), answer.option(59)), (None, None));
                assert_eq!(answer.lease(), Some(3600));
            },
        ),
        case("for ever", Nothing, discover().option(51, &[0xff; 4]), Offer("10.0.10.100")).also(
            |answer, _| {
                assert_eq!(answer.lease(), Some(3600));
            },
        ),
    ]);
}

/// RFC 2132 section 9.8: if not all that is asked for fits, what is asked for first does.
#[test]
fn what_is_asked_for_first_stays_longest() {
    let mut lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"]);
    for code in [224, 225] {
        lab.options.values.insert(code, vec![code; 200].into());
    }
    let mut state = Lab::new(vec![lab]).state(SERVER);
    for (list, kept, gone) in [([225, 224], 225, 224), ([224, 225], 224, 225)] {
        let message = discover().option(55, &list).bytes();
        let Decision::Reply { bytes, .. } = settle(&mut state, &link(SERVER, "10.0.10.0/24"), NOW, &message)
        else {
            panic!()
        };
        let answer = Answer::read(&bytes);
        assert_eq!((answer.option(kept).map(<[u8]>::len), answer.option(gone)), (Some(200), None));
    }
}
