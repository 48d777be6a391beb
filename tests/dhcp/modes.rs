//! A subnet's own mode: served less than its interface, never more.

use voldemort::model::{Mode, Time};
use voldemort::proto::dhcp::{Decision, Link, Reason};
use voldemort::proto::dhcp6;
use voldemort::state::State;

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const ONE: &str = "52:54:00:00:00:01";
const STRANGER: &str = "52:54:00:00:00:99";
const NOW: Time = Time(1_700_000_000_000);

/// `lab` is where we are; behind relays are a network of each mode.
fn state() -> State {
    let with = |name: &str, third: u8, mode: Mode| {
        let range = format!("10.0.{third}.100-10.0.{third}.109");
        let mut subnet = subnet(name, &format!("10.0.{third}.0/24"), &[&range]);
        subnet.mode = mode;
        subnet
    };
    let lab = vec![
        with("lab", 10, Mode::Server),
        with("beside", 20, Mode::Proxy),
        with("heard", 30, Mode::Listen),
        with("left", 40, Mode::Off),
    ];
    Lab::new(lab).machine("one", &[ONE]).deployment("one", "beside", None).state("10.0.10.1")
}

fn ask(mode: Mode, message: Message) -> Decision {
    let link = Link { mode, ..link("10.0.10.1", "10.0.10.0/24") };
    settle(&mut state(), &link, NOW, &message.bytes())
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Reply { bytes, .. } => Answer::read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn reason(decision: Decision) -> Reason {
    match decision {
        Decision::Silence(silence) => silence.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_relayed_network_has_its_own_mode() {
    let discover = |relay: &str| Message::discover(mac(ONE)).pxe_bios().relay(relay);
    assert_eq!(answer(ask(Mode::Server, Message::discover(mac(STRANGER)))).yiaddr(), ip("10.0.10.100"));
    let beside = answer(ask(Mode::Server, discover("10.0.20.1")));
    assert_eq!((beside.yiaddr(), beside.file().as_str()), (ip("0.0.0.0"), "undionly.kpxe"));
    let request = Message::request(mac(STRANGER)).relay("10.0.20.1").wants("10.0.20.105").server("10.0.10.1");
    assert_eq!(reason(ask(Mode::Server, request)), Reason::NotTheProxys);
    let Reason::Listening(would) = reason(ask(Mode::Server, discover("10.0.30.1"))) else { panic!() };
    assert_eq!(would, "offered a dynamic address of subnet heard");
    assert_eq!(reason(ask(Mode::Server, discover("10.0.40.1"))), Reason::Off);
    assert_eq!(reason(ask(Mode::Server, discover("10.0.50.1"))), Reason::UnknownNetwork(ip("10.0.50.1")));
}

/// A commit must not be able to make the daemon answer where its own file says that it does not.
#[test]
fn a_subnet_says_never_more_than_the_interface() {
    for mode in [Mode::Listen, Mode::Off] {
        for relay in ["0.0.0.0", "10.0.20.1", "10.0.30.1", "10.0.40.1"] {
            let found = reason(ask(mode, Message::discover(mac(ONE)).pxe_bios().relay(relay)));
            assert!(
                matches!(found, Reason::Listening(_) | Reason::Off | Reason::NotABoot),
                "{relay}: {found}"
            );
        }
    }
    let proxied = answer(ask(Mode::Proxy, Message::discover(mac(ONE)).pxe_bios()));
    assert_eq!(proxied.yiaddr(), ip("0.0.0.0"));
}

#[test]
fn the_boot_server_of_port_4011_follows_it_too() {
    let link = |source: &str| Link {
        port: 4011,
        source: format!("{source}:4011").parse().unwrap(),
        broadcast: false,
        ..link("10.0.10.1", "10.0.10.0/24")
    };
    let ask = |address: &str| {
        let message = Message::request(mac(ONE)).pxe_uefi().ciaddr(address);
        settle(&mut state(), &link(address), NOW, &message.bytes())
    };
    assert_eq!(answer(ask("10.0.20.7")).file(), "snponly.efi");
    assert_eq!(reason(ask("10.0.30.7")), Reason::NoRecord(ip("10.0.30.7")), "nor would a server on port 67");
    assert_eq!(reason(ask("10.0.40.7")), Reason::Off);
}

#[test]
fn dhcpv6_follows_it_too() {
    use super::ipv6::{SOLICIT, duid, ia, link, message, settle};
    for (mode, listens) in [(Mode::Proxy, true), (Mode::Listen, true), (Mode::Off, false)] {
        let state = super::ipv6::state();
        let mut desired = (**state.desired()).clone();
        std::sync::Arc::make_mut(desired.subnets.get_mut("lab").unwrap()).mode = mode;
        let mut state = state.with_desired(desired);
        let solicit = message(SOLICIT, &[duid(1), ia(&[])]);
        match settle(&mut state, &link(ONE), 0, &solicit) {
            dhcp6::Decision::Silence(silence) => {
                let reported = matches!(silence.reason, dhcp6::Reason::Listening(_));
                assert_eq!(reported, listens, "{mode}: {silence}");
            }
            other => panic!("{mode}: {other:?}"),
        }
    }
}
