//! Cases that conformance suites of DHCP servers have and `exchange.rs` has not, one after the
//! other.

use voldemort::desired::Desired;
use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Destination, Link, Reason};
use voldemort::state::{LeaseAction, LeaseRequest, LeaseState, State};

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";
const FIXED: &str = "52:54:00:00:00:03";
const TWINS: [&str; 2] = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"];
const SERVER: &str = "10.0.10.1";

fn state() -> State {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.101"]);
    let far = subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.101"]);
    let lab = Lab::new(vec![lab, far]).machine("m", &[FIXED]).deployment("m", "lab", Some("10.0.10.21"));
    lab.machine("twin", &TWINS).deployment("twin", "lab", Some("10.0.10.22")).state(SERVER)
}

fn lab() -> Link {
    link(SERVER, "10.0.10.0/24")
}

fn unicast(source: &str) -> Link {
    Link { broadcast: false, source: format!("{source}:68").parse().unwrap(), ..lab() }
}

fn decide(state: &mut State, link: &Link, seconds: u64, datagram: &[u8]) -> Decision {
    settle(state, link, Time((1_700_000_000 + seconds) * 1000), datagram)
}

fn reply(state: &mut State, link: &Link, seconds: u64, message: Message) -> (Answer, Destination) {
    match decide(state, link, seconds, &message.bytes()) {
        Decision::Reply { bytes, to, .. } => (Answer::read(&bytes), to),
        other => panic!("no answer: {other:?}"),
    }
}

fn silence(state: &mut State, link: &Link, seconds: u64, message: Message) -> Reason {
    match decide(state, link, seconds, &message.bytes()) {
        Decision::Silence(silence) => silence.reason,
        other => panic!("an answer: {other:?}"),
    }
}

fn bind(state: &mut State, seconds: u64, who: &str, address: &str) -> Answer {
    reply(state, &lab(), seconds, Message::discover(mac(who)).wants(address));
    let request = Message::request(mac(who)).wants(address).server(SERVER);
    let (ack, _) = reply(state, &lab(), seconds, request);
    assert_eq!((ack.kind(), ack.yiaddr()), (5, ip(address)));
    ack
}

#[test]
fn a_wish_counts_if_it_can_be_had() {
    let mut state = state();
    let wish = |state: &mut State, address| {
        reply(state, &lab(), 0, Message::discover(mac(ONE)).wants(address)).0.yiaddr()
    };
    assert_eq!(wish(&mut state, "192.168.7.7"), ip("10.0.10.100"), "from another network");
    let mut fresh = self::state();
    assert_eq!(wish(&mut fresh, "10.0.10.101"), ip("10.0.10.101"), "free and in the range");
    bind(&mut state, 0, TWO, "10.0.10.101");
    assert_eq!(wish(&mut state, "10.0.10.101"), ip("10.0.10.100"), "somebody else's");
    assert_eq!(wish(&mut state, "10.0.10.21"), ip("10.0.10.100"), "promised to a machine");
    assert_eq!(wish(&mut state, SERVER), ip("10.0.10.100"), "the server's own");
}

#[test]
fn an_offer_is_repeated_and_the_ack_says_the_same() {
    let mut state = state();
    let ask = || Message::discover(mac(ONE)).option(55, &[1, 3, 6, 15, 28, 51, 58, 59]);
    let (first, _) = reply(&mut state, &lab(), 0, ask());
    let (again, _) = reply(&mut state, &lab(), 4, ask());
    assert_eq!((first.yiaddr(), &first.options), (again.yiaddr(), &again.options));
    let request = Message::request(mac(ONE)).option(55, &[1, 3, 6, 15, 28, 51, 58, 59]);
    let (ack, _) = reply(&mut state, &lab(), 5, request.wants("10.0.10.100").server(SERVER));
    let but_the_type =
        |answer: &Answer| answer.options.iter().filter(|(code, _)| *code != 53).cloned().collect::<Vec<_>>();
    assert_eq!(but_the_type(&first), but_the_type(&ack));
    for banned in [50, 55, 57] {
        assert_eq!(ack.option(banned), None, "RFC 2131 table 3");
    }
}

