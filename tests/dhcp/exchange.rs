//! Exchanges of every kind, message by message.

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Destination, Link, Mode, Reason};
use voldemort::state::{LeaseState, Leases, Stage, State};

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const WEB: &str = "52:54:00:00:00:01";
const AUTO: &str = "52:54:00:00:00:02";
const BARE: &str = "52:54:00:00:00:03";
const TWIN_A: &str = "52:54:00:00:00:0a";
const TWIN_B: &str = "52:54:00:00:00:0b";
const STRANGER: &str = "02:00:00:00:00:99";

/// `lab` is the network we are on, `far` is behind a relay, `closed` gives strangers nothing.
fn state() -> State {
    let subnets = vec![
        subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.102"]),
        subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.199"]),
        subnet("closed", "10.0.30.0/24", &[]),
    ];
    Lab::new(subnets)
        .machine("web", &[WEB])
        .machine("auto", &[AUTO])
        .machine("bare", &[BARE])
        .machine("twin", &[TWIN_A, TWIN_B])
        .deployment("web", "lab", Some("10.0.10.21"))
        .deployment("auto", "lab", None)
        .deployment("twin", "lab", Some("10.0.10.22"))
        .state("10.0.10.1")
}

fn lab() -> Link {
    link("10.0.10.1", "10.0.10.0/24")
}

fn closed() -> Link {
    link("10.0.30.1", "10.0.30.0/24")
}

const NOW: u64 = 1_700_000_000;

fn at(seconds: u64) -> Time {
    Time((NOW + seconds) * 1000)
}

fn reply(state: &mut State, link: &Link, seconds: u64, message: Message) -> (Answer, Destination) {
    match settle(state, link, at(seconds), &message.bytes()) {
        Decision::Reply { bytes, to, .. } => (Answer::read(&bytes), to),
        other => panic!("no answer: {other:?}"),
    }
}

fn silence(state: &mut State, link: &Link, seconds: u64, message: Message) -> Reason {
    match settle(state, link, at(seconds), &message.bytes()) {
        Decision::Silence(silence) => silence.reason,
        other => panic!("an answer: {other:?}"),
    }
}

const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// A whole exchange: the address that was given.
fn exchange(state: &mut State, link: &Link, seconds: u64, who: &str) -> std::net::Ipv4Addr {
    let (offer, _) = reply(state, link, seconds, Message::discover(mac(who)));
    assert_eq!(offer.kind(), OFFER);
    let wanted = offer.yiaddr().to_string();
    let server = link.server.to_string();
    let (ack, _) = reply(state, link, seconds, Message::request(mac(who)).wants(&wanted).server(&server));
    assert_eq!((ack.kind(), ack.yiaddr()), (ACK, offer.yiaddr()));
    ack.yiaddr()
}

#[test]
fn a_fixed_address_needs_no_lease() {
    let mut state = state();
    let (offer, to) = reply(&mut state, &lab(), 0, Message::discover(mac(WEB)).pxe_uefi().broadcast());
    assert_eq!((offer.kind(), offer.yiaddr(), to), (OFFER, ip("10.0.10.21"), Destination::Broadcast));
    assert_eq!((offer.file(), offer.option(60)), ("snponly.efi".into(), Some(&b"PXEClient"[..])));
    assert_eq!(offer.option(43), Some(&[6, 1, 8, 255][..]));
    assert_eq!(exchange(&mut state, &lab(), 0, WEB), ip("10.0.10.21"));
    assert_eq!(state.leases().iter().count(), 0);
}

#[test]
fn one_machine_keeps_one_address_through_all_its_client_ids() {
    let mut state = state();
    let with_id = |message: Message, id: &[u8]| message.option(61, id);
    for (seconds, id) in [(0, &[1u8, 2, 3][..]), (20, &[0xff, 9, 9]), (60, &[0, 7])] {
        let (offer, _) = reply(&mut state, &lab(), seconds, with_id(Message::discover(mac(AUTO)), id));
        assert_eq!((offer.yiaddr(), offer.option(61)), (ip("10.0.10.100"), Some(id)));
        let take = Message::request(mac(AUTO)).wants("10.0.10.100").server("10.0.10.1");
        assert_eq!(reply(&mut state, &lab(), seconds, with_id(take, id)).0.kind(), ACK);
    }
    assert_eq!(state.leases().iter().count(), 1);
}

