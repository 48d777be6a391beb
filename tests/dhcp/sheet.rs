//! Rows of the protocol sheet (what firmware does, and the quirks known of it) that no other test
//! holds, one after the other; a comment names section and row. `sheet/held.rs` lists which test
//! holds which row.

mod held;

use std::net::SocketAddrV4;

use voldemort::model::{Cpu, Firmware, Time};
use voldemort::proto::dhcp::client::{Client, ClientKind};
use voldemort::proto::dhcp::{Decision, Destination, Link, Mode, Reason, Request};
use voldemort::state::{LeaseState, State, Verb};

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const OWN: &str = "52:54:00:00:00:01";
const STRANGER: &str = "52:54:00:00:00:02";
const SERVER: &str = "10.0.10.1";
const PI: &str = "dc:a6:32:00:00:01";

fn state() -> State {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.101"]);
    Lab::new(vec![lab])
        .loaders(&["undionly.kpxe", "snponly.efi", "snponly-arm64.efi", "ipxe.efi"])
        .machine("m", &[OWN])
        .machine("pi", &[PI])
        .deployment("m", "lab", Some("10.0.10.21"))
        .deployment("pi", "lab", Some("10.0.10.22"))
        .state(SERVER)
}

fn lab() -> Link {
    link(SERVER, "10.0.10.0/24")
}

const NOW: Time = Time(1_700_000_000_000);

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

fn client(options: &[(u8, &[u8])]) -> Client {
    let message = options
        .iter()
        .fold(Message::discover(mac(OWN)), |message, (code, value)| message.option(*code, value));
    Client::of(&Request::decode(&message.bytes()).unwrap())
}

/// Section 0, rules 4 and 5; 2.6: who reads which field.
#[test]
fn file_and_server_stand_in_every_field_that_anybody_reads() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).pxe_bios());
    assert_eq!((offer.file().as_str(), offer.option(67)), ("undionly.kpxe", Some(&b"undionly.kpxe\0"[..])));
    assert_eq!((offer.address(20), offer.option(66)), (ip(SERVER), Some(&b"10.0.10.1\0"[..])));
    assert_eq!(offer.option(54), Some(&[10, 0, 10, 1][..]));
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).http_uefi());
    let url = "http://10.0.10.1/loader/snponly.efi";
    assert_eq!(
        (offer.file().as_str(), offer.option(67)),
        (url, Some(url.as_bytes())),
        "a URL ends in no NUL"
    );
}

/// Section 0, rule 14.
#[test]
fn seconds_are_not_looked_at() {
    let mut state = state();
    for seconds in [0u16, 3, 4, 0xffff] {
        let mut bytes = Message::discover(mac(OWN)).pxe_uefi().bytes();
        bytes[8..10].copy_from_slice(&seconds.to_be_bytes());
        assert!(matches!(settle(&mut state, &lab(), NOW, &bytes), Decision::Reply { .. }), "{seconds}");
    }
}

/// 1.1: how long an answer may be, whatever option 57 means to who sends it; 2.4: EDK2 drops
/// more than 1472 bytes.
#[test]
fn answers_fit_into_one_frame() {
    for (size, most) in [(0u16, 548), (576, 548), (1472, 1444), (1500, 1472), (0xff00, 1472)] {
        let mut state = state();
        let filler = Message::discover(mac(OWN)).pxe_uefi().option(57, &size.to_be_bytes());
        let (offer, _) =
            reply(&mut state, &lab(), filler.option(61, &[7; 255]).relay(SERVER).option(82, &[9; 255]));
        assert!(offer.len() <= most, "{size}: {}", offer.len());
        assert_eq!(offer.file(), "snponly.efi");
    }
}

/// 1.2, the last line: an INFORM without an address of its own. As Kea and ISC dhcpd do, the answer goes to where it
/// came from; from nowhere, or by a relay, there is none, as of dnsmasq.
#[test]
fn an_inform_without_an_address_is_answered_where_it_came_from() {
    let mut state = state();
    let inform = || Message::new(mac(STRANGER), 8);
    assert_eq!(silence(&mut state, &lab(), inform()), Reason::NotReachable);
    assert_eq!(silence(&mut state, &lab(), inform().relay("10.0.10.2")), Reason::NotReachable);
    let source: SocketAddrV4 = "10.0.10.77:68".parse().unwrap();
    let (ack, to) = reply(&mut state, &Link { source, ..lab() }, inform());
    assert_eq!((ack.kind(), ack.lease(), to), (5, None, Destination::Unicast(source)));
    // A network that is not ours.
    let foreign = Link { source: "192.168.7.7:68".parse().unwrap(), ..lab() };
    assert!(matches!(silence(&mut state, &foreign, inform()), Reason::UnknownNetwork(_)));
}

