//! IPv6 address leases. Simpler than those of IPv4, because addresses are plenty: nothing is reserved for
//! an ADVERTISE. The address of a machine follows from its hardware address, so that it is advertised the
//! same one again; if that is taken, the machine gets the next.
//!
//! A machine is identified by its hardware address here too: the firmware, iPXE and the system of one boot
//! come with different DUIDs (EDK2 and iPXE do not even agree how a UUID is written), and must keep one
//! address.

use std::net::Ipv6Addr;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::State;
use super::lease::{LeaseState, QUARANTINE, Usage};
use crate::desired::{Ipv6, Subnet};
use crate::model::{Mac, Range6, Span, Time};

/// How many addresses are looked at, from the one that a machine's own leads to, before a range
/// counts as full.
const TRIES: u128 = 4096;

/// One address that is or was in use, or rests after a DECLINE.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease6 {
    pub address: Ipv6Addr,
    pub mac: Mac,
    /// As the client last called itself.
    pub duid: Bytes,
    /// Never `Offered`.
    pub state: LeaseState,
    pub expires: Time,
}

/// What a machine's message asks of the leases.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease6Request {
    pub mac: Mac,
    pub duid: Bytes,
    pub at: Time,
    pub action: Lease6Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Lease6Action {
    /// Begin or renew the lease of this address. To be stored before the REPLY leaves. `over` names another card of the
    /// same machine that it may be taken from.
    Bind {
        subnet: Arc<Subnet>,
        address: Ipv6Addr,
        over: Option<Mac>,
    },
    Release {
        address: Ipv6Addr,
    },
    Decline {
        address: Ipv6Addr,
    },
}

/// All IPv6 leases, by address and by machine. A machine has at most one that runs, an address is
/// held by at most one machine.
#[derive(Clone, Debug, Default)]
pub struct Leases6 {
    by_address: imbl::OrdMap<Ipv6Addr, Arc<Lease6>>,
    /// The lease of a machine, running or past. Declined addresses have no machine.
    by_mac: imbl::HashMap<Mac, Ipv6Addr>,
}

impl Lease6 {
    /// Whether the address is kept from others at `now`.
    pub fn is_active(&self, now: Time) -> bool {
        self.state != LeaseState::Released && self.expires > now
    }
}

impl Leases6 {
    /// The leases that a store kept; of two running ones of a machine the later stands.
    pub fn restore(stored: impl IntoIterator<Item = Lease6>) -> Leases6 {
        let mut stored: Vec<Lease6> = stored.into_iter().collect();
        stored.sort_by_key(|lease| (lease.state == LeaseState::Bound, lease.expires));
        let mut leases = Leases6::default();
        stored.into_iter().for_each(|lease| leases.insert(lease));
        leases
    }

