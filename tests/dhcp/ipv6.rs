//! DHCPv6 decisions. What is answered is read by dhcproto, which had no part in writing it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use dhcproto::v6::{self, Decodable, Decoder, DhcpOption, IAAddr, MessageType, OptionCode, Status};
use voldemort::desired::{Advertise, Ipv6};
use voldemort::model::{Mode, Time, Unknown};
use voldemort::proto::dhcp6::{Decision, Link, Reason, handle};
use voldemort::state::{Event, LeaseState, Stage, State, Verb};

use super::lab::{Lab, mac, subnet};

pub(super) const ONE: &str = "52:54:00:00:00:01";
pub(super) const FIXED: &str = "52:54:00:00:00:03";
const US: &str = "fd00:10::1";
/// The card of the firmware in the captures.
const CAPTURED: &str = "52:54:00:77:00:01";

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(super) fn state() -> State {
    lab_of("fd00:10::", "fd00:10::21").ready()
}

impl Lab {
    fn ready(self) -> State {
        self.state("10.0.10.1").with_lasting(|lasting| lasting.lineage = "abc".into())
    }
}

/// The lab with this network and this address of machine `m`.
fn lab_of(network: &str, fixed: &str) -> Lab {
    unknown_in(network, fixed, Unknown::Ignore)
}

/// The same, where unknown machines get this.
fn unknown_in(network: &str, fixed: &str, unknown: Unknown) -> Lab {
    let six = |cidr: &str, dynamic: &[&str]| {
        let dynamic = dynamic.iter().map(|range| range.parse().unwrap()).collect();
        let dns = vec![ip6(US)];
        Some(Ipv6 { cidr: cidr.parse().unwrap(), dynamic, dns, ra: Advertise::Managed, router: false })
    };
    let mut lab = subnet("lab", "10.0.10.0/24", &[]);
    lab.ipv6 = six(&format!("{network}/64"), &[&format!("{network}1000-{network}1fff")]);
    lab.unknown = unknown;
    let mut far = subnet("far", "10.0.20.0/24", &[]);
    far.ipv6 = six("fd00:20::/64", &["fd00:20::1000-fd00:20::1001"]);
    let mut shut = subnet("shut", "10.0.30.0/24", &[]);
    shut.ipv6 = six("fd00:30::/64", &[]);
    let lab = Lab::new(vec![lab, far, shut]).machine("m", &[FIXED]).deployment("m", "lab", None);
    lab.address6("m", fixed)
}

pub(super) fn link(hardware: &str) -> Link {
    let source = "[fe80::1234]:546".parse().unwrap();
    Link { server: ip6(US), mode: Mode::Server, source, unicast: false, hardware: Some(mac(hardware)) }
}