/// 1.1 and 1.2: other hardware than Ethernet is named, not guessed at.
#[test]
fn infiniband_is_refused_by_name() {
    let mut bytes = Message::discover(mac(OWN)).bytes();
    bytes[1..3].copy_from_slice(&[32, 0]);
    let Decision::Silence(silence) = settle(&mut state(), &lab(), NOW, &bytes) else { panic!() };
    assert!(silence.reason.to_string().contains("hardware type 32"), "{}", silence.reason);
}

/// 1.3, SELECTING (lost): the address that was on offer is free at once.
#[test]
fn an_offer_that_is_not_taken_is_dropped() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(STRANGER)));
    let taken = offer.yiaddr().to_string();
    assert!(state.leases().offer(mac(STRANGER)).is_some());
    let other = Message::request(mac(STRANGER)).wants("10.0.10.9").server("10.0.10.2");
    assert_eq!(silence(&mut state, &lab(), other.clone()), Reason::OtherServer(ip("10.0.10.2")));
    assert!(state.leases().offer(mac(STRANGER)).is_none());
    let next = Message::discover(mac("52:54:00:00:00:03")).wants(&taken);
    assert_eq!(reply(&mut state, &lab(), next).0.yiaddr(), offer.yiaddr());
    // A lease is another matter.
    let take = Message::request(mac("52:54:00:00:00:03")).wants(&taken).server(SERVER);
    reply(&mut state, &lab(), take);
    let other = Message::request(mac("52:54:00:00:00:03")).wants("10.0.10.9").server("10.0.10.2");
    silence(&mut state, &lab(), other);
    assert_eq!(state.leases().binding(mac("52:54:00:00:00:03")).unwrap().state, LeaseState::Bound);
}

/// 1.3: what answers echo, and what a NAK holds.
#[test]
fn answers_echo_what_they_must() {
    let mut state = state();
    let id = [&[0][..], &[7; 16]].concat();
    let ask = |kind| Message::new(mac(OWN), kind).relay(SERVER).option(61, &[1, 9]).option(82, &[1, 1, 5]);
    let (offer, _) = reply(&mut state, &lab(), ask(1).pxe_uefi().option(97, &id));
    for (code, value) in [(61, &[1, 9][..]), (82, &[1, 1, 5][..]), (97, &id[..])] {
        assert_eq!(offer.option(code), Some(value), "{code}");
    }
    let (nak, _) = reply(&mut state, &lab(), ask(3).wants("10.0.10.77"));
    let codes: Vec<u8> = nak.options.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [53, 54, 56, 61, 82]);
    assert!(nak.is_broadcast(), "the relay is to broadcast it");
}

/// 1.3, the last line: DECLINE and RELEASE without option 54 count too.
#[test]
fn giving_back_needs_no_server_id() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(STRANGER)));
    let address = offer.yiaddr().to_string();
    reply(&mut state, &lab(), Message::request(mac(STRANGER)).wants(&address).server(SERVER));
    assert_eq!(
        silence(&mut state, &lab(), Message::new(mac(STRANGER), 7).ciaddr(&address)),
        Reason::Released(ip(&address))
    );
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(STRANGER)));
    let address = offer.yiaddr().to_string();
    let reason = silence(&mut state, &lab(), Message::new(mac(STRANGER), 4).wants(&address));
    assert_eq!(reason, Reason::Declined(ip(&address)));
}

/// 1.6, option 55: what PXE needs is sent without being asked for, odd codes do no harm.
#[test]
fn pxe_options_need_not_be_asked_for() {
    let mut state = state();
    for list in [&[1u8, 3][..], &[235, 0, 255, 1]] {
        let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).pxe_uefi().option(55, list));
        for code in [1, 3, 43, 60, 66, 67] {
            assert!(offer.option(code).is_some(), "{code} for {list:?}");
        }
        assert_eq!(offer.option(12), None, "but the rest must be");
    }
}

/// 1.6: 13 replaces the size probe, 52 hides the boot file, 85 to 87 are for another world.
#[test]
fn some_options_are_never_sent() {
    let mut state = state();
    let all: Vec<u8> = (1..=254).collect();
    for message in [Message::discover(mac(OWN)).pxe_uefi(), Message::discover(mac(OWN)).ipxe()] {
        let (offer, _) = reply(&mut state, &lab(), message.option(55, &all));
        for code in [13, 50, 52, 55, 57, 85, 86, 87, 108, 116, 208] {
            assert_eq!(offer.option(code), None, "{code}");
        }
    }
}

