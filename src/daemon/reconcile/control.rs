//! The orders that the daemon got about following its source; they survive restarts.

use serde::{Deserialize, Serialize};

use crate::model::{Name, SourceCondition, Span, Time};

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
    /// `None` for an only source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    revision: String,
    reason: String,
}

impl Control {
    /// The orders in a stored note about these sources. One that can't be read may have suspended them: that holds
    /// until a person resumes it.
    pub(super) fn of_note<'a>(
        note: Option<&[u8]>,
        sources: impl ExactSizeIterator<Item = &'a Name>,
    ) -> Control {
        let Some(note) = note else { return Control::default() };
        let read = serde_json::from_slice(note).map(|control: Control| control.with_sources(sources));
        read.unwrap_or_else(|_| {
            let reason = "the note in the state directory about suspended, pinned and rejected revisions is \
                          damaged; look at `voldemortctl get revisions`, then `voldemortctl resume` or `voldemortctl pin`";
            Control { suspended: Some(Suspension { reason: reason.into(), until: None }), ..Control::default() }
        })
    }
}

impl Control {
    /// Versions until November 2026 noted a rejected revision of one of several sources as `lab:main@sha1:…`.
    fn with_sources<'a>(mut self, sources: impl ExactSizeIterator<Item = &'a Name>) -> Control {
        if sources.len() < 2 {
            return self;
        }
        let names: Vec<&Name> = sources.collect();
        for one in self.rejected.iter_mut().filter(|one| one.source.is_none()) {
            let own = |name: &&&Name| {
                one.revision.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(':'))
            };
            if let Some(name) = names.iter().find(own) {
                one.revision.drain(..=name.as_str().len());
                one.source = Some(name.to_string());
            }
        }
        self
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

    pub(super) fn reject(&mut self, source: Option<&Name>, revision: String, reason: String) {
        let source = source.map(ToString::to_string);
        self.rejected.retain(|one| one.source != source || one.revision != revision);
        self.rejected.push(Rejection { source, revision, reason });
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

    /// Why this revision of a source is not adopted.
    pub(super) fn rejection(&self, source: Option<&Name>, revision: &str) -> Option<Pause> {
        let source = source.map(Name::as_str);
        let found =
            self.rejected.iter().find(|one| one.source.as_deref() == source && one.revision == revision)?;
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
        assert_eq!(Control::of_note(None, [].iter()), Control::default());
        for note in [&b""[..], b"{", b"{\"pinned\":7}"] {
            let Pause { condition, reason } =
                Control::of_note(Some(note), [].iter()).pause(Time(u64::MAX)).unwrap();
            assert!(condition == SourceCondition::Suspended && reason.contains("is damaged"), "{reason}");
        }
    }

    #[test]
    fn only_the_latest_rejections_are_remembered() {
        let mut control = Control::default();
        (0..30).for_each(|number| control.reject(None, number.to_string(), String::new()));
        assert!(control.rejection(None, "29").is_some() && control.rejection(None, "9").is_none());
    }

    #[test]
    fn two_sources_may_have_revisions_of_one_name() {
        let [lab, net] = ["lab", "net"].map(|name| name.parse::<Name>().unwrap());
        let mut control = Control::default();
        control.reject(Some(&lab), "main@sha1:a".into(), String::new());
        let stored = serde_json::to_vec(&control).unwrap();
        // As it was noted until November 2026.
        let former = br#"{"rejected":[{"revision":"lab:main@sha1:a","reason":""}]}"#;
        for note in [&stored[..], former] {
            let read = Control::of_note(Some(note), [&lab, &net].into_iter());
            assert_eq!(read, control);
            assert!(read.rejection(Some(&lab), "main@sha1:a").is_some());
            assert!(read.rejection(Some(&net), "main@sha1:a").is_none());
        }
        // A branch of an only source may be called so.
        let alone = Control::of_note(Some(former), [&lab].into_iter());
        assert!(alone.rejection(None, "lab:main@sha1:a").is_some());
    }
}
