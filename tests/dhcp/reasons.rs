//! Every reason to leave a message unanswered can happen, has a text for people, and a word to be
//! counted by.

use std::collections::BTreeMap;

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Link, Mode, Reason};
use voldemort::state::State;

use super::lab::{Lab, link, mac, settle, subnet};
use super::message::Message;

const ONE: &str = "52:54:00:00:00:01";
const TWIN: &str = "52:54:00:00:00:0a";
const OTHER_TWIN: &str = "52:54:00:00:00:0b";
const BARE: &str = "52:54:00:00:00:03";
const STRANGER: &str = "02:00:00:00:00:99";
const SERVER: &str = "10.0.10.1";

/// The name of a variant. The compiler leads the author of a new one here, to make it happen below.
fn name(reason: &Reason) -> &'static str {
    match reason {
        Reason::Off => "Off",
        Reason::Listening(_) => "Listening",
        Reason::Malformed(_) => "Malformed",
        Reason::Unexpected(_) => "Unexpected",
        Reason::OtherServer(_) => "OtherServer",
        Reason::UnknownNetwork(_) => "UnknownNetwork",
        Reason::UnknownMachine { .. } => "UnknownMachine",
        Reason::NoAddress { .. } => "NoAddress",
        Reason::Elsewhere { .. } => "Elsewhere",
        Reason::InUse { .. } => "InUse",
        Reason::OtherCard { .. } => "OtherCard",
        Reason::OfThisHost { .. } => "OfThisHost",
        Reason::Exhausted { .. } => "Exhausted",
        Reason::NoRecord(_) => "NoRecord",
        Reason::NotOurNetwork(_) => "NotOurNetwork",
        Reason::Released(_) => "Released",
        Reason::ReleasedFixed(_) => "ReleasedFixed",
        Reason::Declined(_) => "Declined",
        Reason::DeclinedFixed { .. } => "DeclinedFixed",
        Reason::NotIts(_) => "NotIts",
        Reason::NoAddressNamed => "NoAddressNamed",
        Reason::NotReachable => "NotReachable",
        Reason::NotABoot => "NotABoot",
        Reason::NotTheProxys => "NotTheProxys",
        Reason::NothingToBoot(_) => "NothingToBoot",
        Reason::NoMachine => "NoMachine",
        Reason::TooLong(_) => "TooLong",
        // The daemon's own reason when its keeper is too slow; the state never decides it.
        Reason::Busy => "Busy",
    }
}

fn state(loaders: &[&'static str]) -> State {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.100"]);
    let lab = Lab::new(vec![lab, subnet("closed", "10.0.30.0/24", &[])]).loaders(loaders);
    lab.machine("one", &[ONE])
        .machine("bare", &[BARE])
        .machine("twin", &[TWIN, OTHER_TWIN])
        .deployment("one", "lab", Some("10.0.10.21"))
        .deployment("twin", "closed", Some("10.0.30.22"))
        .state(SERVER)
}

struct Seen(BTreeMap<&'static str, (&'static str, String)>);

impl Seen {
    fn send(&mut self, state: &mut State, link: &Link, message: &[u8]) {
        match settle(state, link, Time(1_700_000_000_000), message) {
            Decision::Silence(silence) => {
                let report = (silence.reason.label(), silence.to_string());
                self.0.insert(name(&silence.reason), report);
            }
            other => panic!("an answer: {other:?}"),
        }
    }
}

fn answered(state: &mut State, link: &Link, message: Message) {
    let decision = settle(state, link, Time(1_700_000_000_000), &message.bytes());
    assert!(matches!(decision, Decision::Reply { .. }), "{decision:?}");
}

