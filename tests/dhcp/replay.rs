//! What real firmware and systems sent, and what we would have answered, as readable
//! transcripts. `UPDATE_GOLDEN=1` rewrites them; the change is to be read like code.
//!
//! The captures were made against another server, so a REQUEST may name an address that it
//! gave. In the proxy captures that server is 10.77.0.2 and we are 10.77.0.1.

use std::fmt::Write as _;
use std::path::Path;

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Mode, Request};

use super::lab::{Lab, link, settle, subnet};
use super::message::Answer;
use super::pcap;

fn transcript(name: &str, mode: Mode) -> String {
    let file = Path::new("tests/captures").join(format!("{name}.pcap"));
    let lab = Lab::new(vec![subnet("lab", "10.77.0.0/24", &["10.77.0.100-10.77.0.199"])]);
    let lab = lab.machine("web-1", &["52:54:00:77:00:01"]);
    let mut state = lab.deployment("web-1", "lab", Some("10.77.0.130")).state("10.77.0.1");
    let mut text = format!("{name}, mode {mode}\n");
    for datagram in pcap::read(&std::fs::read(file).unwrap()) {
        let port = datagram.destination.port();
        if port != 67 && port != 4011 || datagram.payload[0] != 1 {
            continue;
        }
        let mut link = link("10.77.0.1", "10.77.0.0/24");
        (link.mode, link.port, link.source) = (mode, port, datagram.source);
        link.broadcast = datagram.destination.ip().is_broadcast();
        let now = Time(1_700_000_000_000 + datagram.at);
        let asked = Request::decode(&datagram.payload).unwrap();
        let class = String::from_utf8_lossy(asked.option(60).unwrap_or_default()).into_owned();
        let seconds = datagram.at as f64 / 1000.0;
        let _ = writeln!(
            text,
            "\n{seconds:.3} {} > port {port}: {:?} {} {class:?}",
            datagram.source, asked.kind, asked.mac
        );
        match settle(&mut state, &link, now, &datagram.payload) {
            Decision::Reply { bytes, to, events } => {
                let _ = writeln!(text, "  {} to {to}", events[0].stage);
                for event in &events {
                    let _ = writeln!(text, "  {}", event.text);
                }
                text.push_str(&Answer::read(&bytes).text());
            }
            Decision::Silence(silence) => {
                let _ = writeln!(text, "  {silence}");
            }
            Decision::NeedLease(..) => unreachable!("settled"),
        }
    }
    text
}

fn check(name: &str, mode: Mode) {
    let golden = Path::new("tests/golden/dhcp").join(format!("{name}.txt"));
    let found = transcript(name, mode);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(found == expected, "{} differs (UPDATE_GOLDEN=1 rewrites):\n{found}", golden.display());
}

#[test]
fn firmware_is_answered_as_recorded() {
    for name in ["bios-ipxe", "bios-pxe-undionly", "uefi-pxe4", "uefi-http4"] {
        check(name, Mode::Server);
    }
}

#[test]
fn firmware_beside_another_server_is_answered_as_recorded() {
    for name in ["proxy-bios-pxe", "proxy-uefi-pxe4"] {
        check(name, Mode::Proxy);
    }
}

#[test]
fn systems_are_answered_as_recorded() {
    for name in ["client-dhclient", "client-udhcpc", "client-networkd", "client-dhcpcd"] {
        check(name, Mode::Server);
    }
}
