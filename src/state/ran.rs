//! How long the daemon ran, by a clock that may be set: what counts are the ticks of a running daemon, and a clock that
//! moved by more than they explain counts for nothing. Claims end by it and the budget counts by it, so that neither a
//! clock that jumps nor a daemon that was off takes a machine from anybody.

use crate::model::{Span, Time};

/// The name of the stored note.
pub const NOTE: &str = "ran";

/// A clock that moves by more between two ticks was set.
pub const JUMP: Span = Span::seconds(600);

/// After so many milliseconds it is written down: a crash makes claims last longer by no more.
const STORED_EVERY: u64 = 60_000;

/// Milliseconds that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    pub now: u64,
    stored: u64,
    /// When the last tick was; `None` since the start.
    last: Option<Time>,
}

impl Ran {
    pub fn of_note(note: Option<&[u8]>) -> Ran {
        let now = note.and_then(|note| note.try_into().ok()).map_or(0, u64::from_le_bytes);
        Ran { now, stored: now, last: None }
    }

    /// Takes a tick in; the note, if it is time to store it.
    pub fn tick(&mut self, now: Time) -> Option<Vec<u8>> {
        let since = self.last.map_or(0, |last| now.since(last).0);
        if since <= JUMP.0 {
            self.now += since;
        }
        self.last = Some(now);
        (self.now >= self.stored + STORED_EVERY).then(|| {
            self.stored = self.now;
            self.now.to_le_bytes().to_vec()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_and_rests_count_for_nothing() {
        let mut ran = Ran::default();
        let minute = 60_000;
        ran.tick(Time(1_000 * minute));
        assert!(ran.tick(Time(1_000 * minute + 10_000)).is_none());
        assert_eq!(ran.now, 10_000);
        ran.tick(Time(2_000 * minute));
        ran.tick(Time(5));
        assert_eq!(ran.now, 10_000, "forward and back");
        let note = ran.tick(Time(5 + minute)).unwrap();
        let mut later = Ran::of_note(Some(&note));
        assert_eq!(later.now, 70_000);
        later.tick(Time(9_000 * minute));
        assert_eq!((later.now, Ran::of_note(Some(b"x")).now), (70_000, 0));
    }
}
