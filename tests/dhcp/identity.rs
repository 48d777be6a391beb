//! Which machine a client is taken for, and which addresses are never given: identities of board makers,
//! cloned identities, and the addresses of the server's own host.

use dhcproto::v6::{MessageType, OptionCode, Status};
use voldemort::model::{Span, Time};
use voldemort::proto::dhcp::{Decision, Link, Reason};
use voldemort::proto::dhcp6;
use voldemort::state::{Applied, Command, Event, Lease6Action, Lease6Request, Stage, State, Verb, apply};

use super::ipv6::{
    self, FIXED, ONE, REBIND, RENEW, REQUEST, SOLICIT, address, duid, ia, message, o, relay, status_of_ia,
    to_us,
};
use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const SERVER: &str = "10.0.10.1";
const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const DECLARED: &str = "52:54:00:00:00:11";
const UUID: &str = "4c4c4544-0042-3510-8056-b4c04f4e4d32";
const WIRE: [u8; 17] =
    [0, 0x44, 0x45, 0x4c, 0x4c, 0x42, 0, 0x10, 0x35, 0x80, 0x56, 0xb4, 0xc0, 0x4f, 0x4e, 0x4d, 0x32];
/// AMI's default, as its firmware sends it.
const AMI: [u8; 17] = [0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0, 9];

fn state(client_id: Option<&str>, uuid: &str) -> State {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"]);
    let lab = Lab::new(vec![lab]).machine("web", &[DECLARED]).known_by("web", client_id, Some(uuid));
    lab.deployment("web", "lab", Some("10.0.10.31")).state(SERVER)
}

fn lab() -> Link {
    link(SERVER, "10.0.10.0/24")
}

fn at(seconds: u64) -> Time {
    Time((1_700_000_000 + seconds) * 1000)
}

/// The answer, with its events applied; and the event text for people.
fn play(state: &mut State, seconds: u64, message: Message) -> (Answer, Option<String>) {
    match settle(state, &lab(), at(seconds), &message.bytes()) {
        Decision::Reply { bytes, events, .. } => {
            let mut out = Applied::default();
            let count = events.len();
            apply(state, Command::machine(Verb::Observe(events)), at(seconds), &mut out);
            // What a person has to know of it stands before it.
            let report = (out.events.len() > count).then(|| String::from(out.events[0].text.clone()));
            (Answer::read(&bytes), report)
        }
        other => panic!("no answer: {other:?}"),
    }
}

fn asks(who: &str) -> Message {
    Message::discover(mac(who)).pxe_uefi().option(97, &WIRE)
}

#[test]
fn marks_of_board_makers_identify_nobody() {
    // An inventory of before there was a check may still hold one.
    let mut state = state(Some("Default string"), "03000200-0400-0500-0006-000700080009");
    let junk = Message::discover(mac(A)).pxe_uefi().option(97, &AMI);
    let (offer, _) = play(&mut state, 0, junk);
    assert_eq!((offer.yiaddr(), offer.option(67)), (ip("10.0.10.100"), None));
    let junk = Message::discover(mac(B)).pxe_uefi().option(61, b"Default string");
    let (offer, _) = play(&mut state, 0, junk);
    assert_eq!((offer.yiaddr(), offer.option(67)), (ip("10.0.10.101"), None));
    assert!(state.learned().is_empty());
}

#[test]
fn nobody_is_believed_by_a_mark_that_two_show_at_a_time() {
    let mut state = state(None, UUID);
    let (first, report) = play(&mut state, 0, asks(A));
    assert_eq!((first.yiaddr(), report), (ip("10.0.10.31"), None), "one is believed");
    let (_, report) = play(&mut state, 5, asks(B));
    let report = report.expect("a person is report");
    assert!(report.contains(A) && report.contains(B) && report.contains("machine web"), "{report}");
    assert!(state.learned().is_empty() && state.deployment_of(mac(A)).is_none());
    for who in [A, B] {
        let (offer, report) = play(&mut state, 9, asks(who));
        assert_eq!((offer.option(67), report), (None, None), "{who}: nothing to boot, said once");
        assert_ne!(offer.yiaddr(), ip("10.0.10.31"), "{who}");
    }
    let (own, _) = play(&mut state, 10, Message::discover(mac(DECLARED)).pxe_uefi());
    assert!(own.option(67).is_some(), "a card that is written down is believed as ever");
    state.tick(at(3600));
    assert_eq!(state.contested().len(), 1);
    state.tick(at(24 * 3600 + 10));
    assert!(state.contested().is_empty(), "a day later it may be one machine's again");
}

#[test]
fn a_machine_may_go_on_with_another_of_its_cards() {
    let mut state = state(None, UUID);
    play(&mut state, 0, asks(A));
    let (_, report) = play(&mut state, 40, asks(B));
    assert_eq!(report, None, "the first card has been quiet");
    // An iPXE that firmware has just loaded tries the cards in its own order.
    let ipxe = Message::discover(mac(A)).ipxe().option(97, &WIRE);
    let (_, report) = play(&mut state, 45, ipxe);
    assert_eq!(report, None);
    let machine = state.desired().machines["web"].clone();
    assert_eq!(state.cards(&machine), [mac(DECLARED), mac(A), mac(B)], "all of them are its own");
}

