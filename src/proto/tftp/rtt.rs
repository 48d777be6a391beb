//! How long to wait for an acknowledgement: learnt from the client, as TCP does (RFC 6298).

use std::time::Duration;

/// The wait before anything was measured. GRUB repeats its own packets after 400 ms, iPXE after 250 ms,
/// EDK2 after 4 s: early enough for all. The start4.elf of a Raspberry Pi takes longer than half a second
/// over its first block and fails on a second copy; tftpd-hpa waits a second, too.
const FIRST: Duration = Duration::from_secs(1);
/// Never less: firmware polls its card between other work.
const LEAST: Duration = Duration::from_millis(250);
/// Measurements never make the first wait longer than this.
const MOST_LEARNT: Duration = Duration::from_secs(4);
/// Doubling ends here.
const MOST: Duration = Duration::from_secs(8);

/// The estimate, and how often the present wait was already doubled.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    smoothed: Option<Duration>,
    deviation: Duration,
    doublings: u32,
    most: Duration,
}

impl Patience {
    /// If the client named a time-out, no wait is longer; but none is so short that a request with a forged
    /// source address could flood the address's owner.
    pub(super) fn new(timeout: Option<Duration>) -> Patience {
        let most = timeout.map_or(MOST, |named| named.clamp(LEAST, MOST));
        Patience { smoothed: None, deviation: Duration::ZERO, doublings: 0, most }
    }

    /// The current wait.
    pub(super) fn wait(&self) -> Duration {
        let learnt = self.smoothed.map_or(FIRST, |smoothed| smoothed + self.deviation * 4);
        let first = learnt.clamp(LEAST, MOST_LEARNT);
        first.saturating_mul(1 << self.doublings.min(8)).min(self.most)
    }

    /// Time from sending to acknowledgement as it usually is.
    pub(super) fn usual(&self) -> Duration {
        self.smoothed.unwrap_or(FIRST)
    }

    /// Something sent once was acknowledged after `sample`.
    pub(super) fn learn(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.deviation = sample / 2;
            }
            Some(smoothed) => {
                self.deviation = (self.deviation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    pub(super) fn double(&mut self) {
        self.doublings = self.doublings.saturating_add(1);
    }

    /// The client made progress: back to the wait without doubling.
    pub(super) fn reset(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let mut patience = Patience::new(None);
        let waits: Vec<u128> = (0..7)
            .map(|_| {
                let wait = patience.wait().as_millis();
                patience.double();
                wait
            })
            .collect();
        assert_eq!(waits, [1000, 2000, 4000, 8000, 8000, 8000, 8000]);
        patience.reset();
        assert_eq!(patience.wait(), FIRST);
        assert_eq!(Patience::new(Some(Duration::from_secs(1))).wait(), FIRST);
        assert_eq!(Patience::new(Some(Duration::from_millis(10))).wait(), LEAST);
    }

    #[test]
    fn a_fast_client_is_waited_for_less_long_than_a_slow_one() {
        let (mut fast, mut slow) = (Patience::new(None), Patience::new(None));
        for _ in 0..20 {
            fast.learn(Duration::from_micros(80));
            slow.learn(Duration::from_millis(900));
        }
        assert_eq!(fast.wait(), LEAST);
        assert!((900..1200).contains(&slow.wait().as_millis()), "{:?}", slow.wait());
        assert!(fast.usual() < Duration::from_millis(1));
    }
}