#[test]
fn most_of_a_lease_is_confirmed_without_writing() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, AUTO);
    let before = state.leases().binding(mac(AUTO)).cloned();
    let take = Message::request(mac(AUTO)).wants("10.0.10.100").server("10.0.10.1");
    let (ack, _) = reply(&mut state, &lab(), 100, take);
    assert_eq!((ack.lease(), state.leases().binding(mac(AUTO)).cloned()), (Some(3500), before));
    let renew = Message::request(mac(AUTO)).ciaddr("10.0.10.100");
    let (ack, to) = reply(&mut state, &Link { broadcast: false, ..lab() }, 1800, renew);
    assert_eq!((ack.lease(), ack.kind()), (Some(3600), ACK));
    assert_eq!(to, Destination::Unicast("10.0.10.100:68".parse().unwrap()));
    assert_eq!(state.leases().binding(mac(AUTO)).unwrap().expires, at(1800 + 3600));
}

#[test]
fn strangers_get_an_address_where_the_subnet_is_dynamic_and_never_a_boot_file() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), 0, Message::discover(mac(STRANGER)).pxe_bios());
    assert_eq!((offer.yiaddr(), offer.file()), (ip("10.0.10.100"), String::new()));
    assert_eq!((offer.option(60), offer.option(67), offer.address(20)), (None, None, ip("0.0.0.0")));
    let reason = silence(&mut state, &closed(), 0, Message::discover(mac(STRANGER)));
    assert!(matches!(reason, Reason::UnknownMachine { .. }), "{reason}");
    let reason = silence(&mut state, &closed(), 0, Message::request(mac(STRANGER)).wants("10.0.30.9"));
    assert!(matches!(reason, Reason::UnknownMachine { .. }), "{reason}");
    let reason = silence(&mut state, &closed(), 0, Message::discover(mac(BARE)));
    assert!(matches!(reason, Reason::NoAddress { .. }), "{reason}");
    let reason = silence(&mut state, &closed(), 0, Message::discover(mac(WEB)));
    assert!(matches!(reason, Reason::Elsewhere { .. }), "{reason}");
}

#[test]
fn machines_without_a_deployment_boot_all_the_same() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), 0, Message::discover(mac(BARE)).ipxe());
    assert_eq!(offer.file(), "http://10.0.10.1/ipxe/52-54-00-00-00-03.ipxe");
    assert_eq!(offer.option(175), Some(&[0xb0, 1, 1][..]));
    assert_eq!((offer.option(60), offer.option(43)), (None, None));
}

#[test]
fn init_reboot_is_confirmed_refused_or_left_to_others() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, AUTO);
    let back = |who: &str, address: &str| Message::request(mac(who)).wants(address);
    assert_eq!(reply(&mut state, &lab(), 9, back(AUTO, "10.0.10.100")).0.kind(), ACK);
    assert_eq!(reply(&mut state, &lab(), 9, back(WEB, "10.0.10.21")).0.kind(), ACK);
    for (who, address) in
        [(WEB, "10.0.10.100"), (AUTO, "10.0.10.101"), (STRANGER, "10.0.10.100"), (STRANGER, "10.0.10.21")]
    {
        let (nak, to) = reply(&mut state, &lab(), 9, back(who, address).broadcast());
        assert_eq!((nak.kind(), to), (NAK, Destination::Broadcast), "{who} {address}");
        assert_eq!((nak.yiaddr(), nak.option(51), nak.address(20)), (ip("0.0.0.0"), None, ip("0.0.0.0")));
    }
    let wrong_net = reply(&mut state, &lab(), 9, back(STRANGER, "10.0.20.7")).0;
    assert_eq!(wrong_net.kind(), NAK, "another of our networks");
    let reason = silence(&mut state, &lab(), 9, back(STRANGER, "10.0.10.101"));
    assert_eq!(reason, Reason::NoRecord(ip("10.0.10.101")));
    let reason = silence(&mut state, &lab(), 9, back(STRANGER, "192.168.1.7"));
    assert_eq!(reason, Reason::NotOurNetwork(ip("192.168.1.7")));
}

