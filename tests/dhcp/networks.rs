//! Several networks, relays and clients that ask from elsewhere: one answer has one address of the daemon,
//! and it depends on what is known of the client's network.

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Destination, Link, Reason};
use voldemort::state::{LeaseState, Server, State};

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const HARRY: &str = "02:00:00:00:00:01";
const GUEST: &str = "02:00:00:00:00:02";
const NOW: Time = Time(1_700_000_000_000);

/// A server on two networks, and a rack behind a relay.
fn state() -> State {
    let lab = subnet("lab", "10.7.0.0/24", &["10.7.0.100-10.7.0.109"]);
    let two = subnet("two", "10.8.0.0/24", &["10.8.0.100-10.8.0.200"]);
    let rack = subnet("rack", "10.20.1.0/24", &["10.20.1.100-10.20.1.120"]);
    let closed = subnet("closed", "10.30.0.0/24", &[]);
    let state = Lab::new(vec![lab, two, rack, closed])
        .machine("harry", &[HARRY])
        .deployment("harry", "rack", Some("10.20.1.30"))
        .state("10.7.0.1");
    let others = vec![("10.8.0.0/24".parse().unwrap(), ip("10.8.0.1"))];
    let server = Server { others, ..(**state.server()).clone() };
    state.with_server(server)
}

fn first() -> Link {
    link("10.7.0.1", "10.7.0.0/24")
}

fn second() -> Link {
    link("10.8.0.1", "10.8.0.0/24")
}

fn unicast(link: Link, source: &str) -> Link {
    Link { broadcast: false, source: format!("{source}:68").parse().unwrap(), ..link }
}

fn reply(state: &mut State, link: &Link, message: Message) -> (Answer, Destination) {
    match settle(state, link, NOW, &message.bytes()) {
        Decision::Reply { bytes, to, .. } => (Answer::read(&bytes), to),
        other => panic!("no answer: {other:?}"),
    }
}

fn silence(state: &mut State, link: &Link, message: Message) -> Reason {
    match settle(state, link, NOW, &message.bytes()) {
        Decision::Silence(silence) => silence.reason,
        other => panic!("an answer: {other:?}"),
    }
}

fn bind(state: &mut State, link: &Link, who: &str) -> String {
    let address = reply(state, link, Message::discover(mac(who))).0.yiaddr().to_string();
    let server = link.server.to_string();
    let (ack, _) = reply(state, link, Message::request(mac(who)).wants(&address).server(&server));
    assert_eq!(ack.kind(), 5);
    address
}

#[test]
fn an_answer_names_one_address_of_ours() {
    let relayed = |link: &Link| unicast(link.clone(), "10.20.1.1");
    for (link, own) in [(first(), "10.7.0.1"), (second(), "10.8.0.1")] {
        for kind in [Message::discover, Message::request] {
            for boots in [Message::pxe_uefi, Message::http_uefi, Message::ipxe] {
                let mut state = state();
                let ask = boots(kind(mac(HARRY))).wants("10.20.1.30").relay("10.20.1.1");
                let (answer, to) = reply(&mut state, &relayed(&link), ask);
                assert_eq!(to, Destination::Relay(ip("10.20.1.1")));
                assert_eq!(answer.option(54), Some(&ip(own).octets()[..]));
                assert_eq!(answer.address(20), ip(own), "siaddr");
                assert_eq!(answer.option(66), Some(format!("{own}\0").as_bytes()));
                let file = answer.file();
                assert!(!file.contains("://") || file.starts_with(&format!("http://{own}/")), "{file}");
            }
        }
    }
}

/// Where we have an address in the client's own network, that one is the nearest, whichever way the
/// relay takes.
#[test]
fn our_address_in_the_client_s_network_is_the_one_it_is_told() {
    let mut state = state();
    let ask = Message::discover(mac(GUEST)).pxe_uefi().relay("10.8.0.254");
    let (offer, _) = reply(&mut state, &unicast(first(), "10.8.0.254"), ask);
    assert_eq!(offer.yiaddr(), ip("10.8.0.100"));
    assert_eq!(offer.option(54), Some(&[10, 8, 0, 1][..]));
    let take = Message::request(mac(GUEST)).wants("10.8.0.100").server("10.8.0.1").relay("10.8.0.254");
    assert_eq!(reply(&mut state, &unicast(first(), "10.8.0.254"), take).0.kind(), 5);
}

