//! Address leases as a value: which machine may have which address.
//!
//! A machine is identified by its hardware address: the stages of one boot send different client ids
//! (firmware none, iPXE 01 + MAC, systemd an RFC 4361 id), and must keep one address.

pub mod request;
mod upkeep;
mod used;

use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::desired::Subnet;
use crate::model::words::words;
use crate::model::{Mac, Span, Time};

pub use request::{LeaseAction, LeaseOutcome, LeaseRequest, Supply};
pub use upkeep::Usage;
use used::Used;

/// How long an offer keeps its address from others. Firmware asks for it within 8 seconds
/// (EDK2) and 3 (iPXE); offers to boot ROMs often die unrequested.
pub const OFFER_HOLD: Span = Span::seconds(60);

/// How long a card must have been silent before another card of its machine may take over its address.
pub const QUIET: Span = Span::seconds(30);

/// How long an address is withheld after a DECLINE, or after another host was seen using it. Where no other
/// address is left, the one withheld for longest is leased earlier.
pub const QUARANTINE: Span = Span::seconds(24 * 3600);

/// One address in use, held for an offer, or resting after a DECLINE.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub mac: Mac,
    pub client_id: Option<Bytes>,
    pub hostname: Option<String>,
    pub state: LeaseState,
    /// When the lease, the offer or the quarantine ends; for `Released` when it ended.
    pub expires: Time,
}

words! {
    /// What became of an address.
    pub enum LeaseState {
        /// Offered, not yet requested; kept in memory only.
        Offered = "offered",
        /// Acknowledged, and stored before the ACK left.
        Bound = "bound",
        /// Given back; the binding is remembered.
        Released = "released",
        /// Another host was seen using it.
        Declined = "declined",
    }
}

impl Lease {
    /// Whether the address is kept from others at `now`.
    pub fn is_active(&self, now: Time) -> bool {
        self.state != LeaseState::Released && self.expires > now
    }
}

/// Whether an address is reserved for another client. The second argument is the machine that had it last,
/// if that is not the one that asks.
pub type Reserved<'a> = &'a dyn Fn(Ipv4Addr, Option<Mac>) -> bool;

/// All leases, by address and by machine. Cloning is cheap; a change copies a few tree nodes. The
/// trees are in order, not hashed: machines of a rack and the addresses they get lie side by side, so
/// that a storm of them copies few nodes for a batch, not some for each.
///
/// What holds at any time: a machine has at most one bound address, an address is held by at
/// most one machine, offers are forgotten when they run out, and a bound address is given to
/// another machine only after its lease ran out or was given back. A resting address that is on offer
/// again rests on until it is bound.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// Bound, released and declined addresses: what the store holds.
    bindings: imbl::OrdMap<Ipv4Addr, Arc<Lease>>,
    /// The binding of a machine, running or past. Declined addresses have no machine.
    by_mac: imbl::OrdMap<Mac, Ipv4Addr>,
    offers: imbl::OrdMap<Ipv4Addr, Arc<Lease>>,
    offers_by_mac: imbl::OrdMap<Mac, Ipv4Addr>,
    offers_by_end: imbl::OrdSet<(Time, Ipv4Addr)>,
    /// Addresses that have a binding or an offer.
    used: Used,
    /// Every binding by its end, in blocks of 256 addresses: (address / 256, end, address).
    by_end: imbl::OrdSet<(u32, Time, Ipv4Addr)>,
    /// Declined bindings by the end of their rest.
    resting: imbl::OrdSet<(Time, Ipv4Addr)>,
}

impl Leases {
    /// The leases that a store kept. Should it hold two running ones of a machine (its last
    /// write was torn), the one that lasts longer stands and the other counts as given back.
    pub fn restore(stored: impl IntoIterator<Item = Lease>) -> Leases {
        let mut leases = Leases::default();
        for mut lease in stored {
            if lease.state == LeaseState::Offered {
                continue;
            }
            if lease.state != LeaseState::Declined
                && let Some(other) = leases.binding(lease.mac).cloned()
            {
                if rank(&other) >= rank(&lease) {
                    lease.state = LeaseState::Released;
                    leases.insert(lease);
                    leases.by_mac.insert(other.mac, other.address);
                    continue;
                }
                leases.insert(Lease { state: LeaseState::Released, ..(*other).clone() });
            }
            leases.insert(lease);
        }
        leases
    }

