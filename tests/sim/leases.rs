//! The lease table over random networks, with a daemon that dies at any moment.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use voldemort::desired::Desired;
use voldemort::model::{Mac, Time};
use voldemort::proto::dhcp::{Link, Mode};
use voldemort::state::LeaseState;
use voldemort::state::lease::OFFER_HOLD;

use super::daemon::{Body, Daemon, Question, Told};
use super::inventory::resolved;
use super::medium::Medium;
use super::message::{Answer, Message};

/// Dynamic addresses and lease time of three subnets: ours, and two behind relays.
#[derive(Clone, Debug)]
struct Network([(u8, u64); 3]);

const SUBNETS: u8 = 3;
const CLIENTS: u8 = 9;
/// An offer is made again without being held for longer while at least a quarter of its minute is
/// left: so long it holds from the last time, in seconds.
const KEPT: u64 = OFFER_HOLD.0 / 4 / 1000;

#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    /// The daemon dies before, or after, the lease is on disk; who asked hears nothing.
    Before,
    After,
    Full,
}

#[derive(Clone, Debug)]
struct Step {
    who: u8,
    kind: u8,
    subnet: u8,
    /// The address that is wanted, counted from the subnet's first; none: the one it has.
    wants: Option<u8>,
    selects: bool,
    current: bool,
    wait: u64,
    fate: Fate,
}

fn network() -> impl Strategy<Value = Network> {
    let one = || (1u8..6, 60u64..4000);
    (one(), one(), one()).prop_map(|(a, b, c)| Network([a, b, c]))
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![6 => Just(1u8), 8 => Just(3u8), 1 => Just(4u8), 1 => Just(7u8), 1 => Just(8u8)];
    let wants = prop::option::weighted(0.4, prop_oneof![8 => 0u8..7, 1 => Just(40)]);
    let wait = prop_oneof![6 => 0u64..30, 2 => 30u64..2000, 1 => 2000u64..6000];
    let fate = prop_oneof![12 => Just(Fate::Fine), 1 => Just(Fate::Before), 1 => Just(Fate::After), 1 => Just(Fate::Full)];
    let flags = (any::<bool>(), any::<bool>());
    (0..CLIENTS, kind, 0..SUBNETS, wants, flags, wait, fate).prop_map(
        |(who, kind, subnet, wants, (selects, current), wait, fate)| Step {
            who,
            kind,
            subnet,
            wants,
            selects,
            current,
            wait,
            fate,
        },
    )
}

fn mac(who: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, who]).unwrap()
}

fn address(subnet: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, subnet, 10 + last)
}

/// The machine `pinned` has a fixed address, `auto` any.
fn desired(Network(subnets): &Network) -> Arc<Desired> {
    let mut text = String::new();
    for (number, (size, lease)) in subnets.iter().enumerate() {
        let last = 9 + size;
        text += &format!(
            "[subnet.s{number}]\ncidr = \"10.0.{number}.0/24\"\ngateway = \"10.0.{number}.254\"\n\
             dynamic = \"10.0.{number}.10-10.0.{number}.{last}\"\nlease = \"{lease}s\"\n"
        );
    }
    text += &format!(
        "[boot.b]\nkernel = \"vmlinuz\"\ncmdline = [\"root=/dev/nfs\"]\n\
         [deployment.pinned]\nmac = \"{}\"\naddress = \"10.0.0.50\"\nsubnet = \"s0\"\nboot = \"b\"\n\
         [deployment.auto]\nmac = \"{}\"\naddress = \"auto\"\nsubnet = \"s1\"\nboot = \"b\"\n",
        mac(0),
        mac(1)
    );
    resolved(text)
}

impl Step {
    fn datagram(&self, has: Option<Ipv4Addr>) -> (Option<Ipv4Addr>, Vec<u8>) {
        let wanted = self.wants.map(|last| address(self.subnet, last)).or(has);
        let mut message = Message::new(mac(self.who), self.kind);
        if let Some(wanted) = wanted {
            let text = wanted.to_string();
            let in_header = self.kind >= 7 || self.kind == 3 && self.current && !self.selects;
            message = if in_header { message.ciaddr(&text) } else { message.wants(&text) };
        }
        if self.selects && self.kind == 3 || matches!(self.kind, 4 | 7) {
            message = message.server("10.0.0.1");
        }
        if self.subnet > 0 {
            message = message.relay(&format!("10.0.{}.1", self.subnet));
        }
        (wanted, message.bytes())
    }
}