/// 1.6: 108 makes dual-stack clients drop IPv4 (RFC 8925), in the middle of a boot too: an inventory
/// may set it, and it reaches systems alone.
#[test]
fn ipv6_only_is_never_said_to_firmware() {
    let mut lab = super::lab::subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.199"]);
    lab.options.values.insert(108, vec![0, 0, 7, 8].into());
    let mut state = super::lab::Lab::new(vec![lab]).state(SERVER);
    let ask = |message: Message| message.option(55, &[1, 108]);
    let (system, _) = reply(&mut state, &self::lab(), ask(Message::discover(mac(STRANGER))));
    assert_eq!(system.option(108), Some(&[0, 0, 7, 8][..]));
    for firmware in [Message::pxe_bios, Message::pxe_uefi, Message::http_uefi, Message::ipxe] {
        let (offer, _) = reply(&mut state, &self::lab(), ask(firmware(Message::discover(mac(STRANGER)))));
        assert_eq!(offer.option(108), None);
    }
}

/// 1.6, strings: host names of any bytes, with a NUL at the end.
#[test]
fn host_names_may_be_any_bytes() {
    let mut state = state();
    for name in [&b"caf\xe9\0"[..], b"", b"\0", &[0xff; 255]] {
        let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(STRANGER)).option(12, name));
        assert_eq!(offer.kind(), 2);
    }
}

/// 2.1 and 2.2: every architecture type with what it is given, by TFTP and by HTTP.
#[test]
fn every_architecture_type_has_its_program() {
    use Cpu::*;
    use Firmware::*;
    let known = [
        (0, X86_64, Bios),
        (3, X86_64, Bios),
        (4, X86_64, Bios),
        (5, X86_64, Bios),
        (6, I386, Uefi),
        (7, X86_64, Uefi),
        (9, X86_64, Uefi),
        (10, Arm, Uefi),
        (11, Aarch64, Uefi),
        (15, I386, UefiHttp),
        (16, X86_64, UefiHttp),
        (17, X86_64, UefiHttp),
        (18, Arm, UefiHttp),
        (19, Aarch64, UefiHttp),
        (20, X86_64, Bios),
        (27, Riscv64, Uefi),
        (28, Riscv64, UefiHttp),
        (39, Loongarch64, Uefi),
        (40, Loongarch64, UefiHttp),
    ];
    for (code, cpu, firmware) in known {
        let http = matches!(code, 15..=20 | 28 | 40);
        let class: &[u8] = if http { b"HTTPClient" } else { b"PXEClient" };
        let found = client(&[(60, class), (93, &u16::to_be_bytes(code))]);
        assert_eq!(found.kind, if http { ClientKind::Http } else { ClientKind::Pxe }, "{code}");
        assert_eq!(found.arch.map(|arch| (arch.cpu, arch.firmware)), Some((cpu, firmware)), "{code}");
    }
    for code in [1, 2, 8, 12, 13, 25, 26, 29, 30, 33, 34, 35, 36, 37, 38, 0xffff] {
        assert_eq!(client(&[(60, b"PXEClient"), (93, &u16::to_be_bytes(code))]).arch, None, "{code}");
    }
    let mut state = state();
    let bios = Message::discover(mac(OWN)).option(60, b"HTTPClient:Arch:00020").option(93, &[0, 20]);
    let (offer, _) = reply(&mut state, &lab(), bios);
    assert_eq!(offer.file(), "http://10.0.10.1/loader/undionly.kpxe", "a BIOS that boots by HTTP");
}

/// 2.2, 21 to 24, 31, 32 and 2.8: those who read PXELINUX configurations.
#[test]
fn u_boot_and_its_like_are_known_by_class_or_type() {
    type Case<'a> = (&'a [(u8, &'a [u8])], Option<Cpu>);
    let cases: [Case; 7] = [
        (&[(60, b"U-Boot")], None),
        (&[(60, b"U-Boot.armv7")], Some(Cpu::Arm)),
        (&[(60, b"U-Boot.armv8")], Some(Cpu::Aarch64)),
        (&[(60, b"PXEClient"), (93, &[0, 21])], Some(Cpu::Arm)),
        (&[(60, b"PXEClient"), (93, &[0, 22])], Some(Cpu::Aarch64)),
        (&[(60, b"PXEClient"), (93, &[0, 24])], Some(Cpu::Aarch64)),
        (&[(93, &[0, 31])], None),
    ];
    for (options, cpu) in cases {
        let found = client(options);
        assert_eq!((found.kind, found.arch.map(|arch| arch.cpu)), (ClientKind::UBoot, cpu), "{options:?}");
    }
    assert_eq!(client(&[(60, b"HTTPClient"), (93, &[0, 24])]).kind, ClientKind::Http);
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).option(60, b"U-Boot.armv8"));
    assert_eq!((offer.file().as_str(), offer.address(20)), ("snponly-arm64.efi", ip(SERVER)));
    assert_eq!((offer.option(60), offer.option(43)), (None, None));
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).option(60, b"U-Boot.armv7"));
    assert_eq!(
        (offer.file().as_str(), offer.address(20)),
        ("", ip(SERVER)),
        "it looks for pxelinux.cfg/ there"
    );
}