/// One option.
pub(super) fn o(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// A DUID-UUID, as firmware has.
pub(super) fn duid(number: u8) -> Vec<u8> {
    o(1, &[&[0, 4], &[number; 16][..]].concat())
}

/// An IA_NA that names an address.
pub(super) fn ia(addresses: &[&str]) -> Vec<u8> {
    let inner: Vec<u8> =
        addresses.iter().flat_map(|one| o(5, &[&ip6(one).octets()[..], &[0; 8]].concat())).collect();
    o(3, &[&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat())
}

pub(super) fn message(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    [&[kind, 1, 2, 3], &options.concat()[..]].concat()
}

/// The same to this server.
pub(super) fn to_us(state: &State, kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    message(kind, &[&[o(2, &state.duid())], options].concat())
}

pub(super) const SOLICIT: u8 = 1;
pub(super) const REQUEST: u8 = 3;
pub(super) const CONFIRM: u8 = 4;
pub(super) const RENEW: u8 = 5;
pub(super) const REBIND: u8 = 6;
pub(super) const RELEASE: u8 = 8;
pub(super) const DECLINE: u8 = 9;
pub(super) const INFORMATION: u8 = 11;

pub(super) fn settle(state: &mut State, link: &Link, seconds: u64, datagram: &[u8]) -> Decision {
    let now = Time((1_700_000_000 + seconds) * 1000);
    for _ in 0..3 {
        match handle(state, link, now, datagram) {
            Decision::NeedLease(request) => drop(state.act(Verb::Lease6(request), now)),
            settled => return settled,
        }
    }
    panic!("the decision does not settle");
}

pub(super) fn reply(state: &mut State, link: &Link, seconds: u64, datagram: &[u8]) -> v6::Message {
    match settle(state, link, seconds, datagram) {
        Decision::Reply { bytes, .. } => v6::Message::decode(&mut Decoder::new(&bytes)).unwrap(),
        other => panic!("no answer: {other:?}"),
    }
}

pub(super) fn reason(state: &mut State, link: &Link, datagram: &[u8]) -> Reason {
    match settle(state, link, 0, datagram) {
        Decision::Silence(silence) => silence.reason,
        other => panic!("not silent: {other:?}"),
    }
}

/// Every address of the answer with its lifetime.
pub(super) fn addresses(message: &v6::Message) -> Vec<(String, u32)> {
    let all = message.opts().get_all(OptionCode::IANA).unwrap_or_default();
    let inner = all.iter().flat_map(|option| match option {
        DhcpOption::IANA(one) => one.opts.get_all(OptionCode::IAAddr).unwrap_or_default(),
        other => panic!("{other:?}"),
    });
    let address = |option: &DhcpOption| match option {
        DhcpOption::IAAddr(IAAddr { addr, preferred_life, valid_life, .. }) => {
            assert_eq!(preferred_life, valid_life);
            (addr.to_string(), *valid_life)
        }
        other => panic!("{other:?}"),
    };
    inner.map(address).collect()
}

pub(super) fn address(message: &v6::Message) -> String {
    addresses(message)[0].0.clone()
}

fn boot_file(message: &v6::Message) -> Option<String> {
    match message.opts().get(OptionCode::OptBootfileUrl)? {
        DhcpOption::Unknown(option) => Some(String::from_utf8(option.data().to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// The status code in the first IA_NA.
pub(super) fn status_of_ia(message: &v6::Message) -> Option<Status> {
    let Some(DhcpOption::IANA(ia)) = message.opts().get(OptionCode::IANA) else { panic!("{message:?}") };
    match ia.opts.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(status)) => Some(status.status),
        _ => None,
    }
}

pub(super) fn status(message: &v6::Message) -> Status {
    match message.opts().get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(status)) => status.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn four_messages_lease_an_address_and_renewing_keeps_it() {
    let mut state = state();
    let link = link(ONE);
    let offer = reply(&mut state, &link, 0, &message(SOLICIT, &[duid(1), ia(&[])]));
    assert_eq!((offer.msg_type(), offer.xid()), (MessageType::Advertise, [1, 2, 3]));
    assert_eq!(offer.opts().get(OptionCode::Preference), None, "strangers may take another server");
    let given = address(&offer);
    assert!(ip6("fd00:10::1000") <= ip6(&given) && ip6(&given) <= ip6("fd00:10::1fff"), "{given}");
    assert_eq!(state.leases6().iter().count(), 0, "an ADVERTISE holds nothing");
    let request = to_us(&state, REQUEST, &[duid(1), ia(&[&given])]);
    let ack = reply(&mut state, &link, 1, &request);
    assert_eq!(ack.msg_type(), MessageType::Reply);
    assert_eq!(addresses(&ack), [(given.clone(), 3600)]);
    let dns = ack.opts().get(OptionCode::DomainNameServers);
    assert_eq!(dns, Some(&DhcpOption::DomainNameServers(vec![ip6(US)])));
    // The same machine under another name keeps its address; soon after without another write.
    let other = to_us(&state, REQUEST, &[duid(9), ia(&[])]);
    assert!(matches!(handle(&state, &link, Time(1_700_000_005_000), &other), Decision::Reply { .. }));
    let renewal = to_us(&state, RENEW, &[duid(1), ia(&[&given, "fd00:10::5"])]);
    let renewed = reply(&mut state, &link, 1800, &renewal);
    assert_eq!(addresses(&renewed), [(given.clone(), 3600), ("fd00:10::5".into(), 0)]);
    let rebound = reply(&mut state, &link, 3000, &message(REBIND, &[duid(1), ia(&[&given])]));
    assert_eq!(address(&rebound), given);
    assert_eq!(state.leases6().mac_at(ip6(&given)), Some(mac(ONE)));
}

#[test]
fn what_is_declined_rests_and_what_is_released_is_free() {
    let mut state = state();
    let link = link(ONE);
    let rapid = message(SOLICIT, &[duid(1), ia(&[]), o(14, &[])]);
    let ack = reply(&mut state, &link, 0, &rapid);
    assert_eq!(ack.msg_type(), MessageType::Reply);
    assert!(ack.opts().get(OptionCode::RapidCommit).is_some());
    let first = address(&ack);
    let decline = to_us(&state, DECLINE, &[duid(1), ia(&[&first])]);
    assert_eq!(status(&reply(&mut state, &link, 1, &decline)), Status::Success);
    assert_eq!(state.leases6().at(ip6(&first)).unwrap().state, LeaseState::Declined);
    let second = address(&reply(&mut state, &link, 2, &rapid));
    assert_ne!(first, second);
    let release = to_us(&state, RELEASE, &[duid(1), ia(&[&second])]);
    assert_eq!(status(&reply(&mut state, &link, 3, &release)), Status::Success);
    assert_eq!(state.leases6().at(ip6(&second)).unwrap().state, LeaseState::Released);
    let not_its = to_us(&state, RELEASE, &[duid(1), ia(&["fd00:10::77"])]);
    let answer = reply(&mut state, &link, 4, &not_its);
    let Some(DhcpOption::IANA(inner)) = answer.opts().get(OptionCode::IANA) else { panic!("{answer:?}") };
    let Some(DhcpOption::StatusCode(code)) = inner.opts.get(OptionCode::StatusCode) else {
        panic!("{inner:?}")
    };
    assert_eq!(code.status, Status::NoBinding);
    assert_eq!(address(&reply(&mut state, &link, 5, &rapid)), second, "it finds its address again");
}

/// Options 16, 61 and 15, as firmware sends them.
fn firmware(class: &str, arch: u16) -> Vec<u8> {
    let word = [&[0, 0, 1, 0x57, 0, class.len() as u8], class.as_bytes()].concat();
    [o(16, &word), o(61, &arch.to_be_bytes())].concat()
}

#[test]
fn each_firmware_gets_its_boot_file() {
    let mut state = state();
    let link = link(FIXED);
    let mut offer =
        |extra: Vec<u8>| reply(&mut state, &link, 0, &message(SOLICIT, &[duid(1), ia(&[]), extra]));
    let pxe = offer(firmware("PXEClient:Arch:00007:UNDI:003000", 7));
    assert_eq!(addresses(&pxe), [("fd00:10::21".into(), 3600)]);
    assert_eq!(pxe.opts().get(OptionCode::Preference), Some(&DhcpOption::Preference(255)));
    assert_eq!(boot_file(&pxe).as_deref(), Some("tftp://[fd00:10::1]/snponly.efi"));
    assert!(pxe.opts().get(OptionCode::VendorClass).is_none());
    let http = offer(firmware("HTTPClient:Arch:00016:UNDI:003000", 16));
    assert_eq!(boot_file(&http).as_deref(), Some("http://[fd00:10::1]/loader/snponly.efi"));
    match http.opts().get(OptionCode::VendorClass) {
        Some(DhcpOption::VendorClass(class)) => {
            assert_eq!((class.num, class.data.as_slice()), (343, &[b"HTTPClient".to_vec()][..]));
        }
        other => panic!("{other:?}"),
    }
    let ipxe = [firmware("PXEClient:Arch:00007:UNDI:003010", 7), o(15, b"\0\x04iPXE")].concat();
    let script = "http://[fd00:10::1]/ipxe/52-54-00-00-00-03.ipxe";
    assert_eq!(boot_file(&offer(ipxe)).as_deref(), Some(script));
    assert_eq!(boot_file(&offer(vec![])), None, "a system boots nothing");
    let stateless = [firmware("PXEClient:Arch:00007:UNDI:003010", 7), o(15, b"\0\x04iPXE")].concat();
    let informed = reply(&mut state, &link, 0, &message(INFORMATION, &[stateless]));
    assert_eq!(boot_file(&informed).as_deref(), Some(script));
    assert!(addresses(&informed).is_empty());
}

/// As IPv4 and ProxyDHCP have it: an address, and a boot file only where our agent is to look at the machine.
#[test]
fn strangers_get_a_boot_file_only_to_be_discovered() {
    let classes = [("PXEClient:Arch:00007:UNDI:003000", 7), ("HTTPClient:Arch:00016:UNDI:003000", 16)];
    let offered = |state: &mut State, seconds: u64, (class, arch): (&str, u16)| {
        let asks = message(SOLICIT, &[duid(1), ia(&[]), firmware(class, arch)]);
        let offer = reply(state, &link(ONE), seconds, &asks);
        assert!(address(&offer).starts_with("fd00:10::1"), "it has its address in any case");
        let informed =
            reply(state, &link(ONE), seconds, &message(INFORMATION, &[duid(1), firmware(class, arch)]));
        assert_eq!(boot_file(&informed), boot_file(&offer));
        let class = offer.opts().get(OptionCode::VendorClass);
        assert!(boot_file(&offer).is_some() || class.is_none(), "{class:?}");
        boot_file(&offer)
    };
    let lab = |unknown| unknown_in("fd00:10::", "fd00:10::21", unknown);
    for lab in [lab(Unknown::Ignore), lab(Unknown::Ignore).agent(), lab(Unknown::Discover)] {
        let mut state = lab.ready();
        for class in classes {
            assert_eq!(offered(&mut state, 0, class), None, "{class:?}");
        }
    }
    let mut state = lab(Unknown::Discover).agent().ready();
    for (second, is_due) in [(0, true), (120, true), (240, false)] {
        assert_eq!(offered(&mut state, second, classes[0]).is_some(), is_due, "{second}");
        let at = Time((1_700_000_000 + second) * 1000);
        let event = Event { mac: Some(mac(ONE)), ..Event::new(at, Stage::Script, "a script") };
        state.act(Verb::Observe(vec![event]), at);
    }
}

/// As with IPv4: the system asks by both cards, and one of them has the address.
#[test]
fn two_cards_of_one_machine_never_have_its_address_at_once() {
    const TWINS: [&str; 2] = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"];
    const TWIN: &str = "fd00:10::22";
    let lab = lab_of("fd00:10::", "fd00:10::21").machine("twin", &TWINS).deployment("twin", "lab", None);
    let mut state = lab.address6("twin", TWIN).ready();
    let [one, other] = TWINS.map(link);
    let asks = |state: &mut State, link: &Link, seconds: u64, kind: u8, extra: Vec<u8>| {
        let datagram = to_us(state, kind, &[duid(1), ia(&[]), extra]);
        address(&reply(state, link, seconds, &datagram))
    };
    assert_eq!(asks(&mut state, &other, 0, REQUEST, vec![]), TWIN, "whichever asks first");
    let dynamic = asks(&mut state, &one, 1, REQUEST, vec![]);
    assert_ne!(dynamic, TWIN, "the other gets a dynamic one");
    assert_eq!(asks(&mut state, &other, 1800, RENEW, vec![]), TWIN);
    assert_eq!(asks(&mut state, &one, 1800, RENEW, vec![]), dynamic);
    // What was found in use is given nevertheless, and to whoever asks first.
    let decline = to_us(&state, DECLINE, &[duid(1), ia(&[TWIN])]);
    assert_eq!(status(&reply(&mut state, &other, 1801, &decline)), Status::Success);
    assert_eq!(asks(&mut state, &other, 1802, REQUEST, vec![]), TWIN);
    // The machine boots by its other card.
    let boots = || firmware("PXEClient:Arch:00007:UNDI:003000", 7);
    assert_ne!(asks(&mut state, &one, 1803, REQUEST, boots()), TWIN, "too soon for firmware");
    let solicit = message(SOLICIT, &[duid(1), ia(&[]), boots()]);
    assert_eq!(address(&reply(&mut state, &one, 1860, &solicit)), TWIN);
    assert_eq!(state.leases6().mac_at(ip6(TWIN)), Some(mac(TWINS[1])), "an ADVERTISE takes nothing");
    assert_eq!(asks(&mut state, &one, 1861, REQUEST, boots()), TWIN);
    assert_eq!(state.leases6().mac_at(ip6(TWIN)), Some(mac(TWINS[0])));
    let renewal = to_us(&state, RENEW, &[duid(1), ia(&[TWIN])]);
    let renewed = addresses(&reply(&mut state, &other, 1862, &renewal));
    assert!(renewed[0].0 != TWIN && renewed[1] == (TWIN.to_owned(), 0), "{renewed:?}");
    // Given back, it is the other card's.
    let release = to_us(&state, RELEASE, &[duid(1), ia(&[TWIN])]);
    assert_eq!(status(&reply(&mut state, &one, 1863, &release)), Status::Success);
    assert_eq!(asks(&mut state, &other, 1864, REQUEST, vec![]), TWIN);

    // Without a dynamic range the other card has none, in words.
    let mut desired = (**state.desired()).clone();
    let subnet = desired.subnets.get_mut("lab").map(Arc::make_mut).unwrap();
    subnet.ipv6.as_mut().unwrap().dynamic.clear();
    let mut state = state.with_desired(desired);
    let datagram = to_us(&state, REQUEST, &[duid(1), ia(&[])]);
    let Decision::Reply { events, bytes, .. } = settle(&mut state, &one, 1865, &datagram) else { panic!() };
    let refused = v6::Message::decode(&mut Decoder::new(&bytes)).unwrap();
    assert_eq!((addresses(&refused), status_of_ia(&refused)), (vec![], Some(Status::NoAddrsAvail)));
    assert!(events[0].text.contains(&format!("the machine's other card {}", TWINS[1])), "{:?}", events[0]);
}

/// A relay's message around another.
pub(super) fn relay(count: u8, link: &str, peer: &str, options: &[Vec<u8>], inner: &[u8]) -> Vec<u8> {
    let head = [&[12, count], &ip6(link).octets()[..], &ip6(peer).octets()].concat();
    [head, options.concat(), o(9, inner)].concat()
}

fn relay_head(count: u8, link: &str, peer: &str) -> Vec<u8> {
    [&[13, count], &ip6(link).octets()[..], &ip6(peer).octets()].concat()
}

/// The head of a RELAY-REPLY and the message in it. It holds the relay's interface id and that,
/// nothing else.
fn unrelayed<'a>(bytes: &'a [u8], id: &[u8]) -> (Vec<u8>, &'a [u8]) {
    let (head, rest) = bytes.split_at(34);
    let rest = rest.strip_prefix(o(18, id).as_slice()).unwrap();
    assert_eq!(rest[..2], [0, 9]);
    assert_eq!(usize::from(u16::from_be_bytes([rest[2], rest[3]])), rest.len() - 4);
    (head.to_vec(), &rest[4..])
}

#[test]
fn answers_go_back_by_the_relays_they_came_by() {
    let mut state = state();
    let solicit = message(SOLICIT, &[duid(1), ia(&[])]);
    let near =
        relay(0, "fd00:20::1", "fe80::99", &[o(18, b"port7"), o(79, b"\0\x01\x52\x54\0\0\0\x44")], &solicit);
    let far = relay(1, "::", "fd00:20::1", &[o(18, b"up")], &near);
    let link = Link { hardware: Some(mac("02:00:00:00:00:01")), ..link(ONE) };
    let Decision::Reply { bytes, port, events } = settle(&mut state, &link, 0, &far) else { panic!() };
    assert_eq!((port, events[0].mac), (547, Some(mac("52:54:00:00:00:44"))));
    let (outer, inside) = unrelayed(&bytes, b"up");
    assert_eq!(outer, relay_head(1, "::", "fd00:20::1"));
    let (inner, inside) = unrelayed(inside, b"port7");
    assert_eq!(inner, relay_head(0, "fd00:20::1", "fe80::99"));
    let answer = v6::Message::decode(&mut Decoder::new(inside)).unwrap();
    assert!(address(&answer).starts_with("fd00:20::100"), "{answer:?}");
    // Without option 79 the DUID identifies it, else the client's own address.
    let duid_ll = o(1, b"\0\x03\0\x01\x52\x54\0\0\0\x45");
    let by_duid = relay(0, "fd00:20::1", "fe80::99", &[], &message(SOLICIT, &[duid_ll, ia(&[])]));
    let Decision::Reply { events, .. } = settle(&mut state, &link, 0, &by_duid) else { panic!() };
    assert_eq!(events[0].mac, Some(mac("52:54:00:00:00:45")));
    let by_peer = relay(0, "fd00:20::1", "fe80::5054:ff:fe00:46", &[], &solicit);
    let Decision::Reply { events, .. } = settle(&mut state, &link, 0, &by_peer) else { panic!() };
    assert_eq!(events[0].mac, Some(mac("52:54:00:00:00:46")));
    let hidden = relay(0, "fd00:20::1", "fe80::99", &[], &solicit);
    assert_eq!(reason(&mut state, &link, &hidden), Reason::NoHardware);
    let elsewhere = relay(0, "fd00:99::1", "fe80::5054:ff:fe00:46", &[], &solicit);
    assert_eq!(reason(&mut state, &link, &elsewhere), Reason::UnknownNetwork(ip6("fd00:99::1")));
}

#[test]
fn every_silence_has_its_reason() {
    let mut state = state();
    let own = link(ONE);
    let solicit = message(SOLICIT, &[duid(1), ia(&[])]);
    let shut = Link { server: ip6("fd00:30::1"), ..own.clone() };
    assert!(matches!(reason(&mut state, &shut, &solicit), Reason::UnknownMachine { .. }));
    let known = Link { server: ip6("fd00:20::1"), ..link(FIXED) };
    assert!(matches!(reason(&mut state, &known, &solicit), Reason::Elsewhere { .. }));
    let foreign = message(REQUEST, &[duid(1), o(2, b"\0\x04other-server-duid"), ia(&[])]);
    assert_eq!(reason(&mut state, &own, &foreign), Reason::OtherServer);
    assert_eq!(reason(&mut state, &own, &message(REBIND, &[duid(1), ia(&["fd00:10::5"])])), Reason::NoRecord);
    assert_eq!(reason(&mut state, &own, &message(CONFIRM, &[duid(1), ia(&[])])), Reason::NoAddressNamed);
    assert!(matches!(reason(&mut state, &own, &message(SOLICIT, &[ia(&[])])), Reason::Malformed(_)));
    assert!(matches!(reason(&mut state, &own, &message(2, &[duid(1)])), Reason::Unexpected(_)));
    for mode in [Mode::Listen, Mode::Proxy] {
        let listening = Link { mode, ..own.clone() };
        let Reason::Listening(would) = reason(&mut state, &listening, &solicit) else { panic!() };
        assert!(would.starts_with("offered fd00:10::1"), "{would}");
    }
    assert_eq!(state.leases6().iter().count(), 0);
    let far = Link { server: ip6("fd00:20::1"), ..own };
    for card in ["52:54:00:00:01:01", "52:54:00:00:01:02"] {
        let card = Link { hardware: Some(mac(card)), ..far.clone() };
        reply(&mut state, &card, 0, &message(SOLICIT, &[duid(1), ia(&[]), o(14, &[])]));
    }
    let full = reply(&mut state, &far, 0, &solicit);
    assert_eq!((addresses(&full), status_of_ia(&full)), (vec![], Some(Status::NoAddrsAvail)));
}

#[test]
fn a_client_that_moved_is_told_so() {
    let mut state = state();
    let own = link(ONE);
    let here = reply(&mut state, &own, 0, &message(CONFIRM, &[duid(1), ia(&["fd00:10::1234"])]));
    assert_eq!(status(&here), Status::Success);
    let moved = reply(&mut state, &own, 0, &message(CONFIRM, &[duid(1), ia(&["fd00:20::1234"])]));
    assert_eq!(status(&moved), Status::NotOnLink);
}

#[test]
fn no_message_makes_it_panic() {
    let mut state = state();
    let own = link(ONE);
    let solicit = message(SOLICIT, &[duid(1), ia(&["fd00:10::1"]), firmware("PXEClient:Arch:00007", 7)]);
    let whole =
        relay(0, "fd00:10::1", "fe80::1", &[o(18, b"x"), o(79, b"\0\x01\x52\x54\0\0\0\x44")], &solicit);
    for end in 0..whole.len() {
        settle(&mut state, &own, 0, &whole[..end]);
        for byte in [0, 1, 0x7f, 0xff] {
            let mut broken = whole.clone();
            broken[end] = byte;
            settle(&mut state, &own, 0, &broken);
        }
    }
    let mut nested = solicit;
    for _ in 0..40 {
        nested = relay(0, "::", "fe80::1", &[], &nested);
    }
    assert!(matches!(reason(&mut state, &own, &nested), Reason::Malformed(_)));
}

/// The DHCPv6 messages of a capture: sending card and message.
fn captured(file: &[u8]) -> Vec<([u8; 6], Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut found) = (24, Vec::new());
    while at < file.len() {
        let frame = &file[at + 16..at + 16 + word(at + 8)];
        at += 16 + frame.len();
        let dhcp = frame.len() > 62 && frame[12..14] == [0x86, 0xdd] && frame[20] == 17;
        if dhcp && frame[56..58] == 547u16.to_be_bytes() {
            found.push((frame[6..12].try_into().unwrap(), frame[62..].to_vec()));
        }
    }
    found
}

#[test]
fn what_real_firmware_sent_is_answered() {
    let captures: [(&[u8], &str); 2] = [
        (include_bytes!("../captures/uefi-pxe6.pcap"), "tftp://[fd77::1]/snponly.efi"),
        (include_bytes!("../captures/uefi-http6.pcap"), "http://[fd77::1]/loader/snponly.efi"),
    ];
    for (file, url) in captures {
        let mut state = lab_of("fd77::", "fd00:10::21").machine("captured", &[CAPTURED]).ready();
        let messages = captured(file);
        assert!(!messages.is_empty());
        let mut files = Vec::new();
        for (card, mut datagram) in messages {
            // They asked another server, whose name stands in the messages to it.
            let mut at = 4;
            while at < datagram.len() {
                let end = at + 4 + usize::from(u16::from_be_bytes([datagram[at + 2], datagram[at + 3]]));
                if datagram[at..at + 2] == [0, 2] {
                    datagram.splice(at..end, o(2, &state.duid()));
                    break;
                }
                at = end;
            }
            let hardware = voldemort::model::Mac::new(card).ok();
            let link = Link { hardware, server: ip6("fd77::1"), ..link(ONE) };
            let answer = reply(&mut state, &link, 0, &datagram);
            files.extend(boot_file(&answer));
        }
        assert!(files.iter().any(|file| file == url), "{files:?}");
        assert_eq!(state.leases6().iter().count(), 1, "firmware and iPXE are one machine");
    }
}