#[test]
fn a_lease_is_found_again_after_a_restart_and_after_its_end() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, AUTO);
    let stored: Vec<_> = state.leases().iter().cloned().collect();
    state = state.with_lasting(|lasting| lasting.leases = Leases::restore(stored));
    let rebind = Message::request(mac(AUTO)).ciaddr("10.0.10.100");
    assert_eq!(reply(&mut state, &lab(), 3200, rebind.clone()).0.kind(), ACK);
    assert_eq!(reply(&mut state, &lab(), 99_000, rebind).0.kind(), ACK);
    let reason = silence(&mut state, &lab(), 0, Message::request(mac(STRANGER)).ciaddr("10.0.10.102"));
    assert_eq!(reason, Reason::NoRecord(ip("10.0.10.102")));
}

#[test]
fn an_offer_of_another_server_is_taken_in_silence() {
    let mut state = state();
    let message = Message::request(mac(WEB)).wants("10.0.10.21").server("10.0.10.9");
    assert_eq!(silence(&mut state, &lab(), 0, message), Reason::OtherServer(ip("10.0.10.9")));
}

#[test]
fn decline_and_release() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, AUTO);
    let decline = |who: &str, address: &str| Message::new(mac(who), 4).wants(address).server("10.0.10.1");
    let reason = silence(&mut state, &lab(), 1, decline(STRANGER, "10.0.10.100"));
    assert_eq!(reason, Reason::NotIts(ip("10.0.10.100")));
    assert_eq!(
        silence(&mut state, &lab(), 1, decline(AUTO, "10.0.10.100")),
        Reason::Declined(ip("10.0.10.100"))
    );
    let rests = state.leases().stored(ip("10.0.10.100")).unwrap();
    assert_eq!((rests.state, rests.expires), (LeaseState::Declined, at(1 + 86_400)));
    assert_eq!(exchange(&mut state, &lab(), 2, AUTO), ip("10.0.10.101"));
    let reason = silence(&mut state, &lab(), 3, decline(WEB, "10.0.10.21"));
    assert!(matches!(reason, Reason::DeclinedFixed { .. }));

    let release = |who: &str, address: &str| Message::new(mac(who), 7).ciaddr(address);
    assert_eq!(
        silence(&mut state, &lab(), 4, release(STRANGER, "10.0.10.101")),
        Reason::NotIts(ip("10.0.10.101"))
    );
    assert_eq!(
        silence(&mut state, &lab(), 4, release(AUTO, "10.0.10.101")),
        Reason::Released(ip("10.0.10.101"))
    );
    assert!(state.leases().holder(ip("10.0.10.101"), at(4)).is_none());
    assert_eq!(
        silence(&mut state, &lab(), 4, release(WEB, "10.0.10.21")),
        Reason::ReleasedFixed(ip("10.0.10.21"))
    );
}

#[test]
fn inform_gets_parameters_and_no_lease() {
    let mut state = state();
    let inform = Message::new(mac(STRANGER), 8).ciaddr("10.0.10.7");
    let (ack, to) = reply(&mut state, &lab(), 0, inform);
    assert_eq!((ack.kind(), ack.yiaddr(), ack.lease()), (ACK, ip("0.0.0.0"), None));
    assert_eq!(ack.option(3), Some(&[10, 0, 10, 1][..]));
    assert_eq!(to, Destination::Unicast("10.0.10.7:68".parse().unwrap()));
    assert_eq!(state.leases().iter().count(), 0);
}

#[test]
fn a_full_range_says_so() {
    let mut state = state();
    for number in 1..=3 {
        exchange(&mut state, &lab(), 0, &format!("02:00:00:00:00:0{number}"));
    }
    let reason = silence(&mut state, &lab(), 1, Message::discover(mac(STRANGER)));
    assert!(matches!(reason, Reason::Exhausted { .. }), "{reason}");
    assert_eq!(exchange(&mut state, &lab(), 3600, STRANGER), ip("10.0.10.100"));
}

#[test]
fn the_address_of_a_machine_of_the_manifests_is_kept_for_it() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, AUTO);
    for number in 1..=2 {
        exchange(&mut state, &lab(), 1, &format!("02:00:00:00:00:0{number}"));
    }
    assert_eq!(exchange(&mut state, &lab(), 99_000, STRANGER), ip("10.0.10.101"), "not 100, the older one");
    assert_eq!(exchange(&mut state, &lab(), 99_001, AUTO), ip("10.0.10.100"));
}

