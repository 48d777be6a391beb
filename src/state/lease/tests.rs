use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::Origin;

pub(super) fn subnet(ranges: &[&str]) -> Arc<Subnet> {
    Arc::new(Subnet {
        name: "lab".parse().unwrap(),
        cidr: Some("10.0.0.0/22".parse().unwrap()),
        gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
        dns: vec![],
        domain: None,
        dynamic: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        lease: Span::seconds(3600),
        options: Default::default(),
        mode: Default::default(),
        unknown: Default::default(),
        idle: Default::default(),
        power: None,
        ipv6: None,
        segment: "lab".parse().unwrap(),
        origin: Origin { file: "net.toml".into(), line: 1, column: 1 },
    })
}

pub(super) fn mac(number: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
}

pub(super) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(super) fn request(number: u8, seconds: u64, action: LeaseAction) -> LeaseRequest {
    LeaseRequest { mac: mac(number), at: Time(seconds * 1000), client_id: None, hostname: None, action }
}

pub(super) fn dynamic(subnet: &Arc<Subnet>) -> Supply {
    Supply::Dynamic { subnet: subnet.clone(), server: ip("10.0.0.1") }
}

pub(super) fn bind(
    leases: &mut Leases,
    net: &Arc<Subnet>,
    number: u8,
    seconds: u64,
    address: &str,
) -> LeaseOutcome {
    let action = LeaseAction::Bind { supply: dynamic(net), address: ip(address) };
    leases.apply(&request(number, seconds, action), &|_, _| false)
}

pub(super) fn offer(leases: &mut Leases, net: &Arc<Subnet>, number: u8, seconds: u64) -> Option<Ipv4Addr> {
    let action = LeaseAction::Offer { supply: dynamic(net), requested: None };
    leases.apply(&request(number, seconds, action), &|_, _| false).address
}

#[test]
fn addresses_are_chosen_in_the_order_that_clients_expect() {
    let net = subnet(&["10.0.0.10-10.0.0.13"]);
    let mut leases = Leases::default();
    assert_eq!(bind(&mut leases, &net, 1, 0, "10.0.0.11").changed.len(), 1);

    let choose = |leases: &Leases, number, wish: Option<&str>, seconds: u64| {
        leases.choose(&net, mac(number), wish.map(ip), Time(seconds * 1000), &|_, _| false)
    };
    assert_eq!(choose(&leases, 1, Some("10.0.0.12"), 10), Some(ip("10.0.0.11")), "its own before its wish");
    assert_eq!(choose(&leases, 2, Some("10.0.0.12"), 10), Some(ip("10.0.0.12")), "the wish");
    assert_eq!(choose(&leases, 2, Some("10.0.0.11"), 10), Some(ip("10.0.0.10")), "not somebody else's");
    assert_eq!(choose(&leases, 2, Some("10.9.9.9"), 10), Some(ip("10.0.0.10")), "not outside the range");

    bind(&mut leases, &net, 2, 100, "10.0.0.10");
    bind(&mut leases, &net, 3, 50, "10.0.0.12");
    bind(&mut leases, &net, 4, 150, "10.0.0.13");
    assert_eq!(choose(&leases, 5, None, 200), None, "all in use");
    assert_eq!(choose(&leases, 5, None, 4000), Some(ip("10.0.0.11")), "the one free for longest");
    assert_eq!(choose(&leases, 3, None, 4000), Some(ip("10.0.0.12")), "the one it had");
}

#[test]
fn an_offer_keeps_its_address_for_a_minute_and_leaves_no_trace() {
    let net = subnet(&["10.0.0.10-10.0.0.11"]);
    let mut leases = Leases::default();
    assert_eq!(offer(&mut leases, &net, 1, 0), Some(ip("10.0.0.10")));
    assert_eq!(offer(&mut leases, &net, 2, 1), Some(ip("10.0.0.11")));
    assert_eq!(offer(&mut leases, &net, 3, 2), None);
    assert_eq!(bind(&mut leases, &net, 3, 2, "10.0.0.10"), LeaseOutcome::default());
    assert_eq!(offer(&mut leases, &net, 3, 60), Some(ip("10.0.0.10")));
    assert_eq!(leases.address_of(mac(1)), None);
    leases.expire(Time(1_000_000));
    assert_eq!(leases.iter().count(), 0);
}

