//! A set of addresses that finds the next one it does not hold in logarithmic time.

use std::net::Ipv4Addr;

/// Kept as maximal runs: first address to last, never touching each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    runs: imbl::OrdMap<u32, u32>,
}

impl Used {
    /// Adds an address. With the first or last leased address of a block of 256 its neighbour in .0 or .255
    /// is added, which [`super::Leases`] leases only to clients that ask for it: as gaps, two in every
    /// block, they would make the search for an unused address linear.
    pub(super) fn insert(&mut self, address: Ipv4Addr) {
        self.insert_one(address.into());
        match address.octets() {
            [a, b, c, 1] => self.insert_one(Ipv4Addr::new(a, b, c, 0).into()),
            [a, b, c, 254] => self.insert_one(Ipv4Addr::new(a, b, c, 255).into()),
            _ => {}
        }
    }

    fn insert_one(&mut self, address: u32) {
        let (mut first, mut last) = (address, address);
        if let Some((before, end)) = self.run_from(address) {
            if end >= address {
                return;
            }
            if end.checked_add(1) == Some(address) {
                first = before;
            }
        }
        if let Some(after) = address.checked_add(1)
            && let Some(end) = self.runs.remove(&after)
        {
            last = end;
        }
        self.runs.insert(first, last);
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        let address = u32::from(address);
        let Some((first, last)) = self.run_from(address) else { return };
        if last < address {
            return;
        }
        self.runs.remove(&first);
        if first < address {
            self.runs.insert(first, address - 1);
        }
        if address < last {
            self.runs.insert(address + 1, last);
        }
    }

    /// The lowest address at or after `from` that is not in the set.
    pub(super) fn next_unused(&self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        let from = u32::from(from);
        match self.run_from(from) {
            Some((_, last)) if last >= from => last.checked_add(1).map(Ipv4Addr::from),
            _ => Some(from.into()),
        }
    }

    /// The run that begins at or last before `address`.
    fn run_from(&self, address: u32) -> Option<(u32, u32)> {
        self.runs.get_prev(&address).map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u32..24), 0..200)) {
            let top = u32::MAX - 11;
            let (mut used, mut plain) = (Used::default(), BTreeSet::new());
            for (add, number) in steps {
                let address = if number < 12 { number } else { top + (number - 12) };
                if add {
                    used.insert_one(address);
                    plain.insert(address);
                } else {
                    used.remove(address.into());
                    plain.remove(&address);
                }
                for from in (0..12).chain(top..=u32::MAX) {
                    let expected = (from..=u32::MAX).find(|address| !plain.contains(address));
                    prop_assert_eq!(used.next_unused(from.into()).map(u32::from), expected);
                }
                for (one, two) in used.runs.iter().zip(used.runs.iter().skip(1)) {
                    prop_assert!(one.1 + 1 < *two.0, "runs touch: {:?} {:?}", one, two);
                }
            }
        }
    }
}
