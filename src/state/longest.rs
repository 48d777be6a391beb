//! The longest lease that was given and may still run. A lease that ends later was set by a clock that was
//! ahead, and is shortened (`State::limit_leases`). A manifest that makes leases shorter changes none that
//! was given before.

use serde::{Deserialize, Serialize};

use super::State;
use crate::model::{Span, Time};

/// The name of the stored note that holds a [`Longest`].
pub const NOTE: &str = "longest-lease";

/// One length for all subnets: a subnet may get another name or another range while its leases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longest {
    /// In milliseconds.
    span: u64,
    /// When the last lease of this length ends, in milliseconds since the epoch; nothing as long as a
    /// subnet gives such leases.
    until: Option<u64>,
}

impl Longest {
    /// Of a stored note; a damaged one says nothing.
    pub fn of_note(note: &[u8]) -> Option<Longest> {
        serde_json::from_slice(note).ok()
    }

    pub fn note(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("JSON holds numbers")
    }

    pub fn span(&self) -> Span {
        Span(self.span)
    }

    /// From `now` on leases of this length are given.
    fn next(self, longest: Span, now: Time) -> Longest {
        let Longest { span, until } = self;
        match until {
            _ if longest.0 >= span => Longest { span: longest.0, until: None },
            None => Longest { span, until: Some((now + Span(span)).0) },
            Some(end) if end < now.0 => Longest { span: longest.0, until: None },
            Some(_) => self,
        }
    }
}

impl State {
    /// Takes note of the leases that the subnets give from `now` on; true if that is to be stored.
    pub fn note_longest(&mut self, now: Time) -> bool {
        let given = self.desired.subnets.values().map(|subnet| subnet.lease).max();
        let next = match (self.lasting.longest, given) {
            (Some(known), given) => Some(known.next(given.unwrap_or_default(), now)),
            (None, Some(given)) => Some(Longest { span: given.0, until: None }),
            (None, None) => None,
        };
        let is_news = next != self.lasting.longest;
        self.lasting.longest = next;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_counts_until_its_last_lease_has_ended() {
        let day = Span::seconds(24 * 3600);
        let hour = Span::seconds(3600);
        let longest = Longest { span: day.0, until: None };
        let start = Time(1_000_000);
        assert_eq!(longest.next(day, start), longest);
        let lowered = longest.next(hour, start);
        assert_eq!(lowered, Longest { span: day.0, until: Some((start + day).0) });
        assert_eq!(lowered.next(hour, start + hour), lowered, "not from each start anew");
        assert_eq!(lowered.next(hour, start + day + hour), Longest { span: hour.0, until: None });
        assert_eq!(lowered.next(day, start + hour), longest);
        // The subnets are gone for a while.
        assert_eq!(longest.next(Span(0), start).span(), day);
        assert_eq!(Longest::of_note(&lowered.note()), Some(lowered));
        assert_eq!(Longest::of_note(b""), None);
    }
}
