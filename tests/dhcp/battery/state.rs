//! Every message in every state of a client.

use voldemort::proto::dhcp::Destination;

use super::super::lab::{ip, mac};
use super::super::message::Message;
use super::{
    Ack, FIXED, From, Leased, Nak, Nothing, ONE, Offer, SERVER, Silence, case, discover, play, request,
};

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
            "sends its full name (RFC 4702)",
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