#[test]
fn relays_choose_the_subnet_and_get_the_answer() {
    let mut state = state();
    let relayed = |kind| Message::new(mac(STRANGER), kind).relay("10.0.20.1").option(82, &[1, 2, 7, 7]);
    let (offer, to) = reply(&mut state, &lab(), 0, relayed(1));
    assert_eq!((offer.yiaddr(), to), (ip("10.0.20.100"), Destination::Relay(ip("10.0.20.1"))));
    assert_eq!((offer.address(24), offer.option(82)), (ip("10.0.20.1"), Some(&[1, 2, 7, 7][..])));
    assert_eq!(offer.options.last().unwrap().0, 82);
    let take = relayed(3).wants("10.0.20.100").server("10.0.10.1");
    assert_eq!(reply(&mut state, &lab(), 0, take).0.kind(), ACK);
    let direct = Link { broadcast: false, source: "10.0.20.100:68".parse().unwrap(), ..lab() };
    let renew = Message::request(mac(STRANGER)).ciaddr("10.0.20.100");
    assert_eq!(reply(&mut state, &direct, 1800, renew).0.kind(), ACK, "round the relay");
    let (nak, to) = reply(&mut state, &lab(), 0, relayed(3).wants("10.0.10.100"));
    assert_eq!((nak.kind(), nak.is_broadcast(), to), (NAK, true, Destination::Relay(ip("10.0.20.1"))));
    let lost = Message::discover(mac(STRANGER)).relay("172.16.0.1");
    assert_eq!(silence(&mut state, &lab(), 0, lost), Reason::UnknownNetwork(ip("172.16.0.1")));
}

#[test]
fn a_relay_may_name_the_link_and_speak_for_us() {
    let mut state = state();
    let options = [5, 4, 10, 0, 20, 0, 11, 4, 10, 0, 20, 254];
    let relayed = |kind| Message::new(mac(STRANGER), kind).relay("172.16.0.1").option(82, &options);
    let (offer, to) = reply(&mut state, &lab(), 0, relayed(1));
    assert_eq!((offer.yiaddr(), to), (ip("10.0.20.100"), Destination::Relay(ip("172.16.0.1"))));
    assert_eq!(offer.option(54), Some(&[10, 0, 20, 254][..]));
    let take = relayed(3).wants("10.0.20.100").server("10.0.20.254");
    assert_eq!(reply(&mut state, &lab(), 0, take).0.kind(), ACK);
}

#[test]
fn two_cards_of_one_machine_never_have_its_address_at_once() {
    let mut state = state();
    let fixed = ip("10.0.10.22");
    assert_eq!(exchange(&mut state, &lab(), 0, TWIN_B), fixed, "whichever asks first");
    assert_eq!(exchange(&mut state, &lab(), 1, TWIN_A), ip("10.0.10.100"), "the other gets a dynamic one");
    let (offer, _) = reply(&mut state, &lab(), 2, Message::discover(mac(TWIN_A)).pxe_bios());
    assert_ne!(offer.yiaddr(), fixed, "too soon for firmware");
    let (offer, _) = reply(&mut state, &lab(), 60, Message::discover(mac(TWIN_A)).pxe_bios());
    assert_eq!(offer.yiaddr(), fixed, "the machine boots again, by its other card");
    assert_eq!(state.leases().mac_at(fixed), Some(mac(TWIN_A)));
    assert_eq!(exchange(&mut state, &lab(), 61, TWIN_A), fixed);
    let (nak, _) = reply(&mut state, &lab(), 62, Message::request(mac(TWIN_B)).wants("10.0.10.22"));
    assert_eq!(nak.kind(), NAK);
}

