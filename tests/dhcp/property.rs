//! Properties over random networks of clients.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use voldemort::model::{Mac, Time};
use voldemort::proto::dhcp::{Decision, Link, Mode};
use voldemort::state::{State, Verb};

use super::lab::{Lab, ip, link, settle, subnet};
use super::message::{Answer, Message};

fn state() -> State {
    let subnets = vec![
        subnet("lab", "10.0.10.0/24", &["10.0.10.20-10.0.10.24"]),
        subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.103"]),
    ];
    Lab::new(subnets)
        .machine("web", &["52:54:00:00:00:01"])
        .machine("auto", &["52:54:00:00:00:02"])
        .machine("twin", &["52:54:00:00:00:03", "52:54:00:00:00:04"])
        .machine("known", &["52:54:00:00:00:05"])
        .known_by("known", Some("hex:c1"), None)
        .deployment("web", "lab", Some("10.0.10.21"))
        .deployment("auto", "lab", None)
        .deployment("twin", "lab", Some("10.0.10.50"))
        .deployment("known", "lab", Some("10.0.10.51"))
        .state("10.0.10.1")
}

fn mac(number: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

#[derive(Clone, Debug)]
struct Step {
    who: u8,
    kind: u8,
    address: Option<Ipv4Addr>,
    current: bool,
    selects: bool,
    relayed: bool,
    boots: bool,
    unicast: bool,
    /// It sends the client id that machine "known" is known by.
    shows: bool,
    wait: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let address = prop_oneof![
        (18u8..26).prop_map(|last| Ipv4Addr::new(10, 0, 10, last)),
        (99u8..105).prop_map(|last| Ipv4Addr::new(10, 0, 20, last)),
        Just(ip("10.0.10.50")),
        Just(ip("10.0.10.51")),
        Just(ip("192.168.1.1")),
    ];
    let kind = prop_oneof![6 => Just(1u8), 8 => Just(3u8), 1 => Just(4u8), 1 => Just(7u8), 1 => Just(8u8)];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), any::<bool>());
    let flags = (flags, prop::bool::weighted(0.3));
    let wait = prop_oneof![5 => 0u64..40, 1 => 1700u64..1900, 1 => 3500u64..4000];
    (1u8..9, kind, prop::option::weighted(0.8, address), flags, wait).prop_map(
        |(who, kind, address, ((current, selects, relayed, boots, unicast), shows), wait)| Step {
            who,
            kind,
            address,
            current,
            selects,
            relayed,
            boots,
            unicast,
            shows: shows && who > 4,
            wait,
        },
    )
}

impl Step {
    fn message(&self) -> Message {
        let mut message = Message::new(mac(self.who), self.kind);
        if let Some(address) = self.address {
            let text = address.to_string();
            let in_header = self.current && self.kind == 3 || self.kind >= 7;
            message = if in_header { message.ciaddr(&text) } else { message.wants(&text) };
        }
        if self.selects && self.kind == 3 {
            message = message.server("10.0.10.1");
        }
        if self.relayed {
            message = message.relay("10.0.20.1");
        }
        if self.shows {
            message = message.option(61, &[0xc1]);
        }
        if self.boots { message.pxe_bios() } else { message }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Clients remember what was acknowledged to them; no two ever hold one address.
    #[test]
    fn no_two_machines_are_given_one_address(steps in prop::collection::vec(step(), 1..80)) {
        let mut state = state();
        let mut seconds = 1_700_000_000;
        let mut users: BTreeMap<Ipv4Addr, (Mac, u64)> = BTreeMap::new();
        let twins = [mac(3), mac(4)];
        let mut known = vec![mac(5)];
        for step in steps {
            seconds += step.wait;
            let link = Link { broadcast: !step.unicast, ..link("10.0.10.1", "10.0.10.0/24") };
            let message = step.message().bytes();
            let decision = settle(&mut state, &link, Time(seconds * 1000), &message);
            let who = mac(step.who);
            if step.kind == 7 {
                users.retain(|address, (user, _)| *user != who || Some(*address) != step.address);
            }
            // The message is from firmware: the machine was reset, and its other card has forgotten its
            // address.
            if step.boots && twins.contains(&who) {
                users.retain(|_, (user, _)| *user == who || !twins.contains(user));
            }
            if step.shows {
                known.push(who);
            }
            if step.boots && known.contains(&who) {
                users.retain(|_, (user, _)| *user == who || !known.contains(user));
            }
            let Decision::Reply { bytes, events, .. } = decision else { continue };
            state.act(Verb::Observe(events.clone()), Time(seconds * 1000));
            let answer = Answer::read(&bytes);
            prop_assert!(bytes.len() <= 548);
            let Some(lease) = answer.lease() else { continue };
            let address = answer.yiaddr();
            let home = match address {
                at if at == ip("10.0.10.21") => who == mac(1),
                at if at == ip("10.0.10.51") => known.contains(&who),
                _ => true,
            };
            prop_assert!(home, "the fixed address of another was given to {who}");
            if let Some((user, until)) = users.get(&address) {
                prop_assert!(*user == who || *until <= seconds, "{address} of {user} was given to {who}");
            }
            if answer.kind() == 5 {
                users.retain(|_, (user, _)| *user != who);
                users.insert(address, (who, seconds + u64::from(lease)));
            }
        }
    }

    /// Whatever arrives is decided, in every mode and on both ports.
    #[test]
    fn no_datagram_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        step in step(),
        cut in 0usize..400,
        flips in prop::collection::vec((0usize..400, any::<u8>()), 0..6),
        mode in prop_oneof![Just(Mode::Server), Just(Mode::Proxy), Just(Mode::Listen)],
        boot_server in any::<bool>(),
    ) {
        let mut state = state();
        let port = if boot_server { 4011 } else { 67 };
        let link = Link { mode, port, ..link("10.0.10.1", "10.0.10.0/24") };
        let mut bytes = step.message().ipxe().bytes();
        bytes.extend(&noise);
        for (at, byte) in flips {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        bytes.truncate(240 + cut);
        for datagram in [&bytes, &noise] {
            if let Decision::Reply { bytes, .. } = settle(&mut state, &link, Time(1), datagram) {
                Answer::read(&bytes);
            }
        }
    }
}