/// 2.3: the boot item of a request to port 4011 comes back, in a list that ends in 255.
#[test]
fn a_boot_item_is_echoed() {
    let mut state = state();
    let link = Link { port: 4011, source: "10.0.10.21:68".parse().unwrap(), broadcast: false, ..lab() };
    let ask = Message::request(mac(OWN)).pxe_bios().ciaddr("10.0.10.21");
    let (ack, to) = reply(&mut state, &link, ask.option(43, &[71, 4, 0x80, 0, 0, 0, 255]));
    assert_eq!(ack.option(43), Some(&[71, 4, 0x80, 0, 0, 0, 255][..]));
    assert_eq!(to, Destination::Unicast("10.0.10.21:68".parse().unwrap()), "iPXE asks from 68");
    assert_eq!(ack.address(12), ip("10.0.10.21"));
}

/// 2.5, the whole table.
#[test]
fn a_proxy_says_what_each_firmware_takes() {
    let mut state = state();
    let proxy = Link { mode: Mode::Proxy, ..lab() };
    let id = [&[0][..], &[7; 16]].concat();
    for (message, menu, file) in [
        (Message::discover(mac(OWN)).pxe_bios(), Some(&[6, 1, 8, 255][..]), "undionly.kpxe"),
        (Message::discover(mac(OWN)).pxe_uefi(), None, "snponly.efi"),
        (Message::discover(mac(OWN)).ipxe(), None, "http://10.0.10.1/ipxe/52-54-00-00-00-01.ipxe"),
    ] {
        let (offer, to) = reply(&mut state, &proxy, message.option(97, &id));
        assert_eq!((offer.kind(), offer.yiaddr(), offer.address(20)), (2, ip("0.0.0.0"), ip(SERVER)));
        assert_eq!((offer.option(60), offer.option(43)), (Some(&b"PXEClient"[..]), menu));
        assert_eq!((offer.file().as_str(), offer.option(97), offer.option(51)), (file, Some(&id[..]), None));
        assert_eq!(to, Destination::Broadcast);
    }
    let (offer, _) = reply(&mut state, &proxy, Message::discover(mac(OWN)).http_uefi());
    assert_eq!(offer.option(60), Some(&b"HTTPClient"[..]));
    let request = Message::request(mac(OWN)).pxe_uefi().server("10.0.10.2").wants("10.0.10.21");
    assert_eq!(silence(&mut state, &proxy, request), Reason::NotTheProxys);
    let relayed = Message::discover(mac(OWN)).pxe_uefi().relay("10.0.20.1");
    assert_eq!(reply(&mut state, &proxy, relayed).1, Destination::Relay(ip("10.0.20.1")));
}

/// 2.8, Raspberry Pi, and quirks 41 and 42: by vendor, by machine id; what it wants in 43.
#[test]
fn a_raspberry_pi_gets_its_menu_and_no_pc_program() {
    let mut state = state();
    let menu = b"\x06\x01\x08\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE\xff";
    let id = [b"\0RPi4".as_slice(), &[7; 12]].concat();
    let by_vendor = Message::discover(mac(PI)).pxe_bios();
    let by_id = Message::discover(mac(OWN)).pxe_bios().option(97, &id);
    for message in [by_vendor, by_id] {
        let (offer, _) = reply(&mut state, &lab(), message);
        assert_eq!((offer.option(43), offer.option(60)), (Some(&menu[..]), Some(&b"PXEClient"[..])));
        assert_eq!((offer.file().as_str(), offer.option(67)), ("", None));
        assert_eq!((offer.address(20), offer.option(66)), (ip(SERVER), Some(&b"10.0.10.1\0"[..])));
    }
    // Early EEPROMs leave option 60 out of the REQUEST.
    let request = Message::request(mac(PI)).option(93, &[0, 0]).wants("10.0.10.22").server(SERVER);
    assert_eq!(reply(&mut state, &lab(), request).0.option(43), Some(&menu[..]));
    // iPXE on a Pi is iPXE.
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(PI)).ipxe());
    assert_eq!(offer.file(), "http://10.0.10.1/ipxe/dc-a6-32-00-00-01.ipxe");
}

