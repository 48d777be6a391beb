//! Keeps the timeline readable on a noisy network: the same silence towards the same machine is
//! noted once in a while, not for every packet, and a flood of DHCP exchanges is thinned before
//! it washes everything else out of the timeline.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::model::{Mac, Span, Time};
use crate::state::{Event, Stage};
use crate::store::EVENTS_MAX;

/// How long a silence is not noted again.
const QUIET: Span = Span::seconds(60);
/// Machines remembered at most; beyond that all are forgotten and noted anew.
const MACHINES_MAX: usize = 4096;

/// Exchanges and files noted in one go: a quarter of what the timeline keeps.
const BURST: u64 = EVENTS_MAX / 4;
/// Exchanges and files noted a second when that is used up: a thousand machines booting in half a
/// minute stay below it.
const PER_SECOND: u64 = 200;
/// How often an event says that some were left out.
const NOTICE: Span = Span::seconds(10);

/// What was noted last of each machine, and how much of a flood.
#[derive(Debug)]
pub struct EventThrottle {
    noted: HashMap<Option<Mac>, (Time, String)>,
    /// Exchanges and files that may be noted now.
    room: u64,
    /// Until when `room` was counted.
    counted: Time,
    left_out: u64,
    noticed: Time,
}

impl Default for EventThrottle {
    fn default() -> EventThrottle {
        EventThrottle { noted: HashMap::new(), room: BURST, counted: Time(0), left_out: 0, noticed: Time(0) }
    }
}

impl EventThrottle {
    /// Whether this event says what was said a moment ago.
    pub fn is_repeated(&mut self, event: &Event) -> bool {
        if event.stage != Stage::Silence {
            return false;
        }
        let repeated = self
            .noted
            .get(&event.mac)
            .is_some_and(|(at, text)| event.text == text.as_str() && is_within(event.at, *at, QUIET));
        if !repeated {
            if self.noted.len() >= MACHINES_MAX {
                self.noted.clear();
            }
            self.noted.insert(event.mac, (event.at, event.text.to_string()));
        }
        repeated
    }

    /// Whether this is one more DHCP exchange or file than the timeline can take.
    pub fn is_flood(&mut self, event: &Event) -> bool {
        if !matches!(event.stage, Stage::Offer | Stage::Ack | Stage::File) {
            return false;
        }
        // A clock that was set back leaves nothing out.
        self.counted = self.counted.min(event.at);
        let earned = event.at.since(self.counted).as_seconds() * PER_SECOND;
        if earned > 0 {
            self.room = BURST.min(self.room.saturating_add(earned));
            self.counted = event.at;
        }
        let flood = self.room == 0;
        if flood {
            self.left_out += 1;
        } else {
            self.room -= 1;
        }
        flood
    }

    /// Says now and then how many were left out.
    pub fn notice(&mut self, now: Time) -> Option<Event> {
        if self.left_out == 0 || is_within(now, self.noticed, NOTICE) {
            return None;
        }
        self.noticed = now;
        let left_out = std::mem::take(&mut self.left_out);
        let text = format!("a flood: {left_out} exchanges or files were served and are not in the timeline");
        Some(Event::new(now, Stage::Daemon, text))
    }
}

/// Whether `now` is less than `span` after `earlier`. Not where the clock was set back since.
fn is_within(now: Time, earlier: Time, span: Span) -> bool {
    earlier <= now && now < earlier + span
}

/// How long the same fetch or refusal is not noted again. No machine boots again so soon.
const ECHO: Span = Span::seconds(1);

/// Fetches and refusals that were recorded a moment ago.
#[derive(Debug, Default)]
pub struct FetchDedup(Mutex<HashMap<u64, Time>>);

