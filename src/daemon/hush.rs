//! Keeps the timeline readable on a noisy network: the same silence towards the same machine is
//! told once in a while, not for every packet.

use std::collections::HashMap;

use crate::model::{Mac, Span, Time};
use crate::table::{Event, Stage};

/// How long a silence is not told again.
const QUIET: Span = Span::seconds(60);
/// Machines remembered at most; beyond that all are forgotten and told anew.
const MACHINES_MAX: usize = 4096;

/// What was told last of each machine.
#[derive(Debug, Default)]
pub struct Hush {
    told: HashMap<Option<Mac>, (Time, String)>,
}

impl Hush {
    /// Whether this event says what was said a moment ago.
    pub fn is_repeated(&mut self, event: &Event) -> bool {
        if event.stage != Stage::Silence {
            return false;
        }
        let repeated =
            self.told.get(&event.mac).is_some_and(|(at, text)| *text == event.text && event.at < *at + QUIET);
        if !repeated {
            if self.told.len() >= MACHINES_MAX {
                self.told.clear();
            }
            self.told.insert(event.mac, (event.at, event.text.clone()));
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(at: u64, text: &str) -> Event {
        Event::new(Time(at), Stage::Silence, text)
    }

    #[test]
    fn a_silence_is_told_once_a_minute() {
        let mut hush = Hush::default();
        assert!(!hush.is_repeated(&silence(0, "unknown machine")));
        assert!(hush.is_repeated(&silence(59_999, "unknown machine")));
        assert!(!hush.is_repeated(&silence(60_000, "unknown machine")));
        assert!(!hush.is_repeated(&silence(60_001, "malformed")));
    }

    #[test]
    fn everything_else_is_always_told() {
        let mut hush = Hush::default();
        let offer = Event { stage: Stage::Offer, ..silence(0, "offered 10.0.0.1") };
        assert!(!hush.is_repeated(&offer));
        assert!(!hush.is_repeated(&offer));
    }
}
