//! Which start of an agent speaks for each network card.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Mac;
use crate::state::life::AgentReport;

/// A start that was heard within this time may still run. A machine that was restarted takes longer than a request
/// that was under way when it was.
const AT_A_TIME: Duration = Duration::from_secs(90);
/// So long after the last sign of two, one is believed again.
const CONFLICT: Duration = Duration::from_secs(300);
/// Cards that are remembered at most; of more, those are forgotten that were silent longest.
const CARDS_MAX: usize = 1 << 16;

/// What a message shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One agent speaks for the card.
    Alone,
    /// Two do, as it was known already.
    Conflict,
    NewConflict,
}

/// The agents that speak for each card.
#[derive(Default)]
pub(super) struct Speakers(Mutex<HashMap<Mac, Speaker>>);

struct Speaker {
    boot_id: String,
    last: Instant,
    /// The start before it.
    former: Option<(String, Instant)>,
    conflict: Option<Instant>,
    hello: Option<AgentReport>,
}

impl Speakers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Mac, Speaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start of an agent sent a message. A first hello takes the place of the start before it.
    pub(super) fn hear(&self, card: Mac, boot_id: &str, is_hello: bool) -> Heard {
        self.hear_at(card, boot_id, is_hello, Instant::now())
    }

    fn hear_at(&self, card: Mac, boot_id: &str, is_hello: bool, now: Instant) -> Heard {
        let mut all = self.lock();
        if all.len() >= CARDS_MAX && !all.contains_key(&card) {
            all.retain(|_, speaker| now.duration_since(speaker.last) < CONFLICT);
        }
        let fresh =
            || Speaker { boot_id: boot_id.to_owned(), last: now, former: None, conflict: None, hello: None };
        let speaker = all.entry(card).or_insert_with(fresh);
        let is_near = |at: Instant, most: Duration| now.duration_since(at) < most;
        if speaker.boot_id == boot_id {
            speaker.last = now;
        } else {
            let came_back = speaker.former.as_ref().is_some_and(|(former, _)| former == boot_id);
            let is_other_near = is_near(speaker.last, AT_A_TIME);
            if is_other_near && (came_back || !is_hello) {
                let is_new = speaker.conflict.is_none_or(|at| !is_near(at, CONFLICT));
                speaker.conflict = Some(now);
                return if is_new { Heard::NewConflict } else { Heard::Conflict };
            }
            let former = std::mem::replace(&mut speaker.boot_id, boot_id.to_owned());
            speaker.former = Some((former, speaker.last));
            (speaker.last, speaker.hello) = (now, None);
        }
        match speaker.conflict {
            Some(at) if is_near(at, CONFLICT) => Heard::Conflict,
            _ => Heard::Alone,
        }
    }

    /// Whether this start is the one that spoke last for the card.
    pub(super) fn is_speaker(&self, card: Mac, boot_id: &str) -> bool {
        self.lock().get(&card).is_none_or(|speaker| speaker.boot_id == boot_id)
    }

    pub(super) fn said_hello(&self, card: Mac, boot_id: &str, report: AgentReport) {
        if let Some(speaker) = self.lock().get_mut(&card).filter(|speaker| speaker.boot_id == boot_id) {
            speaker.hello = Some(report);
        }
    }

    /// What this start said of the hardware, if this daemon heard it.
    pub(super) fn last_hello(&self, card: Mac, boot_id: &str) -> Option<AgentReport> {
        self.lock().get(&card).filter(|speaker| speaker.boot_id == boot_id)?.hello.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_at_a_time_neither_is_believed() {
        let speakers = Speakers::default();
        let card: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let start = Instant::now();
        let mut at = start;
        let mut hear = |boot_id: &str, is_hello: bool, later: u64| {
            at += Duration::from_secs(later);
            speakers.hear_at(card, boot_id, is_hello, at)
        };
        assert_eq!(hear("a", true, 0), Heard::Alone);
        assert_eq!(hear("a", false, 1), Heard::Alone);
        // It was restarted.
        assert_eq!(hear("b", true, 1), Heard::Alone);
        assert_eq!(hear("b", false, 1), Heard::Alone);
        // And yet the first speaks again.
        assert_eq!(hear("a", false, 1), Heard::NewConflict);
        assert_eq!(hear("b", false, 1), Heard::Conflict);
        assert_eq!(hear("a", true, 1), Heard::Conflict);
        // One of them went away.
        assert_eq!(hear("b", false, 301), Heard::Alone);
        assert!(speakers.is_speaker(card, "b") && !speakers.is_speaker(card, "a"));
    }

    #[test]
    fn sessions_go_on_after_a_restart_of_the_daemon() {
        let speakers = Speakers::default();
        let card: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let now = Instant::now();
        assert_eq!(speakers.hear_at(card, "a", false, now), Heard::Alone);
        assert!(speakers.last_hello(card, "a").is_none());
        let other = now + Duration::from_secs(2);
        assert_eq!(speakers.hear_at(card, "b", false, other), Heard::NewConflict);
    }
}