/// RFC 2131 section 4.3.2, INIT-REBOOT: "if the network is wrong, the server SHOULD send a DHCPNAK".
#[test]
fn who_has_its_address_from_here_and_asks_from_elsewhere_is_refused_at_once() {
    let mut state = state();
    let address = bind(&mut state, &first(), GUEST);
    let back = |relay: &str| Message::request(mac(GUEST)).wants(&address).relay(relay);
    for (place, relay) in [("a subnet without a range", "10.30.0.1"), ("nowhere we know", "172.16.0.1")] {
        let (nak, to) = reply(&mut state, &unicast(second(), relay), back(relay));
        assert_eq!((nak.kind(), to), (6, Destination::Relay(ip(relay))), "{place}");
        assert!(nak.is_broadcast(), "{place}");
    }
    let (nak, to) = reply(&mut state, &second(), Message::request(mac(GUEST)).wants(&address));
    assert_eq!((nak.kind(), to), (6, Destination::Broadcast), "another served network");
    let rebind = Message::request(mac(GUEST)).ciaddr(&address).relay("10.30.0.1");
    assert_eq!(reply(&mut state, &unicast(second(), "10.30.0.1"), rebind).0.kind(), 6, "rebinding");
    // The address of a manifest is one that it has from here.
    let fixed = Message::request(mac(HARRY)).wants("10.20.1.30").relay("10.30.0.1");
    assert_eq!(reply(&mut state, &unicast(second(), "10.30.0.1"), fixed).0.kind(), 6);
    assert_eq!(state.leases().binding(mac(GUEST)).unwrap().state, LeaseState::Bound, "a NAK ends no lease");
}

/// … and an unknown client is left to another server.
#[test]
fn strangers_from_elsewhere_are_left_to_others() {
    let mut state = state();
    let ask = |relay: &str| Message::request(mac(GUEST)).wants("10.7.0.105").relay(relay);
    let closed = silence(&mut state, &unicast(second(), "10.30.0.1"), ask("10.30.0.1"));
    assert!(matches!(closed, Reason::UnknownMachine { .. }), "{closed}");
    let unknown = silence(&mut state, &unicast(second(), "172.16.0.1"), ask("172.16.0.1"));
    assert_eq!(unknown, Reason::UnknownNetwork(ip("172.16.0.1")));
}

/// A relay's client renews without its relay: the refusal goes where the client is.
#[test]
fn a_refusal_of_a_renewal_reaches_a_relay_s_client() {
    let mut state = state();
    let ask = Message::discover(mac(GUEST)).relay("10.20.1.1");
    let address = reply(&mut state, &unicast(second(), "10.20.1.1"), ask).0.yiaddr().to_string();
    let renew = Message::request(mac("02:00:00:00:00:09")).ciaddr(&address);
    let (nak, to) = reply(&mut state, &unicast(second(), &address), renew);
    assert_eq!((nak.kind(), to), (6, Destination::Unicast(format!("{address}:68").parse().unwrap())));
    let held = bind(&mut state, &first(), GUEST);
    let renew = Message::request(mac("02:00:00:00:00:09")).ciaddr(&held);
    let (_, to) = reply(&mut state, &unicast(first(), &held), renew);
    assert_eq!(to, Destination::Broadcast, "on our own wire (RFC 2131 section 4.1)");
}

/// RFC 2131 section 4.3.5: the parameters are those of the network that the client is in.
#[test]
fn an_inform_is_about_the_sender_s_own_network() {
    let mut state = state();
    let inform = |address: &str| Message::new(mac(GUEST), 8).ciaddr(address);
    for link in [first(), unicast(first(), "192.168.7.7")] {
        let unknown = silence(&mut state, &link, inform("192.168.7.7"));
        assert_eq!(unknown, Reason::UnknownNetwork(ip("192.168.7.7")));
    }
    let relayed = inform("192.168.7.7").relay("10.20.1.1");
    let unknown = silence(&mut state, &unicast(first(), "10.20.1.1"), relayed);
    assert_eq!(unknown, Reason::UnknownNetwork(ip("192.168.7.7")));
    for link in [first(), unicast(first(), "10.8.0.77")] {
        let (ack, to) = reply(&mut state, &link, inform("10.8.0.77"));
        assert_eq!((ack.kind(), to), (5, Destination::Unicast("10.8.0.77:68".parse().unwrap())));
        assert_eq!(ack.option(3), Some(&[10, 8, 0, 1][..]), "its own router");
        assert_eq!((ack.lease(), ack.yiaddr()), (None, ip("0.0.0.0")));
    }
}

/// RFC 3021: a /31 or /32 has no broadcast address, so none is sent.
#[test]
fn the_smallest_networks_have_no_broadcast_address() {
    let mut point = subnet("point", "10.9.0.0/31", &["10.9.0.1-10.9.0.1"]);
    point.gateway = Some(ip("10.9.0.0"));
    point.dns = Vec::new();
    let mut state = Lab::new(vec![point]).state("10.9.0.0");
    let ask = Message::discover(mac(GUEST)).option(55, &[1, 3, 28]);
    let (offer, _) = reply(&mut state, &link("10.9.0.0", "10.9.0.0/31"), ask);
    assert_eq!((offer.yiaddr(), offer.option(28)), (ip("10.9.0.1"), None));
    assert_eq!(offer.option(1), Some(&[255, 255, 255, 254][..]));
}