#[test]
fn times_are_a_half_and_seven_eighths_and_a_shorter_lease_may_be_asked_for() {
    let mut state = state();
    let ask = |state: &mut State, seconds: u32| {
        let wish = Message::discover(mac(ONE)).option(51, &seconds.to_be_bytes());
        let (offer, _) = reply(state, &lab(), 0, wish);
        let number = |code| offer.option(code).map(|value| u32::from_be_bytes(value.try_into().unwrap()));
        (number(51), number(58), number(59))
    };
    assert_eq!(ask(&mut state, 7200), (Some(3600), Some(1800), Some(3150)), "not longer than the subnet's");
    assert_eq!(ask(&mut state, u32::MAX), (Some(3600), Some(1800), Some(3150)), "not for ever");
    assert_eq!(ask(&mut state, 600), (Some(600), Some(300), Some(525)));
    assert_eq!(ask(&mut state, 0).0, Some(60), "not so short that it is nothing but renewals");
}

#[test]
fn a_lease_that_ran_out_is_its_owner_s_until_somebody_needs_it() {
    let mut state = state();
    bind(&mut state, 0, ONE, "10.0.10.100");
    bind(&mut state, 0, TWO, "10.0.10.101");
    let renew = Message::request(mac(ONE)).ciaddr("10.0.10.100");
    let (ack, to) = reply(&mut state, &unicast("10.0.10.100"), 4000, renew);
    assert_eq!((ack.kind(), to.to_string().as_str()), (5, "10.0.10.100:68"), "late, but nobody had it since");
    let third = Message::discover(mac("52:54:00:00:00:09"));
    assert_eq!(reply(&mut state, &lab(), 4001, third).0.yiaddr(), ip("10.0.10.101"), "the one that ran out");
}

#[test]
fn renewing_rebinding_and_the_flag_say_where_the_answer_goes() {
    let mut state = state();
    bind(&mut state, 0, ONE, "10.0.10.100");
    let renew = || Message::request(mac(ONE)).ciaddr("10.0.10.100");
    let client = Destination::Unicast("10.0.10.100:68".parse().unwrap());
    assert_eq!(reply(&mut state, &unicast("10.0.10.100"), 1800, renew()).1, client);
    assert_eq!(reply(&mut state, &lab(), 3150, renew()).1, client, "rebinding");
    assert_eq!(reply(&mut state, &lab(), 3150, renew().broadcast()).1, client, "it has an address");
    let (_, to) = reply(&mut state, &lab(), 3200, Message::discover(mac(TWO)));
    assert_eq!(to, Destination::Raw { mac: mac(TWO), address: ip("10.0.10.101") });
    assert_eq!(
        reply(&mut state, &lab(), 3200, Message::discover(mac(TWO)).broadcast()).1,
        Destination::Broadcast
    );
}

#[test]
fn what_is_meant_for_another_server_changes_nothing() {
    let mut state = state();
    bind(&mut state, 0, ONE, "10.0.10.100");
    for kind in [3, 4, 7] {
        let message = Message::new(mac(ONE), kind).server("10.0.10.9").wants("10.0.10.100");
        let message = message.ciaddr(if kind == 7 { "10.0.10.100" } else { "0.0.0.0" });
        assert_eq!(silence(&mut state, &lab(), 1, message), Reason::OtherServer(ip("10.0.10.9")));
    }
    assert_eq!(state.leases().binding(mac(ONE)).unwrap().state, LeaseState::Bound);
    let nobody = Message::new(mac(TWO), 7).ciaddr("10.0.10.100");
    assert_eq!(silence(&mut state, &lab(), 1, nobody), Reason::NotIts(ip("10.0.10.100")));
    let nobody = Message::new(mac(TWO), 4).wants("10.0.10.100");
    assert_eq!(silence(&mut state, &lab(), 1, nobody), Reason::NotIts(ip("10.0.10.100")));
    assert_eq!(state.leases().mac_at(ip("10.0.10.100")), Some(mac(ONE)));
}

#[test]
fn what_is_no_question_is_left_unanswered() {
    let mut state = state();
    // A server's answers, FORCERENEW (RFC 3203), LEASEQUERY and what there is not.
    for kind in [0, 2, 5, 6, 9, 10, 13, 18, 255] {
        assert!(matches!(
            silence(&mut state, &lab(), 0, Message::new(mac(ONE), kind)),
            Reason::Unexpected(_)
        ));
    }
    let mut bootp = Message::discover(mac(ONE)).bytes();
    bootp.splice(240..243, [0, 0, 0]);
    assert!(matches!(decide(&mut state, &lab(), 0, &bootp), Decision::Silence(_)), "BOOTP");
    let mut reply = Message::discover(mac(ONE)).bytes();
    reply[0] = 2;
    assert!(matches!(decide(&mut state, &lab(), 0, &reply), Decision::Silence(_)));
}

