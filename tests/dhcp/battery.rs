//! A table of cases as conformance suites of DHCP servers have them: one message in one situation,
//! and what must come of it. What takes several messages is in `conformance.rs` and `exchange.rs`.

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Destination, Link};
use voldemort::table::Table;

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";
const FIXED: &str = "52:54:00:00:00:03";
const SERVER: &str = "10.0.10.1";
const NOW: Time = Time(1_700_000_000_000);

/// What happened before.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// `ONE` has 10.0.10.100, `TWO` has 10.0.10.101.
    Leased,
}
use Before::{Leased, Nothing};

/// How the message comes in.
#[derive(Clone, Copy)]
enum By {
    Broadcast,
    /// To our address, from this one.
    From(&'static str),
}
use By::{Broadcast, From};

/// What must come of it.
enum Then {
    Offer(&'static str),
    Ack(&'static str),
    Nak,
    /// No answer; the word for the reason.
    Silence(&'static str),
}
use Then::{Ack, Nak, Offer, Silence};

struct Case {
    what: &'static str,
    before: Before,
    by: By,
    message: Vec<u8>,
    then: Then,
    also: fn(&Answer, &Destination),
}

fn any(_: &Answer, _: &Destination) {}

fn table(before: Before) -> Table {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"]);
    let far = subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.109"]);
    let mut table = Lab::new(vec![lab, far])
        .machine("m", &[FIXED])
        .deployment("m", "lab", Some("10.0.10.21"))
        .table(SERVER);
    if let Leased = before {
        for (who, address) in [(ONE, "10.0.10.100"), (TWO, "10.0.10.101")] {
            for message in [
                Message::discover(mac(who)).wants(address),
                Message::request(mac(who)).wants(address).server(SERVER),
            ] {
                let decision = settle(&mut table, &link(SERVER, "10.0.10.0/24"), NOW, &message.bytes());
                assert!(matches!(decision, Decision::Reply { .. }), "{decision:?}");
            }
        }
    }
    table
}

fn play(cases: Vec<Case>) {
    for Case { what, before, by, message, then, also } in cases {
        let mut table = table(before);
        let stored = table.leases.iter().count();
        let link = match by {
            Broadcast => link(SERVER, "10.0.10.0/24"),
            From(source) => Link {
                broadcast: false,
                source: format!("{source}:68").parse().unwrap(),
                ..link(SERVER, "10.0.10.0/24")
            },
        };
        let (bytes, to) = match (settle(&mut table, &link, NOW, &message), &then) {
            (Decision::Reply { bytes, to, .. }, Offer(_) | Ack(_) | Nak) => (bytes, to),
            (Decision::Silence(silence), Silence(label)) => {
                assert_eq!(silence.reason.label(), *label, "{what}: {silence}");
                continue;
            }
            (other, _) => panic!("{what}: {other:?}"),
        };
        let answer = Answer::read(&bytes);
        let (kind, address) = match then {
            Offer(address) => (2, address),
            Ack(address) => (5, address),
            Nak => (6, "0.0.0.0"),
            Silence(_) => unreachable!(),
        };
        assert_eq!((answer.kind(), answer.yiaddr()), (kind, ip(address)), "{what}");
        assert_eq!(bytes[4..8], message[4..8], "{what}: xid");
        assert_eq!(bytes[24..44], message[24..44], "{what}: giaddr and chaddr");
        assert_eq!(answer.option(54), Some(&ip(SERVER).octets()[..]), "{what}: 54");
        for never in [50, 52, 53 + 2, 57, 80, 81, 90, 145] {
            assert_eq!(answer.option(never), None, "{what}: {never} is the client's");
        }
        if kind == 6 {
            let allowed = |code: &u8| [53, 54, 56, 61, 82].contains(code);
            assert!(answer.options.iter().all(|(code, _)| allowed(code)), "{what}: {:?}", answer.options);
            assert_eq!(stored, table.leases.iter().count(), "{what}: nothing is leased");
        }
        also(&answer, &to);
    }
}

fn case(what: &'static str, before: Before, message: Message, then: Then) -> Case {
    Case { what, before, by: Broadcast, message: message.bytes(), then, also: any }
}

impl Case {
    fn by(self, by: By) -> Case {
        Case { by, ..self }
    }

    fn also(self, also: fn(&Answer, &Destination)) -> Case {
        Case { also, ..self }
    }
}

fn discover() -> Message {
    Message::discover(mac(ONE))
}

fn request() -> Message {
    Message::request(mac(ONE))
}

/// RFC 2131 section 4.3.1 and table 5.
#[test]
fn discover_in_every_state() {
    play(vec![
        case("a stranger", Nothing, discover(), Offer("10.0.10.100")),
        case("who has a lease", Leased, discover(), Offer("10.0.10.100")),
        case(
            "who has a lease and wants another",
            Leased,
            discover().wants("10.0.10.105"),
            Offer("10.0.10.100"),
        ),
        case("wants 0.0.0.0", Nothing, discover().wants("0.0.0.0"), Offer("10.0.10.100")),
        case("wants the broadcast address", Nothing, discover().wants("10.0.10.255"), Offer("10.0.10.100")),
        case("wants the network's address", Nothing, discover().wants("10.0.10.0"), Offer("10.0.10.100")),
        case("wants multicast", Nothing, discover().wants("224.0.0.1"), Offer("10.0.10.100")),
        case(
            "wants a free one outside the range",
            Nothing,
            discover().wants("10.0.10.50"),
            Offer("10.0.10.100"),
        ),
        case("wants a free one", Nothing, discover().wants("10.0.10.107"), Offer("10.0.10.107")),
        case(
            "a machine with a fixed address wants another",
            Nothing,
            Message::discover(mac(FIXED)).wants("10.0.10.107"),
            Offer("10.0.10.21"),
        ),
        case("names us, which it must not", Nothing, discover().server(SERVER), Offer("10.0.10.100")),
        case("names another server", Nothing, discover().server("10.0.10.9"), Silence("other-server")),
        case(
            "wants it at once (RFC 4039): it is not",
            Nothing,
            discover().option(80, &[]),
            Offer("10.0.10.100"),
        ),
        case(
            "tells its full name (RFC 4702)",
            Nothing,
            discover().option(81, b"\x01\0\0h"),
            Offer("10.0.10.100"),
        ),
        case("authenticates (RFC 3118)", Nothing, discover().option(90, &[0; 11]), Offer("10.0.10.100")),
        case(
            "can be renewed by force (RFC 6704)",
            Nothing,
            discover().option(145, &[1]),
            Offer("10.0.10.100"),
        ),
        case(
            "has options nobody knows",
            Nothing,
            discover().option(254, b"?").option(213, &[]),
            Offer("10.0.10.100"),
        ),
        case("by unicast", Nothing, discover(), Offer("10.0.10.100")).by(From("10.0.10.77")),
        case("from another port", Nothing, discover(), Offer("10.0.10.100")).also(|_, to| {
            assert_eq!(to.to_string(), "10.0.10.100 at 52:54:00:00:00:01", "always port 68");
        }),
        case("with the flag", Nothing, discover().broadcast(), Offer("10.0.10.100")).also(|answer, to| {
            assert!(answer.is_broadcast() && *to == Destination::Broadcast);
        }),
        case(
            "relayed with the flag",
            Nothing,
            discover().broadcast().relay("10.0.20.1"),
            Offer("10.0.20.100"),
        )
        .also(|answer, to| {
            assert!(answer.is_broadcast() && *to == Destination::Relay(ip("10.0.20.1")));
        }),
        case(
            "relayed from a network nobody knows",
            Nothing,
            discover().relay("10.9.9.1"),
            Silence("unknown-network"),
        ),
    ]);
}

/// RFC 2131 section 4.3.2 and table 4.
#[test]
fn request_in_every_state() {
    let selecting = |address: &str| request().wants(address).server(SERVER);
    play(vec![
        case("selecting what is its own", Leased, selecting("10.0.10.100"), Ack("10.0.10.100")),
        case("selecting without an offer", Nothing, selecting("10.0.10.105"), Ack("10.0.10.105")),
        case("selecting what another has", Leased, selecting("10.0.10.101"), Nak),
        case("selecting another network's", Nothing, selecting("10.0.20.100"), Nak),
        case("selecting what is in no network", Nothing, selecting("192.168.7.7"), Nak),
        case("selecting our own address", Nothing, selecting(SERVER), Nak),
        case("selecting the broadcast address", Nothing, selecting("10.0.10.255"), Nak),
        case("selecting 0.0.0.0", Nothing, selecting("0.0.0.0"), Nak),
        case("selecting a machine's fixed address", Nothing, selecting("10.0.10.21"), Nak),
        case(
            "selecting another server's",
            Leased,
            request().wants("10.0.10.100").server("10.0.10.9"),
            Silence("other-server"),
        ),
        case(
            "selecting by a relay what another has",
            Leased,
            selecting("10.0.10.101").relay("10.0.10.200"),
            Nak,
        )
        .also(|answer, to| {
            assert!(answer.is_broadcast(), "the relay is to broadcast it");
            assert_eq!(*to, Destination::Relay(ip("10.0.10.200")));
        }),
        case("back with its own", Leased, request().wants("10.0.10.100"), Ack("10.0.10.100")),
        case("back with another's", Leased, request().wants("10.0.10.101"), Nak),
        case("back with a free one that was never its", Leased, request().wants("10.0.10.105"), Nak),
        case("back, and unknown here", Nothing, request().wants("10.0.10.105"), Silence("no-record")),
        case("back in another network", Leased, request().wants("10.0.20.100"), Nak),
        case(
            "back in a network that is not ours",
            Nothing,
            request().wants("192.168.7.7"),
            Silence("not-our-network"),
        ),
        case(
            "back by a relay of another network",
            Leased,
            request().wants("10.0.10.100").relay("10.0.20.1"),
            Nak,
        ),
        case("renewing", Leased, request().ciaddr("10.0.10.100"), Ack("10.0.10.100"))
            .by(From("10.0.10.100"))
            .also(|answer, to| {
                assert_eq!(answer.address(12), ip("10.0.10.100"), "ciaddr is copied");
                assert_eq!(to.to_string(), "10.0.10.100:68");
            }),
        case("renewing another's", Leased, request().ciaddr("10.0.10.101"), Nak)
            .by(From("10.0.10.101"))
            .also(|answer, to| {
                assert_eq!((answer.address(12), *to), (ip("0.0.0.0"), Destination::Broadcast));
            }),
        case("renewing what nobody knows", Nothing, request().ciaddr("10.0.10.105"), Silence("no-record"))
            .by(From("10.0.10.105")),
        case("rebinding", Leased, request().ciaddr("10.0.10.100"), Ack("10.0.10.100")),
        case(
            "rebinding by a relay",
            Leased,
            request().ciaddr("10.0.10.100").relay("10.0.10.200"),
            Ack("10.0.10.100"),
        )
        .also(|_, to| {
            assert_eq!(*to, Destination::Relay(ip("10.0.10.200")), "any return message (section 4.1)");
        }),
        case(
            "rebinding what is not ours",
            Nothing,
            request().ciaddr("192.168.7.7"),
            Silence("not-our-network"),
        ),
        case(
            "with another client id than before",
            Leased,
            request().ciaddr("10.0.10.100").option(61, b"\0new"),
            Ack("10.0.10.100"),
        ),
        case("for no address at all", Leased, request(), Nak),
    ]);
}

/// RFC 2131 sections 4.3.3 to 4.3.5.
#[test]
fn decline_release_and_inform() {
    let message = |kind| Message::new(mac(ONE), kind);
    play(vec![
        case(
            "declines what it has not",
            Leased,
            message(4).wants("10.0.10.101").server(SERVER),
            Silence("not-its"),
        ),
        case("declines its own", Leased, message(4).wants("10.0.10.100").server(SERVER), Silence("declined")),
        case("declines nothing", Leased, message(4).server(SERVER), Silence("not-its")),
        case(
            "releases its own",
            Leased,
            message(7).ciaddr("10.0.10.100").server(SERVER),
            Silence("released"),
        ),
        case(
            "releases another's",
            Leased,
            message(7).ciaddr("10.0.10.101").server(SERVER),
            Silence("not-its"),
        ),
        case(
            "releases to another server",
            Leased,
            message(7).ciaddr("10.0.10.100").server("10.0.10.9"),
            Silence("other-server"),
        ),
        case("informs", Nothing, message(8).ciaddr("10.0.10.77"), Ack("0.0.0.0")).also(|answer, to| {
            for never in [51, 58, 59] {
                assert_eq!(answer.option(never), None, "{never}");
            }
            assert_eq!((answer.address(12), to.to_string().as_str()), (ip("10.0.10.77"), "10.0.10.77:68"));
            assert_eq!(answer.option(1), Some(&[255, 255, 255, 0][..]));
        }),
        case(
            "informs and asks for times",
            Leased,
            message(8).ciaddr("10.0.10.100").option(55, &[51, 58, 59]).option(51, &[0, 0, 1, 0]),
            Ack("0.0.0.0"),
        )
        .also(|answer, _| {
            assert!(answer.option(51).is_none() && answer.option(58).is_none());
        }),
        case(
            "informs by a relay",
            Nothing,
            message(8).ciaddr("10.0.20.77").relay("10.0.20.1"),
            Ack("0.0.0.0"),
        )
        .also(|_, to| {
            assert_eq!(*to, Destination::Relay(ip("10.0.20.1")));
        }),
        case("asks for leases (RFC 4388)", Leased, message(10).ciaddr("10.0.10.100"), Silence("unexpected")),
    ]);
}

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
    let mut table = Lab::new(vec![lab]).table(SERVER);
    for (list, kept, gone) in [([225, 224], 225, 224), ([224, 225], 224, 225)] {
        let message = discover().option(55, &list).bytes();
        let Decision::Reply { bytes, .. } = settle(&mut table, &link(SERVER, "10.0.10.0/24"), NOW, &message)
        else {
            panic!()
        };
        let answer = Answer::read(&bytes);
        assert_eq!((answer.option(kept).map(<[u8]>::len), answer.option(gone)), (Some(200), None));
    }
}