    /// Every lease by address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease6> {
        self.from(Bound::Unbounded)
    }

    /// The same from an address on.
    pub fn from(&self, first: Bound<Ipv6Addr>) -> impl Iterator<Item = &Lease6> {
        self.by_address.range((first, Bound::Unbounded)).map(|(_, lease)| &**lease)
    }

    /// The lease of a machine, running or past.
    pub fn of(&self, mac: Mac) -> Option<&Arc<Lease6>> {
        self.by_address.get(self.by_mac.get(&mac)?)
    }

    pub fn at(&self, address: Ipv6Addr) -> Option<&Arc<Lease6>> {
        self.by_address.get(&address)
    }

    /// The machine that has an address, or had it last.
    pub fn mac_at(&self, address: Ipv6Addr) -> Option<Mac> {
        let lease = self.by_address.get(&address)?;
        (lease.state != LeaseState::Declined).then_some(lease.mac)
    }

    /// Whether `mac` could have `address` at `now`, as far as leases go.
    fn is_free_for(&self, mac: Mac, address: Ipv6Addr, now: Time) -> bool {
        self.by_address.get(&address).is_none_or(|lease| {
            !lease.is_active(now) || lease.mac == mac && lease.state != LeaseState::Declined
        })
    }

    /// What rests after a DECLINE in these ranges, the longest first. Linear in the number of leases there.
    fn resting(&self, ranges: &[Range6], now: Time) -> Vec<Ipv6Addr> {
        let leases = ranges.iter().flat_map(|range| self.by_address.range(range.first..=range.last));
        let rests = |lease: &&Arc<Lease6>| lease.state == LeaseState::Declined && lease.is_active(now);
        let mut found: Vec<&Arc<Lease6>> = leases.map(|(_, lease)| lease).filter(rests).collect();
        found.sort_by_key(|lease| (lease.expires, lease.address));
        found.into_iter().map(|lease| lease.address).collect()
    }

    /// Ends whatever keeps an address from others; what is to be stored.
    pub fn free(&mut self, address: Ipv6Addr, now: Time) -> Option<Lease6> {
        let held = self.at(address).filter(|lease| lease.is_active(now))?;
        let state = match held.state {
            LeaseState::Declined => LeaseState::Declined,
            _ => LeaseState::Released,
        };
        let freed = Lease6 { state, expires: now, ..(**held).clone() };
        self.insert(freed.clone());
        Some(freed)
    }

    /// Brings ends nearer that lie further ahead than they could have been set by the clock as it is
    /// now, as [`Leases::limit`](super::Leases::limit) does.
    pub fn limit(&mut self, now: Time, lease: &dyn Fn(Ipv6Addr) -> Option<Span>) -> Vec<Lease6> {
        let latest = |held: &Lease6| {
            let longest = lease(held.address)?;
            Some(match held.state {
                LeaseState::Declined => now + QUARANTINE,
                LeaseState::Released => now,
                LeaseState::Bound | LeaseState::Offered => now + longest,
            })
        };
        let late = |held: &Lease6| latest(held).filter(|latest| held.expires > *latest);
        let all = self.by_address.values();
        let changed: Vec<Lease6> =
            all.filter_map(|held| Some(Lease6 { expires: late(held)?, ..(**held).clone() })).collect();
        for changed in &changed {
            self.by_address.insert(changed.address, Arc::new(changed.clone()));
        }
        changed
    }

    /// How dynamic ranges are used. Linear in the number of leases there.
    pub fn usage(&self, ranges: &[Range6], now: Time) -> Usage {
        let mut usage = Usage::default();
        for range in ranges {
            usage.size = usage.size.saturating_add(range.distance()).saturating_add(1);
            let leases = self.by_address.range(range.first..=range.last).map(|(_, lease)| lease);
            for lease in leases.filter(|lease| lease.is_active(now)) {
                match lease.state {
                    LeaseState::Declined => usage.resting += 1,
                    _ => usage.used += 1,
                }
            }
        }
        usage
    }

    fn insert(&mut self, lease: Lease6) {
        let (address, mac) = (lease.address, lease.mac);
        if let Some(former) = self.by_address.get(&address)
            && self.by_mac.get(&former.mac) == Some(&address)
        {
            self.by_mac.remove(&former.mac);
        }
        if lease.state != LeaseState::Declined {
            self.by_mac.insert(mac, address);
        }
        self.by_address.insert(address, Arc::new(lease));
    }
}

impl State {
    /// The dynamic address for a machine: the one it has or had, else the first free one from where its
    /// hardware address leads, and if there is none the one withheld for longest after a DECLINE. `server`
    /// is the daemon's own address there.
    pub fn choose6(&self, ipv6: &Ipv6, mac: Mac, server: Ipv6Addr, now: Time) -> Option<Ipv6Addr> {
        let usable = |address: &Ipv6Addr| self.is_usable6(ipv6, mac, *address, server, now);
        let known = self.lasting.leases6.of(mac).map(|lease| lease.address);
        known.filter(usable).or_else(|| {
            let digest = Sha256::digest(mac.octets());
            let start = digest[..16].iter().fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
            let free = ipv6.dynamic.iter().flat_map(|range| from(*range, start)).find(usable);
            let lendable = |address: &Ipv6Addr| self.is_lendable6(ipv6, *address, server);
            free.or_else(|| self.lasting.leases6.resting(&ipv6.dynamic, now).into_iter().find(lendable))
        })
    }

