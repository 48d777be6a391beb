//! Identities (a client id, a UUID) that two cards showed at the same time: no card is taken for a machine
//! by them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::State;
use crate::model::{Mac, Name, Span, Time};

/// The name of the stored note that holds all contests: a restart must not make the first of two cards
/// the right one again.
pub const NOTE: &str = "contested";

/// How long an identity that two cards showed is ignored.
const CONTEST: Span = Span::seconds(24 * 3600);

/// Two cards that showed the mark of one machine at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    pub cards: [Mac; 2],
    pub since: Time,
}

/// One as it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    cards: [String; 2],
    since: u64,
}

impl Contest {
    /// What a person has to know of it.
    pub fn text(&self, machine: &Name) -> String {
        let [one, other] = self.cards;
        format!(
            "{one} and {other} show the client id or UUID of machine {machine} at the same time: neither counts \
             for it by that; write the hardware addresses of the right machine as `mac` of machine {machine}"
        )
    }
}

/// All contests of a state by machine, as a note.
pub fn note(contested: &imbl::OrdMap<Name, Contest>) -> Vec<u8> {
    let record = |contest: &Contest| Record {
        cards: contest.cards.map(|card| card.to_string()),
        since: contest.since.0,
    };
    let records: BTreeMap<&str, Record> =
        contested.iter().map(|(machine, contest)| (machine.as_str(), record(contest))).collect();
    serde_json::to_vec(&records).expect("JSON holds texts and numbers")
}

/// The contests of a note. What can't be read is left out: it shows again when both cards are seen.
pub fn of_note(note: Option<&[u8]>) -> imbl::OrdMap<Name, Contest> {
    let records: BTreeMap<String, Record> =
        note.and_then(|note| serde_json::from_slice(note).ok()).unwrap_or_default();
    let contest = |(machine, Record { cards: [one, other], since }): (String, Record)| {
        let cards = [one.parse().ok()?, other.parse().ok()?];
        Some((machine.parse().ok()?, Contest { cards, since: Time(since) }))
    };
    records.into_iter().filter_map(contest).collect()
}

impl State {
    /// Forgets contests of long ago: the mark may be one machine's again.
    pub(super) fn forget_contests(&mut self, now: Time) {
        let lasts = |contest: &Contest| now.since(contest.since).0 < CONTEST.0;
        if !self.lasting.contested.values().all(lasts) {
            let all = std::mem::take(&mut self.lasting.contested).into_iter();
            self.lasting.contested = all.filter(|(_, contest)| lasts(contest)).collect();
        }
    }

    /// Contests that a clock which was ahead dated into the future begin now: they must not last until then.
    pub(super) fn restart_contests(&mut self, now: Time) {
        if self.lasting.contested.values().any(|contest| contest.since > now) {
            let all = std::mem::take(&mut self.lasting.contested).into_iter();
            let dated = |contest: Contest| Contest { since: contest.since.min(now), ..contest };
            self.lasting.contested = all.map(|(name, contest)| (name, dated(contest))).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contests_are_read_as_they_were_written() {
        let cards = [1, 2].map(|last| Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap());
        let contest = Contest { cards, since: Time(7) };
        let contested: imbl::OrdMap<Name, Contest> = [("m1".parse().unwrap(), contest)].into_iter().collect();
        assert_eq!(of_note(Some(&note(&contested))), contested);
        assert!(of_note(None).is_empty() && of_note(Some(b"")).is_empty());
    }
}