#[test]
fn every_reason_happens_and_has_a_word() {
    let mut seen = Seen(BTreeMap::new());
    let mut state = state(&["undionly.kpxe"]);
    let lab = link(SERVER, "10.0.10.0/24");
    let closed = link("10.0.30.1", "10.0.30.0/24");
    let mode = |mode| Link { mode, ..lab.clone() };
    let discover = |who: &str| Message::discover(mac(who));
    let request = |who: &str| Message::request(mac(who));
    let mut send =
        |state: &mut State, link: &Link, message: Message| seen.send(state, link, &message.bytes());
    send(&mut state, &mode(Mode::Off), discover(ONE));
    send(&mut state, &mode(Mode::Listen), discover(ONE));
    send(&mut state, &mode(Mode::Proxy), discover(ONE));
    send(&mut state, &mode(Mode::Proxy), request(ONE).pxe_bios());
    send(&mut state, &mode(Mode::Proxy), discover(ONE).pxe_uefi());
    send(&mut state, &mode(Mode::Proxy), discover(STRANGER).pxe_bios());
    send(&mut state, &lab, Message::new(mac(ONE), 5));
    send(&mut state, &lab, request(ONE).server("10.0.10.9").wants("10.0.10.21"));
    send(&mut state, &lab, discover(ONE).relay("172.16.0.1"));
    send(&mut state, &closed, discover(STRANGER));
    send(&mut state, &closed, discover(BARE));
    send(&mut state, &closed, discover(ONE));
    answered(&mut state, &closed, discover(TWIN));
    answered(&mut state, &closed, request(TWIN).wants("10.0.30.22").server("10.0.30.1"));
    send(&mut state, &closed, discover(OTHER_TWIN));
    send(&mut state, &lab, request(STRANGER).wants("10.0.10.100"));
    send(&mut state, &lab, request(STRANGER).wants("192.168.7.7"));
    send(&mut state, &lab, Message::new(mac(ONE), 7).ciaddr("10.0.10.21"));
    send(&mut state, &lab, Message::new(mac(ONE), 4).wants("10.0.10.21"));
    send(&mut state, &lab, Message::new(mac(ONE), 4));
    send(&mut state, &lab, Message::new(mac(STRANGER), 8));
    send(&mut state, &lab, Message::new(mac(STRANGER), 7).ciaddr("10.0.10.100"));
    answered(&mut state, &lab, discover(STRANGER));
    answered(&mut state, &lab, request(STRANGER).wants("10.0.10.100").server(SERVER));
    send(&mut state, &lab, discover(BARE));
    send(&mut state, &lab, Message::new(mac(STRANGER), 7).ciaddr("10.0.10.100"));
    answered(&mut state, &lab, discover(STRANGER));
    answered(&mut state, &lab, request(STRANGER).wants("10.0.10.100").server(SERVER));
    let leases = state.leases().clone();
    send(&mut state, &lab, Message::new(mac(STRANGER), 4).wants("10.0.10.100"));
    seen.send(&mut state, &lab, b"noise");
    // The stranger's address becomes that of a machine.
    let now =
        Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.100"])]).machine("one", &[ONE]);
    let later = now.deployment("one", "lab", Some("10.0.10.100")).state(SERVER);
    let mut later = later.with_lasting(|lasting| lasting.leases = leases);
    seen.send(&mut later, &lab, &discover(ONE).bytes());
    // … and then this host's.
    later = later.with_host(["10.0.10.100".parse().unwrap()].into());
    later = later.with_lasting(|lasting| lasting.leases = Default::default());
    seen.send(&mut later, &lab, &discover(ONE).bytes());
    // What must be said is more than this client takes.
    let mut wordy = subnet("lab", "10.0.10.0/24", &[]);
    wordy.dns = (1..=120).map(|last| [10, 0, 10, last].into()).collect();
    let wordy = Lab::new(vec![wordy]).machine("one", &[ONE]).deployment("one", "lab", Some("10.0.10.21"));
    seen.send(&mut wordy.state(SERVER), &lab, &discover(ONE).bytes());

    let all = [
        "Off",
        "Listening",
        "Malformed",
        "Unexpected",
        "OtherServer",
        "UnknownNetwork",
        "UnknownMachine",
        "NoAddress",
        "Elsewhere",
        "InUse",
        "OtherCard",
        "OfThisHost",
        "Exhausted",
        "NoRecord",
        "NotOurNetwork",
        "Released",
        "ReleasedFixed",
        "Declined",
        "DeclinedFixed",
        "NotIts",
        "NoAddressNamed",
        "NotReachable",
        "NotABoot",
        "NotTheProxys",
        "NothingToBoot",
        "NoMachine",
        "TooLong",
    ];
    for reason in all {
        let (label, report) = seen.0.get(reason).unwrap_or_else(|| panic!("{reason} did not happen"));
        assert!(report.starts_with("no answer to "), "{reason}: {report}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(!label.is_empty() && label.chars().all(plain), "{reason}: {label}");
    }
}