/// 2.8, Petitboot: where its configuration is.
#[test]
fn petitboot_is_told_its_configuration() {
    let mut state = state();
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(OWN)).option(93, &[0, 14]));
    assert_eq!(offer.option(209), Some(&b"http://10.0.10.1/pxelinux.cfg/01-52-54-00-00-00-01"[..]));
    assert_eq!(offer.file(), "");
}

/// 2.8, Apple: not PXE, so an address and nothing else.
#[test]
fn apples_own_network_boot_is_no_pxe() {
    let mut state = state();
    let class = b"AAPLBSDPC/i386/MacBookPro1,1";
    let (offer, _) =
        reply(&mut state, &lab(), Message::discover(mac(OWN)).option(60, class).option(93, &[0, 7]));
    assert_eq!((offer.option(43), offer.option(60), offer.file().as_str()), (None, None, ""));
}

/// 3.2, level 3, and quirk 12: iPXE that can't fetch by HTTP, or hides what it can.
#[test]
fn ipxe_that_can_not_boot_by_http_is_chained_by_url() {
    let mut state = state();
    for features in [&[0x15u8, 1, 1][..], &[0x13, 1, 1], &[0x13, 1, 0, 0x24, 1, 1]] {
        let message = Message::discover(mac(OWN)).pxe_uefi().option(77, b"iPXE").option(175, features);
        assert_eq!(
            reply(&mut state, &lab(), message).0.file(),
            "tftp://10.0.10.1/snponly.efi",
            "{features:?}"
        );
    }
    // Quirk 11: an EFI build has no bzImage feature.
    let efi = Message::discover(mac(OWN)).pxe_uefi().option(175, &[0x13, 1, 1, 0x24, 1, 1]);
    assert!(reply(&mut state, &lab(), efi).0.file().starts_with("http://"));
}

/// 1.5: hardware address first, then client id, then UUID.
#[test]
fn a_machine_is_known_by_card_then_client_id_then_uuid() {
    let uuid = "11223344-5566-7788-99aa-525400770001";
    let wire = [0, 0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0x52, 0x54, 0, 0x77, 0, 1];
    let lab_now = Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.101"])]);
    let lab_now =
        lab_now.machine("one", &["52:54:00:00:00:11"]).known_by("one", Some("hex:01aabb"), Some(uuid));
    let lab_now = lab_now.machine("two", &["52:54:00:00:00:12"]).known_by("two", Some("rack2"), None);
    let lab_now =
        lab_now.deployment("one", "lab", Some("10.0.10.31")).deployment("two", "lab", Some("10.0.10.32"));
    let mut state = lab_now.state(SERVER);
    let unknown = "02:00:00:00:00:77";
    let ask = |who: &str| Message::discover(mac(who)).pxe_uefi();
    let yiaddr = |state: &State, message: Message| reply(&mut state.clone(), &lab(), message).0.yiaddr();
    assert_eq!(yiaddr(&state, ask(unknown)), ip("10.0.10.100"));
    assert_eq!(yiaddr(&state, ask(unknown).option(97, &wire)), ip("10.0.10.31"));
    assert_eq!(yiaddr(&state, ask(unknown).option(61, &[1, 0xaa, 0xbb])), ip("10.0.10.31"));
    let both = || ask(unknown).option(61, b"rack2").option(97, &wire);
    assert_eq!(yiaddr(&state, both()), ip("10.0.10.32"), "client id before UUID");
    let mine = ask("52:54:00:00:00:11").option(61, b"rack2");
    assert_eq!(yiaddr(&state, mine), ip("10.0.10.31"), "the card before both");
    // What the card asks for afterwards is the machine's, and no other card has its address.
    let Decision::Reply { events, .. } = settle(&mut state, &lab(), NOW, &both().bytes()) else { panic!() };
    state.act(Verb::Observe(events.clone()), NOW);
    assert_eq!(state.deployment_of(mac(unknown)).unwrap().name.as_str(), "two");
    reply(
        &mut state,
        &lab(),
        Message::request(mac(unknown)).option(61, b"rack2").wants("10.0.10.32").server(SERVER),
    );
    assert_eq!(state.mac_at(ip("10.0.10.32").into()), Some(mac(unknown)));
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac(unknown)));
    assert_eq!(offer.yiaddr(), ip("10.0.10.32"), "its kernel shows no mark any more");
    let (offer, _) = reply(&mut state, &lab(), Message::discover(mac("52:54:00:00:00:12")));
    assert_eq!(offer.yiaddr(), ip("10.0.10.100"), "its other card");
}
