//! Which of the cards that have an address leads to the daemon.

use std::time::Duration;

use crate::model::Mac;

/// How long the card that booted is waited for after another has an address.
const PREFERENCE: Duration = Duration::from_secs(10);

/// A card with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub mac: Mac,
    /// When it got its address, since the agent started.
    pub since: Duration,
}

/// The card to go by: the one that booted, else, some seconds later, the first that has an address. `failed` are
/// cards by which the daemon could not be reached, the latest failure last: they come after all others, and the
/// one that failed longest ago is tried again first.
pub fn choose(candidates: &[Candidate], boot: Option<Mac>, failed: &[Mac], now: Duration) -> Option<Mac> {
    let rank = |candidate: &&Candidate| {
        let failure = failed.iter().rposition(|mac| *mac == candidate.mac).map_or(0, |at| at + 1);
        (failure, Some(candidate.mac) != boot, candidate.since)
    };
    let best = candidates.iter().min_by_key(rank)?;
    let waits = boot.is_some_and(|boot| boot != best.mac && !failed.contains(&boot));
    (!waits || now >= best.since + PREFERENCE).then_some(best.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_that_booted_comes_first() {
        let mac = |last: u8| Mac::new([2, 0, 0, 0, 0, last]).unwrap();
        let at = Duration::from_secs;
        let one = Candidate { mac: mac(1), since: at(1) };
        let two = Candidate { mac: mac(2), since: at(3) };
        assert_eq!(choose(&[one, two], None, &[], at(3)), Some(mac(1)));
        assert_eq!(choose(&[one, two], Some(mac(2)), &[], at(3)), Some(mac(2)));
        assert_eq!(choose(&[one], Some(mac(2)), &[], at(3)), None, "it may still come");
        assert_eq!(choose(&[one], Some(mac(2)), &[], at(11)), Some(mac(1)));
        // The daemon is not reached by it.
        assert_eq!(choose(&[one, two], Some(mac(2)), &[mac(2)], at(12)), Some(mac(1)));
        assert_eq!(choose(&[one, two], Some(mac(2)), &[mac(2), mac(1)], at(12)), Some(mac(2)));
        assert_eq!(choose(&[one, two], Some(mac(2)), &[mac(2), mac(1), mac(2)], at(12)), Some(mac(1)));
        assert_eq!(choose(&[], Some(mac(2)), &[], at(12)), None);
    }
}
