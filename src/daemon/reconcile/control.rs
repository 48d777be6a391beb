//! The orders that the daemon got about following its source; they survive restarts.

use serde::{Deserialize, Serialize};

use crate::model::{SourceCondition, Span, Time};

/// How many rejected revisions are remembered.
const REJECTED_MAX: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Control {
    suspended: Option<Suspension>,
    pinned: Option<Pin>,
    rejected: Vec<Rejection>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Suspension {
    reason: String,
    /// Milliseconds since the epoch.
    until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pin {
    revision: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rejection {
    revision: String,
    reason: String,
}

impl Control {
    /// The orders in a stored note. One that can't be read may have suspended the source: that holds until
    /// a person resumes it.
    pub(super) fn of_note(note: Option<&[u8]>) -> Control {
        let Some(note) = note else { return Control::default() };
        serde_json::from_slice(note).unwrap_or_else(|_| {
            let reason = "the note in the state directory about suspended, pinned and rejected revisions is \
                          damaged; look at `voldemortctl get revisions`, then `voldemortctl resume` or `voldemortctl pin`";
            Control { suspended: Some(Suspension { reason: reason.into(), until: None }), ..Control::default() }
        })
    }
}

/// Why no revision of a source is adopted for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub condition: SourceCondition,
    /// In words; how it ends, too.
    pub reason: String,
}

impl Control {
    pub(super) fn suspend(&mut self, reason: String, length: Option<Span>, now: Time) {
        self.suspended = Some(Suspension { reason, until: length.map(|length| (now + length).0) });
    }

    /// Whether it was suspended.
    pub(super) fn resume(&mut self) -> bool {
        self.suspended.take().is_some()
    }

    pub(super) fn pin(&mut self, revision: String, reason: String) {
        self.pinned = Some(Pin { revision, reason });
    }

    /// Whether it was pinned.
    pub(super) fn unpin(&mut self) -> bool {
        self.pinned.take().is_some()
    }

    pub(super) fn reject(&mut self, revision: String, reason: String) {
        self.rejected.retain(|one| one.revision != revision);
        self.rejected.push(Rejection { revision, reason });
        let excess = self.rejected.len().saturating_sub(REJECTED_MAX);
        self.rejected.drain(..excess);
    }

    pub(super) fn pinned(&self) -> Option<&str> {
        self.pinned.as_ref().map(|pin| pin.revision.as_str())
    }

    /// When the suspension ends by itself.
    pub(super) fn ends(&self) -> Option<Time> {
        self.suspended.as_ref()?.until.map(Time)
    }

    /// Why no revision of the source is adopted at `now`.
    pub(super) fn pause(&self, now: Time) -> Option<Pause> {
        let because = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
        if let Some(Pin { revision, reason }) = &self.pinned {
            let reason = format!("pinned to {revision}{}; `voldemortctl unpin` ends it", because(reason));
            return Some(Pause { condition: SourceCondition::Pinned, reason });
        }
        let Suspension { reason, until } = self.suspended.as_ref()?;
        let reason = match until.map(Time) {
            Some(until) if until <= now => return None,
            Some(until) => format!("until {until}{}", because(reason)),
            None => format!("until `voldemortctl resume`{}", because(reason)),
        };
        Some(Pause { condition: SourceCondition::Suspended, reason })
    }

    /// Why this revision is not adopted.
    pub(super) fn rejection(&self, revision: &str) -> Option<Pause> {
        let found = self.rejected.iter().find(|one| one.revision == revision)?;
        let reason = format!("it was rejected: {}", found.reason);
        Some(Pause { condition: SourceCondition::Rejected, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_ends_by_itself_and_a_pin_does_not() {
        let mut control = Control::default();
        control.suspend("moving racks".into(), Some(Span::seconds(60)), Time(0));
        assert!(control.pause(Time(59_999)).is_some_and(|pause| pause.reason.contains("moving racks")));
        assert_eq!(control.pause(Time(60_000)), None);
        control.pin("main@sha1:a".into(), String::new());
        assert_eq!(control.pause(Time(60_000)).map(|pause| pause.condition), Some(SourceCondition::Pinned));
        let stored = serde_json::to_vec(&control).unwrap();
        assert_eq!(serde_json::from_slice::<Control>(&stored).unwrap(), control);
        assert!(control.unpin() && !control.unpin());
    }

    #[test]
    fn a_note_that_can_not_be_read_suspends() {
        assert_eq!(Control::of_note(None), Control::default());
        for note in [&b""[..], b"{", b"{\"pinned\":7}"] {
            let Pause { condition, reason } = Control::of_note(Some(note)).pause(Time(u64::MAX)).unwrap();
            assert!(condition == SourceCondition::Suspended && reason.contains("is damaged"), "{reason}");
        }
    }

    #[test]
    fn only_the_latest_rejections_are_remembered() {
        let mut control = Control::default();
        (0..30).for_each(|number| control.reject(number.to_string(), String::new()));
        assert!(control.rejection("29").is_some() && control.rejection("9").is_none());
    }
}
