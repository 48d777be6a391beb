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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One agent speaks for the card.
    Alone,
    /// Two do, as it was known already.
    Conflict,
    /// Both, for people: what is known of each.
    NewConflict([String; 2]),
    /// Since the daemon's start nobody spoke for it, and what is stored is of another start: it has to say hello.
    Unknown,
}

/// A message of a start of the agent.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub boot_id: &'a str,
    pub is_hello: bool,
    /// Who sends it, for people.
    pub from: &'a str,
}

/// What is stored of the machine with a card: which start reported last, and whether two showed the card.
#[derive(Clone, Copy, Default)]
pub(super) struct Stored<'a> {
    pub start: Option<&'a str>,
    pub is_contested: bool,
}

/// The agents that speak for each card.
#[derive(Default)]
pub(super) struct Speakers(Mutex<HashMap<Mac, Speaker>>);

struct Speaker {
    boot_id: String,
    /// Who it is, for people.
    who: String,
    last: Instant,
    /// The start before it, and who that is.
    former: Option<(String, String)>,
    conflict: Option<Instant>,
    hello: Option<AgentReport>,
}

impl Speakers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Mac, Speaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start of an agent sent a message. A first hello takes the place of the start before it.
    pub(super) fn hear(&self, card: Mac, message: Message<'_>, stored: Stored<'_>) -> Heard {
        self.hear_at(card, message, stored, Instant::now())
    }

    fn hear_at(&self, card: Mac, message: Message<'_>, stored: Stored<'_>, now: Instant) -> Heard {
        let Message { boot_id, is_hello, from } = message;
        let mut all = self.lock();
        if !all.contains_key(&card) {
            let is_other = stored.start.is_some_and(|start| start != boot_id);
            if is_other && !is_hello {
                return Heard::Unknown;
            }
            if all.len() >= CARDS_MAX {
                all.retain(|_, speaker| now.duration_since(speaker.last) < CONFLICT);
            }
        }
        let fresh = || Speaker {
            boot_id: boot_id.to_owned(),
            who: from.to_owned(),
            last: now,
            former: stored.start.map(|start| (start.to_owned(), String::new())),
            conflict: stored.is_contested.then_some(now),
            hello: None,
        };
        let speaker = all.entry(card).or_insert_with(fresh);
        let is_near = |at: Instant, most: Duration| now.duration_since(at) < most;
        if speaker.boot_id == boot_id {
            speaker.last = now;
            if is_hello {
                speaker.who = from.to_owned();
            }
        } else {
            let came_back = speaker.former.as_ref().filter(|(former, _)| former == boot_id);
            if is_near(speaker.last, AT_A_TIME) && (came_back.is_some() || !is_hello) {
                let is_new = speaker.conflict.is_none_or(|at| !is_near(at, CONFLICT));
                // A hello says more of a machine than its other messages.
                let former = came_back.map(|(_, who)| who.clone()).filter(|who| !is_hello && !who.is_empty());
                let both = [speaker.who.clone(), former.unwrap_or_else(|| from.to_owned())];
                speaker.conflict = Some(now);
                return if is_new { Heard::NewConflict(both) } else { Heard::Conflict };
            }
            let former = std::mem::replace(&mut speaker.boot_id, boot_id.to_owned());
            let who = std::mem::replace(&mut speaker.who, from.to_owned());
            speaker.former = Some((former, who));
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

    fn of(boot_id: &str, is_hello: bool) -> (String, bool) {
        (boot_id.to_owned(), is_hello)
    }

    /// Speakers, and what they hear so many seconds after the message before.
    struct Ear {
        speakers: Speakers,
        at: Instant,
    }

    impl Ear {
        fn new() -> Ear {
            Ear { speakers: Speakers::default(), at: Instant::now() }
        }

        fn hear(&mut self, (boot_id, is_hello): (String, bool), later: u64, stored: Stored<'_>) -> Heard {
            self.at += Duration::from_secs(later);
            let from = format!("{boot_id} at 10.0.0.{}", boot_id.len());
            let message = Message { boot_id: &boot_id, is_hello, from: &from };
            self.speakers.hear_at(card(), message, stored, self.at)
        }
    }

    fn card() -> Mac {
        "52:54:00:aa:00:01".parse().unwrap()
    }

    #[test]
    fn of_two_at_a_time_neither_is_believed() {
        let mut ear = Ear::new();
        let mut hear =
            |boot_id: &str, is_hello, later| ear.hear(of(boot_id, is_hello), later, Stored::default());
        assert_eq!(hear("a", true, 0), Heard::Alone);
        assert_eq!(hear("a", false, 1), Heard::Alone);
        // It was restarted.
        assert_eq!(hear("b2", true, 1), Heard::Alone);
        assert_eq!(hear("b2", false, 1), Heard::Alone);
        // And yet the first speaks again.
        let both = ["b2 at 10.0.0.2", "a at 10.0.0.1"].map(str::to_owned);
        assert_eq!(hear("a", false, 1), Heard::NewConflict(both));
        assert_eq!(hear("b2", false, 1), Heard::Conflict);
        assert_eq!(hear("a", true, 1), Heard::Conflict);
        // One of them went away.
        assert_eq!(hear("b2", false, 301), Heard::Alone);
        assert!(ear.speakers.is_speaker(card(), "b2") && !ear.speakers.is_speaker(card(), "a"));
    }

    #[test]
    fn sessions_go_on_after_a_restart_of_the_daemon() {
        for stored in [Stored::default(), Stored { start: Some("a"), is_contested: false }] {
            let mut ear = Ear::new();
            assert_eq!(ear.hear(of("a", false), 0, stored), Heard::Alone);
            assert!(ear.speakers.last_hello(card(), "a").is_none());
            assert!(matches!(ear.hear(of("b", false), 2, stored), Heard::NewConflict(_)));
        }
    }

    /// What is stored says who speaks: a start of before it does not become the one by speaking first.
    #[test]
    fn a_former_start_is_not_believed_after_a_restart_of_the_daemon() {
        let stored = Stored { start: Some("b"), is_contested: false };
        let mut ear = Ear::new();
        assert_eq!(ear.hear(of("a", false), 0, stored), Heard::Unknown);
        assert_eq!(ear.hear(of("b", false), 1, stored), Heard::Alone);
        assert!(matches!(ear.hear(of("a", false), 1, stored), Heard::NewConflict(_)));
        // It says hello, as it is asked to: the other is there as well.
        let mut ear = Ear::new();
        assert_eq!(ear.hear(of("a", true), 0, stored), Heard::Alone);
        assert!(matches!(ear.hear(of("b", false), 1, stored), Heard::NewConflict(_)));
        // A machine that was restarted meanwhile.
        let mut ear = Ear::new();
        assert_eq!(ear.hear(of("c", true), 0, stored), Heard::Alone);
        assert_eq!(ear.hear(of("c", false), 1, stored), Heard::Alone);
    }

    #[test]
    fn two_stay_two_over_a_restart_of_the_daemon() {
        let stored = Stored { start: Some("a"), is_contested: true };
        let mut ear = Ear::new();
        assert_eq!(ear.hear(of("a", true), 0, stored), Heard::Conflict);
        assert_eq!(ear.hear(of("a", true), 299, stored), Heard::Conflict);
        assert_eq!(ear.hear(of("a", true), 2, stored), Heard::Alone);
    }
}