#[test]
fn fields_are_copied_or_cleared() {
    let mut state = state();
    let mut bytes = Message::discover(mac(ONE)).relay("10.0.20.1").broadcast().bytes();
    bytes[3] = 3;
    bytes[8..10].copy_from_slice(&[1, 2]);
    bytes[34..44].copy_from_slice(&[7; 10]);
    let Decision::Reply { bytes: sent, .. } = decide(&mut state, &lab(), 0, &bytes) else { panic!() };
    assert_eq!(sent[..3], [2, 1, 6]);
    assert_eq!((sent[3], &sent[8..10]), (0, &[0, 0][..]), "hops and secs");
    assert_eq!(sent[4..8], bytes[4..8], "xid");
    assert_eq!(sent[10..12], [0x80, 0], "flags");
    assert_eq!(sent[24..44], bytes[24..44], "giaddr and all of chaddr");
    assert!(sent.len() >= 300);
}

#[test]
fn overloaded_fields_hold_options() {
    let mut state = state();
    let mut bytes = Message::discover(mac(ONE)).option(52, &[3]).bytes();
    bytes[108..115].copy_from_slice(&[50, 4, 10, 0, 10, 101, 255]);
    bytes[44..49].copy_from_slice(&[61, 2, 1, 9, 255]);
    let Decision::Reply { bytes, .. } = decide(&mut state, &lab(), 0, &bytes) else { panic!() };
    let answer = Answer::read(&bytes);
    assert_eq!((answer.yiaddr(), answer.option(61)), (ip("10.0.10.101"), Some(&[1, 9][..])));
    assert_eq!(answer.option(52), None, "boot firmware would not find its file");
}

/// RFC 3396 section 7: options area, then `file`, then `sname`.
#[test]
fn an_option_may_go_on_in_the_fields() {
    let mut state = state();
    let mut bytes = Message::discover(mac(ONE)).option(52, &[3]).option(61, &[1, 2]).bytes();
    bytes[108..113].copy_from_slice(&[61, 2, 3, 4, 255]);
    bytes[44..48].copy_from_slice(&[61, 1, 5, 255]);
    let Decision::Reply { bytes, .. } = decide(&mut state, &lab(), 0, &bytes) else { panic!() };
    assert_eq!(Answer::read(&bytes).option(61), Some(&[1, 2, 3, 4, 5][..]));
}

/// RFC 2131 table 5: what a client may leave out or send too much of.
#[test]
fn odd_but_lawful_messages_are_answered() {
    let mut state = state();
    let mut bare = Message::discover(mac(ONE)).bytes();
    bare.pop();
    assert!(matches!(decide(&mut state, &lab(), 0, &bare), Decision::Reply { .. }), "no END");
    let padded = [&[0; 9][..], &[53, 1, 1], &[0; 4], &[255], &[0x99; 40]].concat();
    let mut bytes = Message::discover(mac(ONE)).bytes();
    bytes.truncate(240);
    bytes.extend(padded);
    assert!(
        matches!(decide(&mut state, &lab(), 0, &bytes), Decision::Reply { .. }),
        "pads, and noise after END"
    );
    let empty = Message::discover(mac(ONE)).option(55, &[]).option(60, &[]).option(12, &[]).option(43, &[]);
    assert_eq!(reply(&mut state, &lab(), 0, empty).0.kind(), 2, "empty options");
    let twice = Message::discover(mac(ONE)).option(55, &[1]).option(55, &[3, 6]);
    assert!(reply(&mut state, &lab(), 0, twice).0.option(6).is_some(), "a list in two parts");
}