#[test]
fn a_stranger_with_the_mark_of_a_machine_that_is_there_is_not_believed() {
    let mut state = state(None, UUID);
    play(&mut state, 0, Message::discover(mac(DECLARED)).pxe_uefi().option(97, &WIRE));
    let (_, report) = play(&mut state, 3, asks(A));
    assert!(report.is_some());
    assert_eq!(play(&mut state, 4, asks(A)).0.option(67), None);
}

/// The row said "never seen on the network; check the cable" while the machine was installing.
#[test]
fn cards_that_were_learned_are_shown_as_the_machine_s() {
    let mut state = state(None, UUID);
    play(&mut state, 0, asks(A));
    let rows = voldemort::api::resource::machine::all(&state, None).collect::<Vec<_>>();
    let row = rows.iter().find(|row| row.name.as_deref() == Some("web")).unwrap();
    assert_eq!(row.macs, [DECLARED, A]);
    assert!(row.last_seen.is_some());
    assert_eq!(rows.len(), 1, "it is no stranger");
    // A page goes on behind a name, also one that looks like a hardware address, or behind a card.
    let behind = |key: &str| voldemort::api::resource::machine::all(&state, Some(key)).count();
    assert_eq!((behind("52-54-00-00-00-01"), behind("web"), behind("52:54:00:00:00:01")), (1, 0, 0));
    let events = [(1, Event { mac: Some(mac(A)), ..Event::new(at(0), Stage::Offer, "offered") })];
    let why = voldemort::api::resource::why::why(&state, "web", &events, voldemort::model::Time(0)).unwrap();
    assert!(!why.verdict.contains("never seen"), "{}", why.verdict);
}

#[test]
fn addresses_of_this_host_are_given_to_nobody() {
    let lab_of = |fixed| {
        let net = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.102"]);
        let lab = Lab::new(vec![net]).machine("web", &[DECLARED]).machine("two", &[DECLARED, B]);
        lab.deployment("web", "lab", Some(fixed)).state(SERVER)
    };
    let mut state = lab_of("10.0.10.50");
    state = state.with_host(["10.0.10.100".parse().unwrap(), "10.0.10.50".parse().unwrap()].into());
    let (offer, _) = play(&mut state, 0, Message::discover(mac(A)).wants("10.0.10.100"));
    assert_eq!(offer.yiaddr(), ip("10.0.10.101"), "an alias is not lent, not even to who asks for it");
    state = state.with_host(["10.0.10.101".parse().unwrap(), "10.0.10.50".parse().unwrap()].into());
    let late = Message::request(mac(A)).wants("10.0.10.101").server(SERVER);
    assert_eq!(play(&mut state, 1, late).0.kind(), 6, "nor when it came after the offer");
    for server in ["10.0.10.50", "10.0.10.1"] {
        let mut state = lab_of(server);
        state = state.with_host(["10.0.10.50".parse().unwrap()].into());
        let lab = Lab::new(vec![subnet("lab", "10.0.10.0/24", &[])]).machine("web", &[DECLARED]);
        let mut state =
            lab.deployment("web", "lab", Some(server)).state(SERVER).with_host((**state.host()).clone());
        let Decision::Silence(silence) =
            settle(&mut state, &lab_link(), at(0), &Message::discover(mac(DECLARED)).bytes())
        else {
            panic!("{server} was given")
        };
        assert!(matches!(silence.reason, Reason::OfThisHost { .. }), "{}", silence.reason);
        let clashes = state.host_clashes();
        assert_eq!((clashes.len(), clashes[0].0.name.as_str()), (1, "web"));
    }
}

fn lab_link() -> Link {
    lab()
}

fn solicit() -> Vec<u8> {
    message(SOLICIT, &[duid(1), ia(&[])])
}

/// DHCPv6: a less reliable source of the hardware address never overrides a more reliable one.
#[test]
fn a_cloned_duid_or_source_address_makes_no_machine() {
    let duid_ll = || o(1, b"\0\x03\0\x01\x52\x54\0\0\0\x03");
    let duid_llt = || o(1, b"\0\x01\0\x01\x2c\x11\x22\x33\x52\x54\0\0\0\x03");
    let mut state = ipv6::state();
    for cloned in [duid_ll(), duid_llt()] {
        let solicit = message(SOLICIT, &[cloned.clone(), ia(&["fd00:10::21"])]);
        let offer = ipv6::reply(&mut state, &ipv6::link(ONE), 0, &solicit);
        assert_ne!(address(&offer), "fd00:10::21");
        assert!(offer.opts().get(OptionCode::Preference).is_none(), "it is no machine of ours");
        // A relay that says whose card it was is as sure.
        let option79 = o(79, b"\0\x01\x52\x54\0\0\0\x01");
        let relayed = relay(0, "fd00:10::1", "fe80::99", &[option79], &solicit);
        let Decision6::Reply { events, .. } = ipv6::settle(&mut state, &ipv6::link(ONE), 0, &relayed) else {
            panic!()
        };
        assert_eq!(events[0].mac, Some(mac(ONE)));
    }
    // fe80::5054:ff:fe00:3 is made of the machine's hardware address.
    let source = "[fe80::5054:ff:fe00:3]:546".parse().unwrap();
    let forged = dhcp6::Link { source, ..ipv6::link(ONE) };
    assert_ne!(address(&ipv6::reply(&mut state, &forged, 0, &solicit())), "fd00:10::21");
    // Where nothing surer is known they count.
    let alone = dhcp6::Link { hardware: None, ..forged };
    assert_eq!(address(&ipv6::reply(&mut state, &alone, 0, &solicit())), "fd00:10::21");
}

