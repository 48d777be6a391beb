//! A table of cases as conformance suites of DHCP servers have them: one message in one situation,
//! and what must come of it. What takes several messages is in `conformance.rs` and `exchange.rs`.

mod state;
mod wire;

use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Destination, Link};
use voldemort::state::State;

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";
const FIXED: &str = "52:54:00:00:00:03";
const SERVER: &str = "10.0.10.1";
const NOW: Time = Time(1_700_000_000_000);

/// What happened before.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// `ONE` has 10.0.10.100, `TWO` has 10.0.10.101.
    Leased,
}
use Before::{Leased, Nothing};

/// How the message comes in.
#[derive(Clone, Copy)]
enum By {
    Broadcast,
    /// To our address, from this one.
    From(&'static str),
}
use By::{Broadcast, From};

/// What must come of it.
enum Then {
    Offer(&'static str),
    Ack(&'static str),
    Nak,
    /// No answer; the word for the reason.
    Silence(&'static str),
}
use Then::{Ack, Nak, Offer, Silence};

struct Case {
    what: &'static str,
    before: Before,
    by: By,
    message: Vec<u8>,
    then: Then,
    also: fn(&Answer, &Destination),
}

fn any(_: &Answer, _: &Destination) {}

fn state(before: Before) -> State {
    let lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"]);
    let far = subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.109"]);
    let mut state = Lab::new(vec![lab, far])
        .machine("m", &[FIXED])
        .deployment("m", "lab", Some("10.0.10.21"))
        .state(SERVER);
    if let Leased = before {
        for (who, address) in [(ONE, "10.0.10.100"), (TWO, "10.0.10.101")] {
            for message in [
                Message::discover(mac(who)).wants(address),
                Message::request(mac(who)).wants(address).server(SERVER),
            ] {
                let decision = settle(&mut state, &link(SERVER, "10.0.10.0/24"), NOW, &message.bytes());
                assert!(matches!(decision, Decision::Reply { .. }), "{decision:?}");
            }
        }
    }
    state
}

fn play(cases: Vec<Case>) {
    for Case { what, before, by, message, then, also } in cases {
        let mut state = state(before);
        let stored = state.leases().iter().count();
        let link = match by {
            Broadcast => link(SERVER, "10.0.10.0/24"),
            From(source) => Link {
                broadcast: false,
                source: format!("{source}:68").parse().unwrap(),
                ..link(SERVER, "10.0.10.0/24")
            },
        };
        let (bytes, to) = match (settle(&mut state, &link, NOW, &message), &then) {
            (Decision::Reply { bytes, to, .. }, Offer(_) | Ack(_) | Nak) => (bytes, to),
            (Decision::Silence(silence), Silence(label)) => {
                assert_eq!(silence.reason.label(), *label, "{what}: {silence}");
                continue;
            }
            (other, _) => panic!("{what}: {other:?}"),
        };
        let answer = Answer::read(&bytes);
        let (kind, address) = match then {
            Offer(address) => (2, address),
            Ack(address) => (5, address),
            Nak => (6, "0.0.0.0"),
            Silence(_) => unreachable!(),
        };
        assert_eq!((answer.kind(), answer.yiaddr()), (kind, ip(address)), "{what}");
        assert_eq!(bytes[4..8], message[4..8], "{what}: xid");
        assert_eq!(bytes[24..44], message[24..44], "{what}: giaddr and chaddr");
        assert_eq!(answer.option(54), Some(&ip(SERVER).octets()[..]), "{what}: 54");
        for never in [50, 52, 53 + 2, 57, 80, 81, 90, 145] {
            assert_eq!(answer.option(never), None, "{what}: {never} is the client's");
        }
        if kind == 6 {
            let allowed = |code: &u8| [53, 54, 56, 61, 82].contains(code);
            assert!(answer.options.iter().all(|(code, _)| allowed(code)), "{what}: {:?}", answer.options);
            assert_eq!(stored, state.leases().iter().count(), "{what}: nothing is leased");
        }
        also(&answer, &to);
    }
}

fn case(what: &'static str, before: Before, message: Message, then: Then) -> Case {
    Case { what, before, by: Broadcast, message: message.bytes(), then, also: any }
}

impl Case {
    fn by(self, by: By) -> Case {
        Case { by, ..self }
    }

    fn also(self, also: fn(&Answer, &Destination)) -> Case {
        Case { also, ..self }
    }
}

fn discover() -> Message {
    Message::discover(mac(ONE))
}

fn request() -> Message {
    Message::request(mac(ONE))
}
