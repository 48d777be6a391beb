//! DHCP datagrams, some in a row, to their decisions: in every mode and on both ports.

use std::collections::BTreeSet;

use voldemort::model::Time;
use voldemort::proto::dhcp::{BOOT_SERVER_PORT, Decision, Link, Mode, SERVER_PORT};
use voldemort::state::{LeaseState, State, Verb};

use super::lab::{Lab, link, settle, subnet};
use super::message::{Answer, Message};
use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "dhcp",
    pace: 500,
    seeds,
    run,
    words: &[
        "PXEClient:Arch:00000:UNDI:002001",
        "PXEClient:Arch:00007:UNDI:003000",
        "HTTPClient:Arch:00016:UNDI:003000",
        "iPXE",
        "\u{63}\u{1}",
        "\u{35}\u{1}\u{1}",
        "\u{35}\u{1}\u{3}",
        "\u{34}\u{1}\u{3}",
        "\u{39}\u{2}\u{1}\u{0}",
        "\u{52}\u{6}\u{5}\u{4}",
    ],
};

/// Datagrams of one input at most: more find nothing new.
const MOST: usize = 24;

/// The first byte of an input chooses mode, port, and whether it was broadcast.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for capture in seed::captures() {
        let asked = capture.into_iter().filter(|(_, payload)| payload.first() == Some(&1));
        let (boot, plain): (Vec<_>, Vec<_>) = asked.partition(|(port, _)| *port == BOOT_SERVER_PORT);
        for (how, datagrams) in [(8, &plain), (9, &plain), (5, &boot), (4, &boot), (10, &plain)] {
            let datagrams: Vec<Vec<u8>> = datagrams.iter().map(|(_, bytes)| bytes.clone()).collect();
            if !datagrams.is_empty() {
                seeds.push([&[how][..], &seed::join(&datagrams)].concat());
            }
        }
    }
    let mac = |last: u8| voldemort::model::Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap();
    let relayed =
        Message::discover(mac(9)).relay("10.0.20.1").option(82, &[1, 3, 9, 9, 9, 5, 4, 10, 0, 20, 0]);
    let chosen = Message::request(mac(9)).relay("10.0.20.1").wants("10.0.20.100").server("10.0.10.1");
    let declined = Message::new(mac(9), 4).wants("10.0.20.100").server("10.0.10.1");
    let given_back = Message::new(mac(9), 7).ciaddr("10.0.20.100").server("10.0.10.1");
    let informed = Message::new(mac(8), 8).ciaddr("10.0.10.99").option(61, &[1, 2, 3]).option(55, &[1, 3, 6]);
    let row = [relayed, chosen, declined, given_back, informed].map(|message| message.bytes());
    seeds.push([&[0][..], &seed::join(&row)].concat());
    seeds
}

fn state() -> State {
    let subnets = vec![
        subnet("lab", "10.77.0.0/24", &["10.77.0.100-10.77.0.103"]),
        subnet("near", "10.0.10.0/24", &["10.0.10.20-10.0.10.24"]),
        subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.103"]),
    ];
    let lab =
        Lab::new(subnets).machine("web-1", &["52:54:00:77:00:01"]).machine("auto", &["52:54:00:00:00:08"]);
    let lab = lab.machine("twin", &["52:54:00:00:00:03", "52:54:00:00:00:04"]);
    let lab = lab.deployment("web-1", "lab", Some("10.77.0.130")).deployment("auto", "near", None);
    lab.deployment("twin", "lab", Some("10.77.0.50")).state("10.77.0.1")
}

fn run(bytes: &[u8]) {
    thread_local!(static TABLE: State = state());
    let Some((how, rest)) = bytes.split_first() else { return };
    let mode = [Mode::Server, Mode::Proxy, Mode::Listen, Mode::Off][usize::from(how & 3)];
    let port = if how & 4 == 0 { SERVER_PORT } else { BOOT_SERVER_PORT };
    let link = Link { mode, port, broadcast: how & 8 != 0, ..link("10.77.0.1", "10.77.0.0/24") };
    let mut state = TABLE.with(State::clone);
    for (number, datagram) in seed::split(rest).into_iter().take(MOST).enumerate() {
        let now = Time(1_700_000_000_000 + number as u64 * u64::from(how >> 4) * 700_000);
        match settle(&mut state, &link, now, datagram) {
            Decision::Reply { bytes, events, .. } => {
                assert!(matches!(mode, Mode::Server | Mode::Proxy), "nothing is answered in mode {mode}");
                reply(&link, datagram, &bytes);
                for event in events {
                    assert!(!event.text.contains(char::is_control), "{:?}", event.text);
                    state.act(Verb::Observe(vec![event]), now);
                }
            }
            Decision::Silence(silence) => {
                let text = silence.to_string();
                assert!(!text.contains(char::is_control), "{text:?}");
            }
            Decision::NeedLease(..) => unreachable!("settled"),
        }
        consistent(&state, now);
    }
}

/// An answer can be parsed, is for the client that asked, and gives no address where the daemon gives none.
fn reply(link: &Link, asked: &[u8], bytes: &[u8]) {
    let answer = Answer::read(bytes);
    assert!(bytes.len() <= 1472, "{} bytes", bytes.len());
    assert_eq!(bytes[4..8], asked[4..8], "the transaction");
    assert_eq!(bytes[28..34], asked[28..34], "the hardware address");
    let address = answer.yiaddr();
    if link.mode == Mode::Proxy || link.port == BOOT_SERVER_PORT {
        assert!(address.is_unspecified() && answer.lease().is_none(), "{address}");
    }
    assert!(address.is_unspecified() || address != link.server);
}

/// An address is held by one machine, and a machine has one lease.
fn consistent(state: &State, now: Time) {
    let mut addresses = BTreeSet::new();
    let mut bound = BTreeSet::new();
    for lease in state.leases().iter().filter(|lease| lease.is_active(now)) {
        assert!(addresses.insert(lease.address), "{} is held twice", lease.address);
        if lease.state == LeaseState::Bound {
            assert!(bound.insert(lease.mac), "{} has two leases", lease.mac);
        }
    }
}