    /// Whether an address may be leased to machines without a fixed one.
    fn is_lendable6(&self, ipv6: &Ipv6, address: Ipv6Addr, server: Ipv6Addr) -> bool {
        ipv6.is_dynamic(address)
            && ipv6.cidr.is_host(address)
            && address != server
            && !self.is_of_this_host(address.into())
            && !ipv6.dns.contains(&address)
            && self.desired.fixed6_at(address).is_none()
    }

    /// Whether a machine may have this dynamic address now.
    pub fn is_usable6(&self, ipv6: &Ipv6, mac: Mac, address: Ipv6Addr, server: Ipv6Addr, now: Time) -> bool {
        self.is_lendable6(ipv6, address, server) && self.lasting.leases6.is_free_for(mac, address, now)
    }

    /// Applies a request; the caller stores what it returns before it publishes the state. Nothing is to be
    /// stored when the address is no longer available.
    pub fn lease6(&mut self, request: &Lease6Request) -> Vec<Lease6> {
        let Lease6Request { mac, duid, at, action } = request;
        let lease =
            |address, state, expires| Lease6 { address, mac: *mac, duid: duid.clone(), state, expires };
        let changed = match action {
            Lease6Action::Bind { subnet, address, over } => {
                let held = self.lasting.leases6.at(*address);
                // A withheld address is requested only where no other was left, or where it is the machine's own.
                let can_have =
                    held.is_some_and(|one| one.state == LeaseState::Declined || Some(one.mac) == *over);
                if !can_have && !self.lasting.leases6.is_free_for(*mac, *address, *at) {
                    return Vec::new();
                }
                let former = self.lasting.leases6.of(*mac).filter(|former| former.address != *address);
                let former = former.filter(|former| former.is_active(*at));
                let former = former.map(|former| lease(former.address, LeaseState::Released, *at));
                let bound = lease(*address, LeaseState::Bound, *at + subnet.lease);
                former.into_iter().chain([bound]).collect()
            }
            Lease6Action::Release { address } if self.has6(*mac, *address) => {
                vec![lease(*address, LeaseState::Released, *at)]
            }
            Lease6Action::Decline { address } if self.has6(*mac, *address) => {
                vec![lease(*address, LeaseState::Declined, *at + QUARANTINE)]
            }
            Lease6Action::Release { .. } | Lease6Action::Decline { .. } => Vec::new(),
        };
        changed.iter().for_each(|lease| self.lasting.leases6.insert(lease.clone()));
        changed
    }

    /// Whether a machine has this address bound.
    pub fn has6(&self, mac: Mac, address: Ipv6Addr) -> bool {
        let lease = self.lasting.leases6.of(mac);
        lease.is_some_and(|lease| lease.address == address && lease.state == LeaseState::Bound)
    }

    /// The server identifier in DHCPv6: a DUID-UUID (RFC 6355) made of the lineage, so that it stays the
    /// same as long as the leases do.
    pub fn duid(&self) -> Vec<u8> {
        let digest = Sha256::digest(format!("DHCPv6 server {}", self.lasting.lineage));
        [&[0, 4], &digest[..16]].concat()
    }
}