#[test]
fn a_declined_address_rests_and_a_released_one_is_remembered() {
    let net = subnet(&["10.0.0.10-10.0.0.11"]);
    let mut leases = Leases::default();
    bind(&mut leases, &net, 1, 0, "10.0.0.10");
    let decline = |number, address| LeaseAction::Decline { address: ip(address) }.by(number, 5);
    assert!(leases.apply(&decline(2, "10.0.0.10"), &|_, _| false).changed.is_empty(), "not its own");
    let outcome = leases.apply(&decline(1, "10.0.0.10"), &|_, _| false);
    assert_eq!(outcome.changed[0].state, LeaseState::Declined);
    assert_eq!(offer(&mut leases, &net, 1, 6), Some(ip("10.0.0.11")));
    bind(&mut leases, &net, 1, 7, "10.0.0.11");
    let release = LeaseAction::Release { address: ip("10.0.0.11") }.by(1, 8);
    assert_eq!(leases.apply(&release, &|_, _| false).changed[0].state, LeaseState::Released);
    assert!(leases.apply(&release, &|_, _| false).changed.is_empty(), "only once");
    assert_eq!(offer(&mut leases, &net, 1, 9), Some(ip("10.0.0.11")));
    assert_eq!(offer(&mut leases, &net, 2, 90), Some(ip("10.0.0.11")), "the quarantine still runs");
    assert_eq!(offer(&mut leases, &net, 3, 86_500), Some(ip("10.0.0.11")));
    assert_eq!(offer(&mut leases, &net, 2, 86_501), Some(ip("10.0.0.10")), "and is over");
}

impl LeaseAction {
    fn by(self, number: u8, seconds: u64) -> LeaseRequest {
        request(number, seconds, self)
    }
}

#[test]
fn the_fixed_address_of_a_machine_moves_between_its_cards_only_on_purpose() {
    let net = subnet(&[]);
    let mut leases = Leases::default();
    let fixed = |over| Supply::Fixed { subnet: net.clone(), address: ip("10.0.0.21"), over };
    let bind = |leases: &mut Leases, number, seconds, over| {
        let action = LeaseAction::Bind { supply: fixed(over), address: ip("10.0.0.21") };
        leases.apply(&request(number, seconds, action), &|_, _| true)
    };
    assert!(bind(&mut leases, 1, 0, None).address.is_some());
    assert!(bind(&mut leases, 2, 1, None).address.is_none());
    let taken = bind(&mut leases, 2, 2, Some(mac(1)));
    assert_eq!(taken.changed.last().map(|lease| lease.mac), Some(mac(2)));
    assert!(bind(&mut leases, 1, 3, None).address.is_none());
    assert_eq!(leases.mac_at(ip("10.0.0.21")), Some(mac(2)));
}

#[test]
fn a_torn_store_does_not_give_a_machine_two_addresses() {
    let lease = |address, expires| Lease {
        address: ip(address),
        mac: mac(1),
        client_id: None,
        hostname: None,
        state: LeaseState::Bound,
        expires: Time(expires),
    };
    for stored in [
        [lease("10.0.0.10", 500), lease("10.0.0.11", 900)],
        [lease("10.0.0.11", 900), lease("10.0.0.10", 500)],
    ] {
        let leases = Leases::restore(stored);
        assert_eq!(leases.address_of(mac(1)), Some(ip("10.0.0.11")));
        assert!(leases.holder(ip("10.0.0.10"), Time(100)).is_none());
    }
}

/// A crowded little network for the random tests: 2 ranges over 2 blocks, one address reserved.
const RANGES: [&str; 2] = ["10.0.0.254-10.0.1.1", "10.0.1.6-10.0.1.7"];
const ADDRESSES: [&str; 8] =
    ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1", "10.0.1.6", "10.0.1.7", "10.0.1.9", "10.0.0.1"];