    /// Every lease and offer, by address; an offer stands before a past binding of its address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.from(Bound::Unbounded)
    }

    /// The same from an address on; no more of them are looked at than are taken.
    pub fn from(&self, first: Bound<Ipv4Addr>) -> impl Iterator<Item = &Lease> {
        let mut offers = self.offers.range((first, Bound::Unbounded)).peekable();
        let mut bindings = self.bindings.range((first, Bound::Unbounded)).peekable();
        std::iter::from_fn(move || {
            let is_offer = match (offers.peek(), bindings.peek()) {
                (Some((offered, _)), Some((bound, _))) => offered <= bound,
                (offer, _) => offer.is_some(),
            };
            let next = if is_offer { offers.next() } else { bindings.next() };
            next.map(|(_, lease)| &**lease)
        })
    }

    /// The address that is bound or offered to `mac`, else the one it had last.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        let binding = self.binding(mac);
        let bound = binding.filter(|lease| lease.state == LeaseState::Bound).map(|lease| lease.address);
        bound.or_else(|| self.offers_by_mac.get(&mac).copied()).or_else(|| binding.map(|lease| lease.address))
    }

    /// The machine that an address is bound or offered to, or that had it last.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        let bound = self.bindings.get(&address).filter(|lease| lease.state == LeaseState::Bound);
        bound
            .or_else(|| self.offers.get(&address))
            .or_else(|| self.bindings.get(&address))
            .map(|lease| lease.mac)
    }

    /// The binding of a machine, running or past.
    pub fn binding(&self, mac: Mac) -> Option<&Arc<Lease>> {
        self.bindings.get(self.by_mac.get(&mac)?)
    }

    /// The offer that waits for a machine's REQUEST.
    pub fn offer(&self, mac: Mac) -> Option<&Arc<Lease>> {
        self.offers.get(self.offers_by_mac.get(&mac)?)
    }

    /// What the store knows of an address: its running or past binding, or its quarantine.
    pub fn stored(&self, address: Ipv4Addr) -> Option<&Arc<Lease>> {
        self.bindings.get(&address)
    }

    /// The lease or offer that holds `address` at `now`.
    pub fn holder(&self, address: Ipv4Addr, now: Time) -> Option<&Arc<Lease>> {
        let active = |lease: &&Arc<Lease>| lease.is_active(now);
        let binding = self.bindings.get(&address).filter(active);
        match binding {
            Some(lease) if lease.state != LeaseState::Declined => binding,
            _ => self.offers.get(&address).filter(active).or(binding),
        }
    }

    /// Whether `mac` could have `address` at `now`, as far as leases go.
    pub fn is_free_for(&self, mac: Mac, address: Ipv4Addr, now: Time) -> bool {
        self.holder(address, now).is_none_or(|lease| lease.mac == mac && lease.state != LeaseState::Declined)
    }

    /// The dynamic address of `subnet` for `mac`: the one on offer, the one it has, the one it had, the one
    /// it asks for, one that was never leased, the one that has been free for longest, and if all are in
    /// use the one withheld for longest after a DECLINE: one client that declines, or one host that answers
    /// for every address, must not take a whole range. Addresses that old firmware can't use
    /// ([`is_awkward`]) go only to clients that have or name them. Logarithmic in the number of leases;
    /// linear only in the number of reserved addresses inside the range, in range size / 256 once no
    /// address is unused, and in the number of withheld ones.
    pub fn choose(
        &self,
        subnet: &Subnet,
        mac: Mac,
        requested: Option<Ipv4Addr>,
        now: Time,
        reserved: Reserved,
    ) -> Option<Ipv4Addr> {
        let usable = |address: &Ipv4Addr| self.is_usable(subnet, mac, *address, now, reserved);
        let fit = |address: &Ipv4Addr| !is_awkward(subnet, *address) && usable(address);
        let offered = self.offer(mac).filter(|offer| offer.is_active(now)).map(|offer| offer.address);
        let own = self.by_mac.get(&mac).copied();
        [offered, own, requested]
            .into_iter()
            .flatten()
            .find(usable)
            .or_else(|| self.never_used(subnet, &fit))
            .or_else(|| self.longest_free(subnet, now, &fit))
            .or_else(|| self.longest_resting(subnet, now, reserved))
    }

    /// Whether `mac` may have `address` as a dynamic address of `subnet`.
    pub fn is_usable(
        &self,
        subnet: &Subnet,
        mac: Mac,
        address: Ipv4Addr,
        now: Time,
        reserved: Reserved,
    ) -> bool {
        let last = self.bindings.get(&address).filter(|lease| lease.state != LeaseState::Declined);
        let other = last.map(|lease| lease.mac).filter(|last| *last != mac);
        subnet.is_dynamic_host(address) && self.is_free_for(mac, address, now) && !reserved(address, other)
    }

    fn never_used(&self, subnet: &Subnet, usable: &dyn Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        subnet.dynamic.iter().find_map(|range| {
            // A range of one or two addresses may have only .0 or .255, which `used` does not distinguish.
            if u32::from(range.last) - u32::from(range.first) < 2 {
                let unused = |address: &Ipv4Addr| !self.bindings.contains_key(address) && usable(address);
                return [range.first, range.last].into_iter().find(unused);
            }
            let mut from = Some(range.first);
            while let Some(address) = from.and_then(|from| self.used.next_unused(from)) {
                if !range.contains(address) {
                    break;
                }
                if usable(&address) {
                    return Some(address);
                }
                from = u32::from(address).checked_add(1).map(Ipv4Addr::from);
            }
            None
        })
    }

    fn longest_free(
        &self,
        subnet: &Subnet,
        now: Time,
        usable: &dyn Fn(&Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let blocks = subnet
            .dynamic
            .iter()
            .flat_map(|range| (block(range.first)..=block(range.last)).map(move |block| (range, block)));
        let oldest = blocks.filter_map(|(range, block)| {
            self.by_end
                .range((block, Time(0), Ipv4Addr::UNSPECIFIED)..=(block, now, Ipv4Addr::BROADCAST))
                .map(|(_, end, address)| (*end, *address))
                .find(|(_, address)| range.contains(*address) && usable(address))
        });
        oldest.min().map(|(_, address)| address)
    }

    /// The withheld addresses that are not on offer.
    fn longest_resting(&self, subnet: &Subnet, now: Time, reserved: Reserved) -> Option<Ipv4Addr> {
        let lendable = |address: &Ipv4Addr| {
            subnet.is_dynamic_host(*address)
                && !is_awkward(subnet, *address)
                && self.offers.get(address).is_none_or(|offer| !offer.is_active(now))
                && !reserved(*address, None)
        };
        self.resting.iter().map(|(_, address)| *address).find(lendable)
    }

    /// Forgets offers that ran out. Bindings stay: they are what a returning machine gets again.
    pub fn expire(&mut self, now: Time) {
        while let Some((end, address)) = self.offers_by_end.get_min().copied() {
            if end > now {
                break;
            }
            self.remove_offer(address);
        }
    }

    fn hold(&mut self, lease: Lease) {
        if let Some(earlier) = self.offers_by_mac.get(&lease.mac).copied() {
            self.remove_offer(earlier);
        }
        self.remove_offer(lease.address);
        self.used.insert(lease.address);
        self.offers_by_mac.insert(lease.mac, lease.address);
        self.offers_by_end.insert((lease.expires, lease.address));
        self.offers.insert(lease.address, Arc::new(lease));
    }

    fn remove_offer(&mut self, address: Ipv4Addr) {
        let Some(offer) = self.offers.remove(&address) else { return };
        self.offers_by_mac.remove(&offer.mac);
        self.offers_by_end.remove(&(offer.expires, address));
        if !self.bindings.contains_key(&address) {
            self.used.remove(address);
        }
    }

    /// Replaces the binding of an address.
    fn insert(&mut self, lease: Lease) {
        let address = lease.address;
        if let Some(earlier) = self.bindings.get(&address).cloned() {
            self.by_end.remove(&(block(address), earlier.expires, address));
            self.resting.remove(&(earlier.expires, address));
            if self.by_mac.get(&earlier.mac) == Some(&address) {
                self.by_mac.remove(&earlier.mac);
            }
        }
        self.used.insert(address);
        self.by_end.insert((block(address), lease.expires, address));
        if lease.state != LeaseState::Declined {
            self.by_mac.insert(lease.mac, address);
        } else {
            self.resting.insert((lease.expires, address));
        }
        self.bindings.insert(address, Arc::new(lease));
    }
}

/// Order in which two bindings of one machine have a claim to be the real one.
fn rank(lease: &Lease) -> (bool, Time) {
    (lease.state == LeaseState::Bound, lease.expires)
}

/// Whether an address looks like a network or broadcast address to a client that knows only networks of 24
/// bits, as EDK2 did in 2016: in a wider one it is leased only to clients that ask for it, or if the range
/// has no other.
fn is_awkward(subnet: &Subnet, address: Ipv4Addr) -> bool {
    let wide = subnet.cidr.is_some_and(|cidr| cidr.length() < 24);
    let alone = || subnet.dynamic.iter().any(|range| range.first == address && range.last == address);
    wide && matches!(address.octets()[3], 0 | 255) && !alone()
}

fn block(address: Ipv4Addr) -> u32 {
    u32::from(address) >> 8
}

#[cfg(test)]
mod tests;