#[test]
fn a_fixed_address_waits_for_the_end_of_a_stranger_s_lease() {
    let mut state = state();
    exchange(&mut state, &lab(), 0, STRANGER);
    let leases = state.leases().clone();
    let lab_now = Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.199"])]);
    let lab_now = lab_now.machine("web", &[WEB]).deployment("web", "lab", Some("10.0.10.100"));
    state = lab_now.state("10.0.10.1").with_lasting(|lasting| lasting.leases = leases);
    let reason = silence(&mut state, &lab(), 1, Message::discover(mac(WEB)));
    assert!(matches!(reason, Reason::InUse { .. }), "{reason}");
    let renew = Message::request(mac(STRANGER)).ciaddr("10.0.10.100");
    assert_eq!(reply(&mut state, &lab(), 1800, renew).0.kind(), NAK);
    assert_eq!(exchange(&mut state, &lab(), 3600, WEB), ip("10.0.10.100"));
}

#[test]
fn uefi_http_and_missing_loaders() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), 0, Message::discover(mac(WEB)).http_uefi());
    assert_eq!(offer.option(60), Some(&b"HTTPClient"[..]));
    assert_eq!(offer.option(67), Some(&b"http://10.0.10.1/loader/snponly.efi"[..]));
    let lab_now = Lab::new(vec![subnet("lab", "10.0.10.0/24", &[])]).loaders(&["undionly.kpxe"]);
    let lab_now = lab_now.machine("web", &[WEB]).deployment("web", "lab", Some("10.0.10.21"));
    let mut state = lab_now.state("10.0.10.1");
    let message = Message::discover(mac(WEB)).pxe_uefi().bytes();
    let Decision::Reply { bytes, events, .. } = settle(&mut state, &lab(), at(0), &message) else { panic!() };
    let offer = Answer::read(&bytes);
    assert_eq!((offer.yiaddr(), offer.option(60), offer.option(67)), (ip("10.0.10.21"), None, None));
    assert_eq!(
        events[0].text,
        "offered 10.0.10.21 (deployment web, lab.toml:20:1), but no boot file: \
         no snponly.efi or ipxe.efi or shimx64.efi or grubx64.efi for x86_64 uefi among the firmware files"
    );
    assert_eq!((events[0].stage, events[0].ipxe), (Stage::Offer, Some(false)));
}

#[test]
fn other_modes_say_less() {
    let mut state = state();
    let listen = Link { mode: Mode::Listen, ..lab() };
    let reason = silence(&mut state, &listen, 0, Message::discover(mac(WEB)));
    assert_eq!(
        reason.to_string(),
        "listening only; would have offered 10.0.10.21 (deployment web, lab.toml:20:1)"
    );
    let reason = silence(&mut state, &listen, 0, Message::discover(mac(STRANGER)));
    assert_eq!(reason.to_string(), "listening only; would have offered a dynamic address of subnet lab");
    assert_eq!(state.leases().iter().count(), 0);
    let off = Link { mode: Mode::Off, ..lab() };
    assert_eq!(silence(&mut state, &off, 0, Message::discover(mac(WEB))), Reason::Off);
    let proxy = Link { mode: Mode::Proxy, ..lab() };
    assert_eq!(silence(&mut state, &proxy, 0, Message::discover(mac(WEB))), Reason::NotABoot);
    let stranger = Message::discover(mac(STRANGER)).pxe_bios();
    assert_eq!(silence(&mut state, &proxy, 0, stranger), Reason::NoMachine);
}

#[test]
fn the_boot_server_answers_beside_our_own_dhcp_too() {
    let mut state = state();
    let link = Link { port: 4011, source: "10.0.10.21:4011".parse().unwrap(), broadcast: false, ..lab() };
    let (ack, to) = reply(&mut state, &link, 0, Message::request(mac(WEB)).pxe_uefi().ciaddr("10.0.10.21"));
    assert_eq!((ack.kind(), ack.file(), ack.yiaddr()), (ACK, "snponly.efi".into(), ip("0.0.0.0")));
    assert_eq!(to, Destination::Unicast("10.0.10.21:4011".parse().unwrap()));
    let reason = silence(&mut state, &link, 0, Message::discover(mac(WEB)).pxe_uefi());
    assert!(matches!(reason, Reason::Unexpected(_)));
}

#[test]
fn garbage_gets_a_reason_that_names_its_sender() {
    let mut state = state();
    let Decision::Silence(silence) = settle(&mut state, &lab(), at(0), b"GET / HTTP/1.1") else { panic!() };
    assert_eq!(silence.to_string(), "no answer to 0.0.0.0:68: 14 bytes are too few for a DHCP message (240)");
}