impl FetchDedup {
    /// Whether this was recorded a moment ago. A boot of the machine's own disk is always noted: it shows that
    /// an installation is over.
    pub fn is_repeated(&self, stage: Stage, address: IpAddr, what: impl Hash, now: Time) -> bool {
        if stage == Stage::LocalBoot {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (stage, address, what).hash(&mut hasher);
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= MACHINES_MAX {
            noted.clear();
        }
        let at = noted.entry(hasher.finish()).or_insert(Time(0));
        let echo = is_within(now, *at, ECHO);
        if !echo {
            *at = now;
        }
        echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fetch_is_noted_once_a_second() {
        let dedup = FetchDedup::default();
        let is_repeated = |stage, host: u8, text: &str, at| {
            dedup.is_repeated(stage, IpAddr::from([10, 0, 0, host]), text, Time(1_000_000 + at))
        };
        assert!(!is_repeated(Stage::File, 1, "a.deb", 0));
        assert!(is_repeated(Stage::File, 1, "a.deb", 999));
        assert!(!is_repeated(Stage::File, 1, "b.deb", 999) && !is_repeated(Stage::File, 2, "a.deb", 999));
        assert!(!is_repeated(Stage::Kernel, 1, "a.deb", 999));
        assert!(!is_repeated(Stage::File, 1, "a.deb", 1_000));
        assert!(!is_repeated(Stage::File, 1, "a.deb", 0), "the clock was set back");
        let refused = |path: &str, at: u64| {
            let what = (path, "not its machine");
            dedup.is_repeated(Stage::Refused, IpAddr::from([10, 0, 0, 1]), what, Time(1_000_000 + at))
        };
        assert!(!refused("a", 0) && !refused("b", 0) && refused("a", 999) && !refused("a", 1_000));
        assert!(!is_repeated(Stage::LocalBoot, 1, "disk", 0) && !is_repeated(Stage::LocalBoot, 1, "disk", 0));
        for number in 0..20_000u64 {
            is_repeated(Stage::File, 3, &number.to_string(), number * 10);
        }
        assert!(dedup.0.lock().unwrap().len() <= MACHINES_MAX);
    }

    fn silence(at: u64, text: &str) -> Event {
        Event::new(Time(at), Stage::Silence, text)
    }

    #[test]
    fn a_silence_is_noted_once_a_minute() {
        let mut throttle = EventThrottle::default();
        assert!(!throttle.is_repeated(&silence(0, "unknown machine")));
        assert!(throttle.is_repeated(&silence(59_999, "unknown machine")));
        assert!(!throttle.is_repeated(&silence(60_000, "unknown machine")));
        assert!(!throttle.is_repeated(&silence(60_001, "malformed")));
    }

    #[test]
    fn a_clock_that_is_set_back_by_hours_hides_nothing() {
        const HOURS: u64 = 5 * 3_600_000;
        let mut throttle = EventThrottle::default();
        assert!(!throttle.is_repeated(&silence(HOURS, "unknown machine")));
        assert!(!throttle.is_repeated(&silence(1, "unknown machine")));
        assert!(throttle.is_repeated(&silence(59_999, "unknown machine")));
        assert!((0..=BURST).any(|_| throttle.is_flood(&offer(HOURS))));
        assert!(throttle.notice(Time(HOURS)).is_some());
        assert!(throttle.is_flood(&offer(1)), "nothing was earned yet");
        assert!(throttle.notice(Time(1)).is_some());
        assert!(!throttle.is_flood(&offer(1_001)));
    }

    fn offer(at: u64) -> Event {
        Event { stage: Stage::Offer, ..silence(at, "offered 10.0.0.1") }
    }

    #[test]
    fn everything_else_is_always_noted() {
        let mut throttle = EventThrottle::default();
        assert!(!throttle.is_repeated(&offer(0)));
        assert!(!throttle.is_repeated(&offer(0)));
    }

    #[test]
    fn a_flood_of_exchanges_is_thinned_and_counted() {
        let mut throttle = EventThrottle::default();
        let flooded = |throttle: &mut EventThrottle, at, count: u64| {
            (0..count).filter(|_| throttle.is_flood(&offer(at))).count()
        };
        assert_eq!(flooded(&mut throttle, 1_000_000, BURST), 0);
        assert_eq!(throttle.notice(Time(1_000_000)), None);
        assert_eq!(flooded(&mut throttle, 1_000_500, 7), 7);
        assert!(!throttle.is_flood(&Event::new(Time(1_000_500), Stage::Kernel, "vmlinuz")));
        assert!(throttle.notice(Time(1_000_500)).is_some_and(|event| event.text.contains(" 7 exchanges")));
        assert_eq!(flooded(&mut throttle, 1_001_000, PER_SECOND + 1), 1);
        assert_eq!(throttle.notice(Time(1_001_000)), None);
        assert!(throttle.notice(Time(1_010_500)).is_some());
        assert_eq!(flooded(&mut throttle, 1_100_000, BURST), 0);
    }
}