/// One message through the daemon; what its client hears.
fn exchange(daemon: &mut Daemon, step: &Step, datagram: Vec<u8>, now: u64) -> Option<Bytes> {
    let link = Link {
        server: Ipv4Addr::new(10, 0, 0, 1),
        cidr: "10.0.0.0/24".parse().unwrap(),
        mode: Mode::Server,
        port: 67,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        broadcast: step.subnet == 0,
    };
    let body = Body::Datagram(link, datagram);
    let question = Question { client: step.who.into(), attempt: 0, sent: now, body };
    let mut told = daemon.ask(&question, now);
    while daemon.is_due() {
        match step.fate {
            Fate::Fine => {
                daemon.commit(1);
            }
            Fate::Before => {
                daemon.again();
                return None;
            }
            Fate::After => {
                daemon.commit(1);
                daemon.again();
                return None;
            }
            Fate::Full => {
                daemon.fail();
                return None;
            }
        }
        told = daemon.publish(now).into_iter().map(|(_, told)| told).next().or(told);
    }
    match told {
        Some(Told::Datagram(bytes)) => Some(bytes),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::number("SIM_CASES", 400) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_twice_and_no_lease_lost(network in network(), steps in prop::collection::vec(step(), 1..80)) {
        let mut daemon = Daemon::start(Ipv4Addr::new(10, 0, 0, 1), desired(&network), Medium::either(steps.len()));
        daemon.publish_start();
        let mut seconds = 1_700_000_000;
        // What was acknowledged, until when; and what was offered, in which life of the daemon.
        let mut users: BTreeMap<Ipv4Addr, (Mac, u64)> = BTreeMap::new();
        let mut offers: BTreeMap<Mac, (u8, Ipv4Addr, u64, u64)> = BTreeMap::new();
        for step in steps {
            seconds += step.wait;
            let who = mac(step.who);
            let has = users.iter().find(|(_, (user, _))| *user == who).map(|(address, _)| *address);
            let (wanted, datagram) = step.datagram(has);
            let heard = exchange(&mut daemon, &step, datagram, seconds * 1000);
            if matches!(step.kind, 4 | 7) {
                users.retain(|address, (user, _)| *user != who || Some(*address) != wanted);
            }
            // Who wants another address uses none: should the ACK be lost, the old lease may be over.
            if step.kind == 3 && wanted != has {
                users.retain(|_, (user, _)| *user != who);
            }
            if step.kind != 1 {
                offers.remove(&who);
            }
            let answer = heard.map(|bytes| Answer::read(&bytes));
            if let Some((answer, lease)) = answer.as_ref().and_then(|answer| Some((answer, answer.lease()?))) {
                let given = answer.yiaddr();
                prop_assert!(given != Ipv4Addr::new(10, 0, 0, 50) || who == mac(0), "the fixed address went to {}", who);
                if let Some((user, until)) = users.get(&given) {
                    prop_assert!(*user == who || *until <= seconds, "{} of {} was given to {}", given, user, who);
                }
                if answer.kind() == 2 {
                    let life = daemon.generation;
                    let again = offers.insert(who, (step.subnet, given, seconds, life));
                    if let Some((subnet, before, when, lived)) = again
                        && step.wants.is_none() && seconds < when + KEPT && (subnet, lived) == (step.subnet, life)
                    {
                        prop_assert_eq!(before, given, "the offer is repeated");
                    }
                } else {
                    users.retain(|_, (user, _)| *user != who);
                    users.insert(given, (who, seconds + u64::from(lease)));
                }
            }
            let state = daemon.state().expect("it runs");
            for (address, (user, until)) in users.iter().filter(|(_, (_, until))| *until > seconds) {
                if state.desired().fixed_at(*address).is_none() {
                    let lease = state.leases().stored(*address);
                    let kept = lease.is_some_and(|lease| {
                        lease.mac == *user && lease.state == LeaseState::Bound && lease.expires >= Time(until * 1000)
                    });
                    prop_assert!(kept, "{} of {} until {}: {:?}", address, user, until, lease);
                }
            }
        }
    }
}