/// Addresses of a range, round from where `start` leads, as many as are looked at.
fn from(range: Range6, start: u128) -> impl Iterator<Item = Ipv6Addr> {
    let Range6 { first, .. } = range;
    let distance = range.distance();
    // A range of all addresses there are has one more than can be counted; no matter.
    let size = distance.saturating_add(1);
    let tries = size.min(TRIES);
    (0..tries).map(move |step| {
        let offset = (start % size).wrapping_add(step) % size;
        Ipv6Addr::from(u128::from(first) + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::state::Server;

    fn subnet(dynamic: &str) -> Arc<Subnet> {
        let ipv6 = Ipv6 {
            cidr: "fd00:10::/64".parse().unwrap(),
            dynamic: vec![dynamic.parse().unwrap()],
            dns: Vec::new(),
            ra: Default::default(),
            router: false,
        };
        let name: crate::model::Name = "lab".parse().unwrap();
        Arc::new(Subnet {
            segment: name.clone(),
            name,
            cidr: Some("10.0.10.0/24".parse().unwrap()),
            gateway: None,
            dns: Vec::new(),
            domain: None,
            dynamic: Vec::new(),
            lease: Span::seconds(3600),
            options: Default::default(),
            mode: Default::default(),
            unknown: Default::default(),
            idle: Default::default(),
            power: None,
            ipv6: Some(ipv6),
            origin: crate::model::Origin { file: "t".into(), line: 1, column: 1 },
        })
    }

    fn mac(number: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
    }

    const US: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1);

    fn bind(state: &mut State, subnet: &Arc<Subnet>, mac: Mac, at: Time) -> Option<Ipv6Addr> {
        let address = state.choose6(subnet.ipv6.as_ref().unwrap(), mac, US, at)?;
        let action = Lease6Action::Bind { subnet: subnet.clone(), address, over: None };
        let changed = state.lease6(&Lease6Request { mac, duid: Bytes::from_static(b"duid"), at, action });
        (changed.last()?.address == address).then_some(address)
    }

    #[test]
    fn every_address_is_given_once_and_found_again() {
        let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
        let subnet = subnet("fd00:10::0-fd00:10::8");
        let now = Time(1_000_000);
        // The network's own address and the daemon's are left out.
        let given: std::collections::BTreeSet<Ipv6Addr> =
            (1..=7).map(|one| bind(&mut state, &subnet, mac(one), now).unwrap()).collect();
        assert_eq!(given.len(), 7);
        assert_eq!(given.first().unwrap().to_string(), "fd00:10::2");
        assert_eq!(bind(&mut state, &subnet, mac(8), now), None, "the range is full");
        let again = bind(&mut state, &subnet, mac(3), now + Span::seconds(60)).unwrap();
        assert_eq!(state.lasting.leases6.mac_at(again), Some(mac(3)));
        let later = now + Span::seconds(3601);
        assert!(bind(&mut state, &subnet, mac(8), later).is_some(), "leases end");
        let restored = Leases6::restore(state.lasting.leases6.iter().cloned());
        assert!(restored.iter().eq(state.lasting.leases6.iter()));
    }

    #[test]
    fn a_declined_address_rests() {
        let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
        let subnet = subnet("fd00:10::2-fd00:10::3");
        let now = Time(1_000_000);
        let first = bind(&mut state, &subnet, mac(1), now).unwrap();
        let request = |action| Lease6Request { mac: mac(1), duid: Bytes::new(), at: now, action };
        assert!(state.lease6(&request(Lease6Action::Release { address: US })).is_empty());
        assert_eq!(state.lease6(&request(Lease6Action::Decline { address: first })).len(), 1);
        let second = bind(&mut state, &subnet, mac(1), now).unwrap();
        assert_ne!(first, second);
        assert_eq!(state.lease6(&request(Lease6Action::Release { address: second })).len(), 1);
        assert!(!state.has6(mac(1), second));
    }

    #[test]
    fn who_declines_everything_takes_no_range() {
        let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
        let subnet = subnet("fd00:10::2-fd00:10::5");
        let ranges = subnet.ipv6.as_ref().unwrap().dynamic.clone();
        let mut declined = Vec::new();
        for second in 0..12 {
            let at = Time(1_000_000 + second * 1000);
            let address = bind(&mut state, &subnet, mac(1), at).expect("an address");
            let action = Lease6Action::Decline { address };
            let request = Lease6Request { mac: mac(1), duid: Bytes::new(), at, action };
            assert_eq!(state.lease6(&request).len(), 1);
            declined.push(address);
        }
        let now = Time(1_012_000);
        assert_eq!(state.lasting.leases6.usage(&ranges, now), Usage { size: 4, used: 0, resting: 4 });
        assert_eq!(bind(&mut state, &subnet, mac(2), now), Some(declined[8]), "the longest-resting");
        assert_eq!(bind(&mut state, &subnet, mac(3), now), Some(declined[9]));
        assert_eq!(state.lasting.leases6.usage(&ranges, now), Usage { size: 4, used: 2, resting: 2 });
        let free = state.lasting.leases6.free(declined[8], now).unwrap();
        assert_eq!((free.state, free.expires), (LeaseState::Released, now));
        assert_eq!(state.lasting.leases6.free(declined[8], now), None);
        assert_eq!(bind(&mut state, &subnet, mac(4), now), Some(declined[8]), "freed by hand");
    }

    #[test]
    fn no_end_lies_further_ahead_than_a_lease_lasts() {
        let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
        let subnet = subnet("fd00:10::2-fd00:10::5");
        let ahead = Time(1_000_000_000_000_000);
        let bound = bind(&mut state, &subnet, mac(1), ahead).unwrap();
        let given_back = bind(&mut state, &subnet, mac(2), ahead).unwrap();
        let action = Lease6Action::Release { address: given_back };
        state.lease6(&Lease6Request { mac: mac(2), duid: Bytes::new(), at: ahead, action });
        let now = Time(1_000_000);
        let changed = state.lasting.leases6.limit(now, &|_| Some(Span::seconds(3600)));
        let ends: Vec<_> = changed.iter().map(|lease| (lease.address, lease.expires)).collect();
        let mut expected = vec![(bound, now + Span::seconds(3600)), (given_back, now)];
        expected.sort();
        assert_eq!(ends, expected);
        assert_eq!(state.lasting.leases6.of(mac(1)).map(|lease| lease.address), Some(bound));
        assert!(state.lasting.leases6.limit(now, &|_| Some(Span::seconds(3600))).is_empty());
    }

    #[test]
    fn addresses_of_this_host_are_not_lent() {
        let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
        let subnet = subnet("fd00:10::2-fd00:10::3");
        state.host = Arc::new(["fd00:10::2".parse().unwrap()].into());
        for second in 0..2 {
            let given = bind(&mut state, &subnet, mac(second), Time(1_000_000));
            assert_eq!(given, (second == 0).then(|| "fd00:10::3".parse().unwrap()));
        }
    }

    /// The network as its machines see it, and what the store has of the leases.
    #[derive(Default)]
    struct World {
        disk: std::collections::BTreeMap<Ipv6Addr, Lease6>,
        users: std::collections::BTreeMap<Ipv6Addr, (Mac, Time)>,
    }

    impl World {
        fn act(&mut self, state: &mut State, who: Mac, at: Time, action: Lease6Action) -> Vec<Lease6> {
            let changed = state.lease6(&Lease6Request { mac: who, duid: Bytes::new(), at, action });
            self.disk.extend(changed.iter().map(|lease| (lease.address, lease.clone())));
            changed
        }

        fn bind(&mut self, state: &mut State, subnet: &Arc<Subnet>, who: Mac, at: Time) {
            let Some(address) = state.choose6(subnet.ipv6.as_ref().unwrap(), who, US, at) else { return };
            let action = Lease6Action::Bind { subnet: subnet.clone(), address, over: None };
            assert!(!self.act(state, who, at, action).is_empty(), "what was chosen can be had");
            if let Some((user, until)) = self.users.get(&address) {
                assert!(*user == who || *until <= at, "{address} of {user} was given to {who}");
            }
            self.users.retain(|_, (user, _)| *user != who);
            self.users.insert(address, (who, at + subnet.lease));
        }
    }

    proptest::proptest! {
        /// No address twice, none lost over a crash, and a returning client finds its own.
        #[test]
        fn leases_hold(steps in proptest::collection::vec((0u8..6, 1u8..8, 0u64..4000), 1..60)) {
            let mut state = State::new(Server::stand_in("10.0.10.1".parse().unwrap()));
            let subnet = subnet("fd00:10::2-fd00:10::5");
            let (mut world, mut now) = (World::default(), Time(1_700_000_000_000));
            for (kind, number, wait) in steps {
                now = now + Span::seconds(wait / 10);
                let who = mac(number);
                let held = world.users.iter().find(|(_, (user, until))| *user == who && *until > now);
                let held = held.map(|(address, _)| *address);
                match (kind, held) {
                    (0..=2, _) => world.bind(&mut state, &subnet, who, now),
                    (3, Some(address)) => {
                        world.act(&mut state, who, now, Lease6Action::Release { address });
                        world.users.remove(&address);
                    }
                    (4, Some(address)) => {
                        world.act(&mut state, who, now, Lease6Action::Decline { address });
                        world.users.remove(&address);
                    }
                    _ => state.lasting.leases6 = Leases6::restore(world.disk.values().cloned()),
                }
                for (address, (user, until)) in &world.users {
                    assert!(*until <= now || state.has6(*user, *address), "{address} of {user} was forgotten");
                }
            }
        }
    }
}
