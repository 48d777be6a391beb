//! What happens to leases without a client: the clock is set back, an operator frees an address, a range
//! is counted.

use std::net::Ipv4Addr;

use super::{Lease, LeaseOutcome, LeaseState, Leases, OFFER_HOLD, QUARANTINE};
use crate::desired::Subnet;
use crate::model::{Mac, Span, Time};

/// Resting addresses of one hardware address from which on it counts as a proxy: a router that answers
/// every ARP question (RFC 1027), not a machine that uses them all.
const PROXY: usize = 3;

/// How a dynamic range is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Addresses in the range.
    pub size: u128,
    /// Of these: leased or on offer.
    pub used: u128,
    /// Of these: resting after a DECLINE or a conflict.
    pub resting: u128,
}

impl Usage {
    /// Whether the next client would get a withheld address, or none.
    pub fn is_exhausted(&self) -> bool {
        self.size > 0 && self.used + self.resting >= self.size
    }
}

impl Leases {
    /// Whether `mac` was seen to use so many addresses that it rather answers for others. What it
    /// answers for from then on does not rest.
    pub fn is_proxy(&self, mac: Mac, now: Time) -> bool {
        let its = |(end, address): &&(Time, Ipv4Addr)| {
            *end > now && self.stored(*address).is_some_and(|lease| lease.mac == mac)
        };
        self.resting.iter().filter(its).take(PROXY).count() == PROXY
    }

    /// Ends whatever keeps an address from others; what is to be stored.
    pub fn free(&mut self, address: Ipv4Addr, now: Time) -> LeaseOutcome {
        let offered = self.offers.contains_key(&address);
        self.remove_offer(address);
        let held = self.stored(address).filter(|lease| lease.is_active(now)).cloned();
        match held {
            // A declined address keeps no machine.
            Some(lease) => {
                let state = match lease.state {
                    LeaseState::Declined => LeaseState::Declined,
                    _ => LeaseState::Released,
                };
                self.replace(Lease { state, expires: now, ..(*lease).clone() })
            }
            None => LeaseOutcome { address: offered.then_some(address), changed: Vec::new() },
        }
    }

    /// Shortens leases that end later than they could have been set by the clock as it is now: it was ahead
    /// when they were set. `lease` gives the lease time of an address, `None` for addresses that are not to
    /// be changed. Returns what is to be stored.
    pub fn limit(&mut self, now: Time, lease: &dyn Fn(Ipv4Addr) -> Option<Span>) -> Vec<Lease> {
        let latest = |held: &Lease| {
            let longest = lease(held.address)?;
            Some(match held.state {
                LeaseState::Bound => now + longest,
                LeaseState::Declined => now + QUARANTINE,
                // Its end is in the past.
                LeaseState::Released => now,
                LeaseState::Offered => now + OFFER_HOLD,
            })
        };
        let late = |held: &Lease| latest(held).filter(|latest| held.expires > *latest);
        let offers = self.offers.values().filter(|offer| late(offer).is_some());
        let offers: Vec<Ipv4Addr> = offers.map(|offer| offer.address).collect();
        offers.into_iter().for_each(|address| self.remove_offer(address));
        let bindings = self.bindings.values();
        let changed: Vec<Lease> =
            bindings.filter_map(|held| Some(Lease { expires: late(held)?, ..(**held).clone() })).collect();
        for changed in &changed {
            // Several past bindings may be one machine's: the one that counts stays the same.
            let current = self.by_mac.get(&changed.mac).copied();
            self.insert(changed.clone());
            if let Some(current) = current.filter(|_| changed.state != LeaseState::Declined) {
                self.by_mac.insert(changed.mac, current);
            }
        }
        changed
    }