#[derive(Clone, Debug)]
enum Step {
    Offer(u8, Option<usize>),
    Bind(u8, usize),
    BindOffer(u8),
    Release(u8, usize),
    Decline(u8, usize),
    Conflict(usize),
    Free(usize),
    Wait(u64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 1u8..10;
    prop_oneof![
        3 => (who.clone(), prop::option::of(0usize..8)).prop_map(|(who, wish)| Step::Offer(who, wish)),
        2 => (who.clone(), 0usize..8).prop_map(|(who, which)| Step::Bind(who, which)),
        4 => who.clone().prop_map(Step::BindOffer),
        1 => (who.clone(), 0usize..8).prop_map(|(who, which)| Step::Release(who, which)),
        1 => (who, 0usize..8).prop_map(|(who, which)| Step::Decline(who, which)),
        1 => (0usize..8).prop_map(Step::Conflict),
        1 => (0usize..8).prop_map(Step::Free),
        2 => prop_oneof![0u64..5, 50u64..70, 3500u64..3700, Just(90_000)].prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

/// The network as its machines see it, and the disk under the daemon.
#[derive(Default)]
struct World {
    now: u64,
    leases: Leases,
    disk: BTreeMap<Ipv4Addr, Lease>,
    /// Who uses which address until when, by the ACKs that were sent.
    users: BTreeMap<Ipv4Addr, (Mac, u64)>,
    quarantined: BTreeMap<Ipv4Addr, u64>,
}

impl World {
    fn act(&mut self, who: u8, action: LeaseAction) -> LeaseOutcome {
        let reserved = ip("10.0.1.0");
        let asked = request(who, self.now, action);
        let outcome = self.leases.apply(&asked, &|address, _| address == reserved);
        for lease in &outcome.changed {
            self.disk.insert(lease.address, lease.clone());
        }
        outcome
    }

    fn run(&mut self, step: Step, net: &Arc<Subnet>) {
        let supply = dynamic(net);
        match step {
            Step::Wait(seconds) => self.now += seconds,
            Step::Crash => self.leases = Leases::restore(self.disk.values().cloned()),
            Step::Offer(who, wish) => {
                let requested = wish.map(|wish| ip(ADDRESSES[wish]));
                let held = self.leases.offer(mac(who)).map(|offer| offer.address);
                let left = self.left(net);
                let outcome = self.act(who, LeaseAction::Offer { supply, requested });
                if let Some(address) = outcome.address {
                    let rests = self.quarantined.get(&address).is_some_and(|until| *until > self.now);
                    assert!(!rests || left.is_empty() || held == Some(address), "{left:?} was left");
                    self.check_given(who, address, net);
                }
            }
            Step::Bind(who, which) => self.bind(who, ip(ADDRESSES[which]), supply, net),
            Step::BindOffer(who) => {
                if let Some(address) = self.leases.offer(mac(who)).map(|offer| offer.address) {
                    self.bind(who, address, supply, net);
                }
            }
            Step::Release(who, which) => {
                let address = ip(ADDRESSES[which]);
                if self.act(who, LeaseAction::Release { address }).address.is_some() {
                    self.users.remove(&address);
                }
            }
            Step::Decline(who, which) => {
                let address = ip(ADDRESSES[which]);
                if self.act(who, LeaseAction::Decline { address }).address.is_some() {
                    self.users.remove(&address);
                    self.quarantined.insert(address, self.now + 24 * 3600);
                }
            }
            Step::Conflict(which) => {
                let address = ip(ADDRESSES[which]);
                if self.act(200, LeaseAction::Conflict { address }).address.is_some() {
                    let used = self.users.get(&address).is_some_and(|(_, until)| *until > self.now);
                    assert!(!used, "a lease stands");
                    self.quarantined.insert(address, self.now + 24 * 3600);
                }
            }
            Step::Free(which) => {
                let address = ip(ADDRESSES[which]);
                let freed = self.leases.free(address, Time(self.now * 1000));
                self.disk.extend(freed.changed.into_iter().map(|lease| (lease.address, lease)));
                self.users.remove(&address);
                self.quarantined.remove(&address);
                assert_eq!(self.leases.holder(address, Time(self.now * 1000)), None);
            }
        }
    }

    /// What could be lent without a wish and before anything that rests.
    fn left(&self, net: &Arc<Subnet>) -> Vec<Ipv4Addr> {
        let now = Time(self.now * 1000);
        let free = |address: &Ipv4Addr| {
            !is_awkward(net, *address)
                && *address != ip("10.0.1.0")
                && self.leases.holder(*address, now).is_none()
        };
        net.dynamic.iter().flat_map(|range| range.iter()).filter(free).collect()
    }

    fn bind(&mut self, who: u8, address: Ipv4Addr, supply: Supply, net: &Arc<Subnet>) {
        if self.act(who, LeaseAction::Bind { supply, address }).address.is_some() {
            self.check_given(who, address, net);
            self.quarantined.remove(&address);
            self.users.retain(|_, (user, _)| *user != mac(who));
            self.users.insert(address, (mac(who), self.now + 3600));
        }
    }

    fn check_given(&self, who: u8, address: Ipv4Addr, net: &Arc<Subnet>) {
        assert!(net.is_dynamic(address) && address != ip("10.0.1.0"), "{address} is not to be given");
        if let Some((user, until)) = self.users.get(&address) {
            assert!(*user == mac(who) || *until <= self.now, "{address} is in use by {user}");
        }
    }

    fn check(&self) {
        let now = Time(self.now * 1000);
        let mut owners = BTreeSet::new();
        let leases = &self.leases;
        for lease in leases.bindings.values().filter(|lease| lease.is_active(now)) {
            if lease.state == LeaseState::Bound {
                assert!(owners.insert(lease.mac), "{} has two addresses", lease.mac);
                assert_eq!(leases.address_of(lease.mac), Some(lease.address));
                assert_eq!(leases.mac_at(lease.address), Some(lease.mac));
            }
            if let Some(offer) = leases.offers.get(&lease.address).filter(|offer| offer.is_active(now)) {
                let own = offer.mac == lease.mac && lease.state == LeaseState::Bound;
                assert!(own || lease.state == LeaseState::Declined, "a lease is offered to another");
            }
        }
        for (address, (user, until)) in self.users.iter().filter(|(_, (_, until))| *until > self.now) {
            let held = leases.holder(*address, now).expect("an acknowledged lease is known");
            assert_eq!((held.mac, held.expires), (*user, Time(*until * 1000)));
        }
        self.check_indices();
    }

    fn check_indices(&self) {
        let leases = &self.leases;
        assert_eq!(leases.offers.len(), leases.offers_by_mac.len());
        assert_eq!(leases.offers.len(), leases.offers_by_end.len());
        assert_eq!(leases.bindings.len(), leases.by_end.len());
        let resting = leases.bindings.values().filter(|lease| lease.state == LeaseState::Declined);
        assert_eq!(leases.resting.len(), resting.count());
        for (mac, address) in &leases.by_mac {
            assert_eq!(leases.bindings.get(address).map(|lease| lease.mac), Some(*mac));
        }
        // What ends in .0 or .255 goes into the index with its neighbour.
        for address in ADDRESSES.map(ip).into_iter().filter(|address| !matches!(address.octets()[3], 0 | 255))
        {
            let known = leases.bindings.contains_key(&address) || leases.offers.contains_key(&address);
            assert_eq!(leases.used.next_unused(address) != Some(address), known, "{address}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_address_twice_and_no_machine_two_addresses(steps in prop::collection::vec(step(), 1..80)) {
        let net = subnet(&RANGES);
        let mut world = World::default();
        for step in steps {
            world.run(step, &net);
            world.check();
        }
    }
}
