//! Every reason to leave a DHCPv6 message unanswered can happen, has a text for people, and a word
//! to be counted by: as `reasons.rs` for IPv4.

use std::collections::BTreeMap;

use voldemort::desired::{Advertise, Ipv6};
use voldemort::model::Mode;
use voldemort::proto::dhcp6::{Decision, Link, Reason};
use voldemort::state::State;

use super::ipv6::{
    CONFIRM, FIXED, ONE, REBIND, REQUEST, SOLICIT, duid, ia, link, message, o, settle, state, to_us,
};
use super::lab::{Lab, subnet};

/// The name of a variant. The compiler leads the author of a new one here, to make it happen below.
fn name(reason: &Reason) -> &'static str {
    match reason {
        Reason::Off => "Off",
        Reason::Listening(_) => "Listening",
        Reason::Malformed(_) => "Malformed",
        Reason::Unexpected(_) => "Unexpected",
        Reason::OtherServer => "OtherServer",
        Reason::Unicast => "Unicast",
        Reason::NoHardware => "NoHardware",
        Reason::UnknownNetwork(_) => "UnknownNetwork",
        Reason::UnknownMachine { .. } => "UnknownMachine",
        Reason::NoAddress { .. } => "NoAddress",
        Reason::Elsewhere { .. } => "Elsewhere",
        // Answered, with these words for the timeline: see `identity.rs` and `ipv6.rs`.
        Reason::InUse { .. } => "InUse",
        Reason::OtherCard { .. } => "OtherCard",
        Reason::OfThisHost { .. } => "OfThisHost",
        Reason::NoRecord => "NoRecord",
        Reason::NoAddressNamed => "NoAddressNamed",
        Reason::TooLong(_) => "TooLong",
        // The daemon's own reason when its keeper is too slow; the state never decides it.
        Reason::Busy => "Busy",
    }
}

const ALL: [&str; 14] = [
    "Off",
    "Listening",
    "Malformed",
    "Unexpected",
    "OtherServer",
    "Unicast",
    "NoHardware",
    "UnknownNetwork",
    "UnknownMachine",
    "NoAddress",
    "Elsewhere",
    "NoRecord",
    "NoAddressNamed",
    "TooLong",
];

fn at(server: &str, card: &str) -> Link {
    Link { server: server.parse().unwrap(), ..link(card) }
}

/// A lab where what one stranger has leased has become the address of a machine, and where the name
/// servers are more than any answer holds.
fn changed(former: &State) -> State {
    let six = |dns: u16| Ipv6 {
        cidr: "fd00:10::/64".parse().unwrap(),
        dynamic: Vec::new(),
        dns: (1..=dns).map(|last| format!("fd00:10::{last:x}").parse().unwrap()).collect(),
        ra: Advertise::Managed,
        router: false,
    };
    let mut lab = subnet("lab", "10.0.10.0/24", &[]);
    lab.ipv6 = Some(six(100));
    let leased = former.leases6().iter().next().unwrap().address.to_string();
    let lab = Lab::new(vec![lab]).machine("m", &[FIXED]).deployment("m", "lab", None);
    let lab = lab.machine("bare", &["52:54:00:00:00:77"]).address6("m", &leased);
    lab.state("10.0.10.1").with_lasting(|lasting| {
        lasting.leases6 = former.leases6().clone();
        lasting.lineage = "abc".into();
    })
}

#[test]
fn every_reason_happens_and_has_a_word() {
    let mut seen = BTreeMap::new();
    let mut send = |state: &mut State, link: &Link, datagram: &[u8]| match settle(state, link, 0, datagram) {
        Decision::Silence(silence) => {
            seen.insert(name(&silence.reason), (silence.reason.label(), silence.to_string()));
        }
        other => panic!("an answer: {other:?}"),
    };
    let mut state = state();
    let own = link(ONE);
    let solicit = message(SOLICIT, &[duid(1), ia(&[])]);
    send(&mut state, &Link { mode: Mode::Off, ..own.clone() }, &solicit);
    send(&mut state, &Link { mode: Mode::Listen, ..own.clone() }, &solicit);
    send(&mut state, &own, b"noise");
    send(&mut state, &own, &message(7, &[duid(1), ia(&[])]));
    send(&mut state, &own, &message(REQUEST, &[duid(1), o(2, b"\0\x04another"), ia(&[])]));
    send(&mut state, &Link { unicast: true, ..own.clone() }, &solicit);
    send(&mut state, &Link { hardware: None, ..own.clone() }, &solicit);
    send(&mut state, &at("fd00:99::1", ONE), &solicit);
    send(&mut state, &at("fd00:30::1", ONE), &solicit);
    send(&mut state, &at("fd00:20::1", FIXED), &solicit);
    send(&mut state, &own, &message(REBIND, &[duid(1), ia(&["fd00:10::1234"])]));
    send(&mut state, &own, &message(CONFIRM, &[duid(1), ia(&[])]));
    let asked = to_us(&state, REQUEST, &[duid(1), ia(&[])]);
    assert!(matches!(settle(&mut state, &own, 0, &asked), Decision::Reply { .. }));
    let mut later = changed(&state);
    send(&mut later, &link("52:54:00:00:00:77"), &solicit);
    later = later.with_lasting(|lasting| lasting.leases6 = Default::default());
    send(&mut later, &link(FIXED), &solicit);
    for reason in ALL {
        let (label, report) = seen.get(reason).unwrap_or_else(|| panic!("{reason} did not happen"));
        assert!(report.starts_with("no answer to "), "{reason}: {report}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(!label.is_empty() && label.chars().all(plain), "{reason}: {label}");
    }
}