/// RFC 2131 section 4.3.2: the address of a REQUEST is looked at where its state puts it.
#[test]
fn each_state_names_its_address_in_its_own_place() {
    let mut state = state();
    bind(&mut state, 0, ONE, "10.0.10.100");
    let both = Message::request(mac(ONE)).wants("10.0.10.100").ciaddr("10.0.10.100");
    let (ack, to) = reply(&mut state, &unicast("10.0.10.100"), 1, both);
    assert_eq!((ack.kind(), to), (5, Destination::Unicast("10.0.10.100:68".parse().unwrap())));
    let selecting = Message::request(mac(ONE)).wants("10.0.10.101").server(SERVER);
    let (moved, _) = reply(&mut state, &lab(), 1, selecting);
    assert_eq!((moved.kind(), moved.yiaddr()), (5, ip("10.0.10.101")), "a free one may be taken instead");
    assert_eq!(state.leases().address_of(mac(ONE)), Some(ip("10.0.10.101")));
    assert_eq!(state.leases().holder(ip("10.0.10.100"), Time(1_700_000_002_000)), None, "one at a time");
}

#[test]
fn odd_client_ids_are_sent_back_and_tell_nobody_apart() {
    let mut state = state();
    for id in [&b"x"[..], &[0; 255]] {
        let (offer, _) =
            reply(&mut state, &lab(), 0, Message::discover(mac(ONE)).option(61, id).option(57, &[5, 220]));
        assert_eq!((offer.yiaddr(), offer.option(61)), (ip("10.0.10.100"), Some(id)));
    }
    let same = Message::discover(mac(TWO)).option(61, b"x");
    assert_eq!(reply(&mut state, &lab(), 0, same).0.yiaddr(), ip("10.0.10.101"), "a cloned id");
}

#[test]
fn a_request_without_an_address_is_refused() {
    let mut state = state();
    let (nak, to) = reply(&mut state, &lab(), 0, Message::request(mac(ONE)).server(SERVER));
    assert_eq!((nak.kind(), to), (6, Destination::Broadcast));
    for banned in [1, 3, 51, 66, 67] {
        assert_eq!(nak.option(banned), None);
    }
    assert_eq!((nak.yiaddr(), nak.address(20)), (ip("0.0.0.0"), ip("0.0.0.0")));
}

#[test]
fn a_relay_s_client_may_select_a_subnet() {
    let mut state = state();
    let message = Message::discover(mac(ONE)).relay("10.0.10.254").option(118, &[10, 0, 20, 0]);
    let (offer, to) = reply(&mut state, &lab(), 0, message);
    assert_eq!((offer.yiaddr(), to), (ip("10.0.20.100"), Destination::Relay(ip("10.0.10.254"))));
    assert_eq!(offer.option(118), Some(&[10, 0, 20, 0][..]), "RFC 3011 wants it back");
}

/// That a stranger was seen using an address.
fn conflict(address: &str) -> LeaseRequest {
    LeaseRequest {
        mac: mac("02:00:00:00:00:77"),
        at: Time(1_700_000_000_500),
        client_id: None,
        hostname: None,
        action: LeaseAction::Conflict { address: ip(address) },
    }
}

/// Of a machine with one card and of one with several: the manifests say who gets it.
#[test]
fn a_fixed_address_that_a_stranger_uses_is_given_nevertheless() {
    for (card, address) in [(FIXED, "10.0.10.21"), (TWINS[0], "10.0.10.22")] {
        let mut state = state();
        reply(&mut state, &lab(), 0, Message::discover(mac(card)));
        assert!(state.lease(&conflict(address)).changed.is_empty(), "{address}");
        bind(&mut state, 1, card, address);
        // It was found in use when it was dynamic still, and rests.
        let mut before = self::state().with_desired(Desired::default());
        assert_eq!(before.lease(&conflict(address)).changed.len(), 1, "{address}");
        let leases = before.leases().clone();
        let mut state = self::state().with_lasting(|lasting| lasting.leases = leases);
        bind(&mut state, 1, card, address);
    }
}

#[test]
fn an_address_that_a_stranger_uses_rests() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), 0, Message::discover(mac(ONE)));
    assert_eq!(offer.yiaddr(), ip("10.0.10.100"));
    assert_eq!(state.lease(&conflict("10.0.10.100")).changed.len(), 1);
    let request = Message::request(mac(ONE)).wants("10.0.10.100").server(SERVER);
    assert_eq!(reply(&mut state, &lab(), 1, request).0.kind(), 6, "too late");
    assert_eq!(reply(&mut state, &lab(), 1, Message::discover(mac(ONE))).0.yiaddr(), ip("10.0.10.101"));
    bind(&mut state, 2, ONE, "10.0.10.101");
    assert!(state.lease(&conflict("10.0.10.101")).changed.is_empty(), "a lease stands");
}