type Decision6 = dhcp6::Decision;

/// RFC 8415 sections 18.3.2, 18.3.4 and 18.3.9: the answer says that there is no address.
#[test]
fn a_fixed_ipv6_address_that_is_leased_to_another_is_refused_in_words() {
    let mut state = ipv6::state();
    let net = state.desired().subnets["lab"].clone();
    let action = Lease6Action::Bind { subnet: net, address: "fd00:10::21".parse().unwrap(), over: None };
    let held = Lease6Request { mac: mac(ONE), duid: Default::default(), at: at(0), action };
    assert_eq!(state.lease6(&held).len(), 1);
    let refusals = |state: &mut State| {
        let own = ipv6::link(FIXED);
        let asked = to_us(state, REQUEST, &[duid(1), ia(&[])]);
        let renewed = to_us(state, RENEW, &[duid(1), ia(&["fd00:10::21"])]);
        let rebound = message(REBIND, &[duid(1), ia(&["fd00:10::21"])]);
        for (kind, datagram, status) in [
            (MessageType::Advertise, solicit(), Status::NoAddrsAvail),
            (MessageType::Advertise, message(SOLICIT, &[duid(1), ia(&[]), o(14, &[])]), Status::NoAddrsAvail),
            (MessageType::Reply, asked, Status::NoAddrsAvail),
            (MessageType::Reply, renewed, Status::NoBinding),
            (MessageType::Reply, rebound, Status::NoBinding),
        ] {
            let answer = ipv6::reply(state, &own, 1, &datagram);
            assert_eq!((answer.msg_type(), status_of_ia(&answer)), (kind, Some(status)));
        }
    };
    refusals(&mut state);
    // The same if it is an address of this host.
    state = state.with_lasting(|lasting| lasting.leases6 = Default::default());
    state = state.with_host(["fd00:10::21".parse().unwrap()].into());
    refusals(&mut state);
    state = state.with_host(Default::default());
    assert_eq!(address(&ipv6::reply(&mut state, &ipv6::link(FIXED), 1, &solicit())), "fd00:10::21");
}

/// A clock that was ahead when a lease was stored.
#[test]
fn ends_are_brought_nearer_in_the_subnets_that_are_new() {
    let mut state = state(None, UUID);
    let ahead = 10 * 365 * 24 * 3600;
    let given = play(&mut state, ahead, Message::discover(mac(A))).0.yiaddr().to_string();
    play(&mut state, ahead, Message::request(mac(A)).wants(&given).server(SERVER));
    state.note_longest(at(0));
    assert!(state.limit_leases(at(0), &|_| false).leases.is_empty());
    let changed = state.limit_leases(at(0), &|name| name.as_str() == "lab");
    assert_eq!(changed.leases.len(), 1);
    assert_eq!(changed.leases[0].expires, at(0) + Span::seconds(3600));
    let (freed, _) = state.free_address(given.parse().unwrap(), at(1)).unwrap();
    assert_eq!((freed.mac, freed.until), (mac(A), at(0) + Span::seconds(3600)));
    assert!(state.free_address(given.parse().unwrap(), at(1)).is_none());
}

/// A running daemon whose clock is set back by hours: cards that were heard before are not heard "at a time" with those
/// of now, and a contest does not last until the clock is there again.
#[test]
fn a_clock_that_is_set_back_makes_no_contest_and_prolongs_none() {
    const HOURS: u64 = 7 * 3600;
    let heard = |state: &mut State, card: &str, seconds: u64| drop(play(state, seconds, asks(card)));
    let mut calm = state(None, UUID);
    calm.act(Verb::Tick, at(HOURS));
    heard(&mut calm, A, HOURS);
    calm.act(Verb::Tick, at(0));
    heard(&mut calm, B, 1);
    assert!(calm.contested().is_empty(), "{:?}", calm.contested());
    // Both within a few seconds are a contest, whatever the clock said before.
    heard(&mut calm, A, 2);
    assert_eq!(calm.contested().len(), 1);

    let mut contested = state(None, UUID);
    contested.act(Verb::Tick, at(HOURS));
    heard(&mut contested, A, HOURS);
    heard(&mut contested, B, HOURS + 1);
    contested.act(Verb::Tick, at(5));
    contested.act(Verb::Tick, at(5 + 24 * 3600 - 1));
    assert_eq!(contested.contested().len(), 1);
    contested.act(Verb::Tick, at(5 + 24 * 3600));
    assert!(contested.contested().is_empty(), "a day after the clock was right again");
}