    /// How the dynamic ranges of a subnet are used. Linear in the number of leases and offers there.
    pub fn usage(&self, subnet: &Subnet, now: Time) -> Usage {
        let mut usage = Usage::default();
        for range in &subnet.dynamic {
            usage.size += u128::from(range.len());
            let span = range.first..=range.last;
            for (address, lease) in self.bindings.range(span.clone()) {
                let offered = self.offers.get(address).is_some_and(|offer| offer.is_active(now));
                match lease.state {
                    _ if offered => {}
                    LeaseState::Declined if lease.is_active(now) => usage.resting += 1,
                    _ if lease.is_active(now) => usage.used += 1,
                    _ => {}
                }
            }
            let offers = self.offers.range(span).filter(|(_, offer)| offer.is_active(now));
            usage.used += offers.count() as u128;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bind, dynamic, ip, mac, offer, request, subnet};
    use super::super::{LeaseAction, LeaseRequest};
    use super::*;

    const ALL: &dyn Fn(Ipv4Addr) -> Option<Span> = &|_| Some(Span::seconds(3600));

    fn apply(leases: &mut Leases, request: &LeaseRequest) -> LeaseOutcome {
        leases.apply(request, &|_, _| false)
    }

    /// One client that declines whatever it is given, for as long as it is given something.
    #[test]
    fn who_declines_everything_takes_no_range() {
        let net = subnet(&["10.0.0.10-10.0.0.13"]);
        let mut leases = Leases::default();
        for second in 0..20 {
            let address = offer(&mut leases, &net, 1, second).expect("an address");
            assert_eq!(
                apply(&mut leases, &request(1, second, LeaseAction::Decline { address })).changed.len(),
                1
            );
        }
        let usage = leases.usage(&net, Time(20_000));
        assert_eq!(usage, Usage { size: 4, used: 0, resting: 4 });
        assert!(usage.is_exhausted());
        // The last four seconds declined .10 to .13 in this order again.
        let restored = Leases::restore(leases.iter().cloned());
        for mut leases in [leases, restored] {
            assert_eq!(offer(&mut leases, &net, 2, 20), Some(ip("10.0.0.10")), "the longest-resting");
            assert_eq!(offer(&mut leases, &net, 3, 20), Some(ip("10.0.0.11")), "not what is on offer");
            assert_eq!(bind(&mut leases, &net, 2, 21, "10.0.0.10").changed.len(), 1);
            assert_eq!(leases.usage(&net, Time(21_000)), Usage { size: 4, used: 2, resting: 2 });
            assert!(bind(&mut leases, &net, 4, 21, "10.0.0.12").changed.is_empty(), "not without an offer");
            // Another host was seen using the address on offer: it is withheld again, behind the others.
            apply(&mut leases, &request(99, 22, LeaseAction::Conflict { address: ip("10.0.0.11") }));
            assert!(bind(&mut leases, &net, 3, 23, "10.0.0.11").changed.is_empty());
            assert_eq!(offer(&mut leases, &net, 3, 24), Some(ip("10.0.0.12")));
        }
    }

    #[test]
    fn rest_is_kept_while_anything_else_is_left() {
        let net = subnet(&["10.0.0.10-10.0.0.11"]);
        let mut leases = Leases::default();
        let address = offer(&mut leases, &net, 1, 0).unwrap();
        apply(&mut leases, &request(1, 0, LeaseAction::Decline { address }));
        assert_eq!(offer(&mut leases, &net, 1, 1), Some(ip("10.0.0.11")));
        assert_eq!(bind(&mut leases, &net, 1, 1, "10.0.0.11").changed.len(), 1);
        assert_eq!(offer(&mut leases, &net, 1, 2), Some(ip("10.0.0.11")), "its own");
    }

    #[test]
    fn who_answers_for_many_addresses_is_a_proxy() {
        let net = subnet(&["10.0.0.10-10.0.0.19"]);
        let mut leases = Leases::default();
        let conflict = |leases: &mut Leases, second| {
            let address = offer(leases, &net, 1, second).unwrap();
            let seen = request(77, second, LeaseAction::Conflict { address });
            (address, apply(leases, &seen).changed.len())
        };
        for second in 0..3 {
            assert!(!leases.is_proxy(mac(77), Time(second * 1000)));
            assert_eq!(conflict(&mut leases, second).1, 1);
        }
        assert!(leases.is_proxy(mac(77), Time(3000)));
        let (address, rests) = conflict(&mut leases, 3);
        assert_eq!((address, rests), (ip("10.0.0.13"), 0), "its word counts no more");
        assert_eq!(bind(&mut leases, &net, 1, 4, "10.0.0.13").changed.len(), 1);
        assert!(!leases.is_proxy(mac(77), Time(90_000_000)), "until the rest is over");
    }

    #[test]
    fn an_operator_frees_any_address() {
        let net = subnet(&["10.0.0.10-10.0.0.12"]);
        let mut leases = Leases::default();
        bind(&mut leases, &net, 1, 0, "10.0.0.10");
        let address = offer(&mut leases, &net, 2, 0).unwrap();
        apply(&mut leases, &request(2, 0, LeaseAction::Decline { address }));
        assert_eq!(offer(&mut leases, &net, 3, 0), Some(ip("10.0.0.12")));
        assert_eq!(leases.usage(&net, Time(1000)), Usage { size: 3, used: 2, resting: 1 });
        for (last, stored) in [(10, 1), (11, 1), (12, 0), (13, 0)] {
            let address = Ipv4Addr::new(10, 0, 0, last);
            let outcome = leases.free(address, Time(1000));
            assert_eq!((outcome.changed.len(), outcome.address.is_some()), (stored, last < 13), "{last}");
            assert!(leases.holder(address, Time(1000)).is_none(), "{last}");
        }
        assert_eq!(leases.usage(&net, Time(1000)), Usage { size: 3, used: 0, resting: 0 });
        assert_eq!(leases.binding(mac(2)), None, "a declined address is nobody's, freed or not");
        assert_eq!(offer(&mut leases, &net, 1, 2), Some(ip("10.0.0.10")), "its owner may have it again");
    }

    #[test]
    fn no_end_lies_further_ahead_than_a_lease_lasts() {
        let net = subnet(&["10.0.0.10-10.0.0.14"]);
        let mut leases = Leases::default();
        let ahead = 10 * 365 * 24 * 3600;
        bind(&mut leases, &net, 1, ahead, "10.0.0.10");
        bind(&mut leases, &net, 2, ahead, "10.0.0.11");
        apply(&mut leases, &request(2, ahead, LeaseAction::Release { address: ip("10.0.0.11") }));
        bind(&mut leases, &net, 3, ahead, "10.0.0.12");
        apply(&mut leases, &request(3, ahead, LeaseAction::Decline { address: ip("10.0.0.12") }));
        assert_eq!(offer(&mut leases, &net, 4, ahead), Some(ip("10.0.0.13")));
        bind(&mut leases, &net, 5, 100, "10.0.0.14");
        let untouched = leases.stored(ip("10.0.0.14")).cloned();
        let now = Time(200_000);
        let changed = leases.limit(now, ALL);
        let ends: Vec<(u8, Time)> =
            changed.iter().map(|lease| (lease.address.octets()[3], lease.expires)).collect();
        assert_eq!(ends, [(10, now + Span::seconds(3600)), (11, now), (12, now + QUARANTINE)]);
        assert_eq!(leases.offer(mac(4)), None);
        assert_eq!(leases.stored(ip("10.0.0.14")).cloned(), untouched);
        assert!(leases.limit(now, ALL).is_empty(), "once");
        assert_eq!(offer(&mut leases, &net, 6, 4000), Some(ip("10.0.0.13")), "never used");
        assert_eq!(offer(&mut leases, &net, 7, 4000), Some(ip("10.0.0.11")), "free for longest");
        assert_eq!(offer(&mut leases, &net, 8, 4000), Some(ip("10.0.0.14")));
        assert_eq!(offer(&mut leases, &net, 9, 4000), Some(ip("10.0.0.10")), "its lease is over");
        assert_eq!(offer(&mut leases, &net, 1, 4000), Some(ip("10.0.0.12")), "and what rests comes last");
    }

    /// EDK2 of 2016 takes no address that ends in .0 or .255, whatever the mask says.
    #[test]
    fn addresses_that_old_firmware_cannot_use_are_for_who_asks() {
        let net = subnet(&["10.0.0.254-10.0.1.1"]);
        let mut leases = Leases::default();
        assert_eq!(offer(&mut leases, &net, 1, 0), Some(ip("10.0.0.254")));
        assert_eq!(offer(&mut leases, &net, 2, 0), Some(ip("10.0.1.1")));
        assert_eq!(offer(&mut leases, &net, 3, 0), None);
        let asked = LeaseAction::Offer { supply: dynamic(&net), requested: Some(ip("10.0.1.0")) };
        assert_eq!(apply(&mut leases, &request(3, 0, asked)).address, Some(ip("10.0.1.0")));
        bind(&mut leases, &net, 3, 1, "10.0.1.0");
        assert_eq!(offer(&mut leases, &net, 3, 4000), Some(ip("10.0.1.0")), "who has it keeps it");
        assert_eq!(offer(&mut leases, &net, 4, 8000), Some(ip("10.0.0.254")));
        assert_eq!(offer(&mut leases, &net, 5, 8000), Some(ip("10.0.1.1")));
        assert_eq!(offer(&mut leases, &net, 6, 8000), None, "nor is it lent again");
        let alone = subnet(&["10.0.1.255-10.0.1.255"]);
        assert_eq!(offer(&mut Leases::default(), &alone, 1, 0), Some(ip("10.0.1.255")), "written down");
    }
}
