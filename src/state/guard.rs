//! The thresholds of `[safety]` that the served revision of each source brought. The next revision of a source is
//! judged by the stricter of these and its own: a revision that loosens its own thresholds can't use that at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::desired::Safety;

/// The name of the stored note that holds [`Guards`].
pub const NOTE: &str = "thresholds";

/// How much a revision may remove and reinstall before a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// In percent of the deployments.
    pub max_remove: u8,
    pub min_existing: u32,
    pub allow_empty: bool,
    pub max_reinstall: Option<u32>,
}

impl Thresholds {
    /// Where nobody knows any more what they were.
    const STRICTEST: Thresholds =
        Thresholds { max_remove: 0, min_existing: 0, allow_empty: false, max_reinstall: Some(0) };

    /// What holds for both.
    pub fn stricter(self, other: Thresholds) -> Thresholds {
        let fewest = match (self.max_reinstall, other.max_reinstall) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Thresholds {
            max_remove: self.max_remove.min(other.max_remove),
            min_existing: self.min_existing.min(other.min_existing),
            allow_empty: self.allow_empty && other.allow_empty,
            max_reinstall: fewest,
        }
    }

    /// What `self` allows and `before` did not, for people; empty if it allows no more.
    pub fn loosened(self, before: Thresholds) -> Vec<String> {
        let mut changes = Vec::new();
        let mut note = |key: &str, is_looser: bool, was: String, is: String| {
            if is_looser {
                changes.push(format!("{key} {was} -> {is}"));
            }
        };
        let percent = |number: u8| format!("{number}%");
        let (was, is) = (percent(before.max_remove), percent(self.max_remove));
        note("max-remove", self.max_remove > before.max_remove, was, is);
        let (was, is) = (before.min_existing.to_string(), self.min_existing.to_string());
        note("min-existing", self.min_existing > before.min_existing, was, is);
        let (was, is) = (before.allow_empty.to_string(), self.allow_empty.to_string());
        note("allow-empty", self.allow_empty && !before.allow_empty, was, is);
        let any = |limit: Option<u32>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
        let is_looser = match (before.max_reinstall, self.max_reinstall) {
            (Some(_), None) => true,
            (Some(was), Some(is)) => is > was,
            (None, _) => false,
        };
        note("max-reinstall", is_looser, any(before.max_reinstall), any(self.max_reinstall));
        changes
    }
}

impl From<&Safety> for Thresholds {
    fn from(safety: &Safety) -> Thresholds {
        let Safety { max_remove, min_existing, allow_empty, max_reinstall, .. } = *safety;
        Thresholds { max_remove, min_existing, allow_empty, max_reinstall }
    }
}

/// The thresholds of what is served, by source; an only source is called "".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    of: BTreeMap<String, Thresholds>,
    /// Whether the note of them was damaged, so that those of a source that is not listed may have been any.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown: bool,
}

impl Guards {
    /// Of a stored note. Earlier versions wrote none.
    pub fn of_note(note: Option<&[u8]>) -> Guards {
        let unknown = || Guards { unknown: true, ..Guards::default() };
        note.map_or_else(Guards::default, |note| serde_json::from_slice(note).unwrap_or_else(|_| unknown()))
    }

    pub fn note(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("JSON holds names and numbers")
    }

    /// Those of a source that was served before.
    pub fn of(&self, source: Option<&str>) -> Option<Thresholds> {
        self.of.get(source.unwrap_or_default()).copied().or(self.unknown.then_some(Thresholds::STRICTEST))
    }

    /// With those of a source's revision that is served from now on.
    pub fn with(&self, source: Option<&str>, thresholds: Thresholds) -> Guards {
        let mut next = self.clone();
        next.of.insert(source.unwrap_or_default().to_owned(), thresholds);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Thresholds =
        Thresholds { max_remove: 30, min_existing: 5, allow_empty: false, max_reinstall: None };

    #[test]
    fn the_stricter_of_two_allows_what_both_allow() {
        let other = Thresholds { max_remove: 80, min_existing: 2, allow_empty: true, max_reinstall: Some(3) };
        let both = Thresholds { max_remove: 30, min_existing: 2, allow_empty: false, max_reinstall: Some(3) };
        assert_eq!((USUAL.stricter(other), other.stricter(USUAL)), (both, both));
        assert_eq!(USUAL.stricter(USUAL), USUAL);
        assert_eq!(
            other.loosened(USUAL),
            ["max-remove 30% -> 80%", "allow-empty false -> true"],
            "a limit where there was none is no loosening"
        );
        assert_eq!(USUAL.loosened(other), ["min-existing 2 -> 5", "max-reinstall 3 -> any number"]);
    }

    #[test]
    fn a_damaged_note_takes_the_safe_side_until_a_revision_is_served() {
        let guards = Guards::default().with(Some("lab"), USUAL);
        assert_eq!(Guards::of_note(Some(&guards.note())), guards);
        assert_eq!((guards.of(Some("lab")), guards.of(Some("rack"))), (Some(USUAL), None));
        assert_eq!(Guards::of_note(None).of(None), None);
        let damaged = Guards::of_note(Some(b""));
        assert_eq!(damaged.of(None), Some(Thresholds::STRICTEST));
        let served = Guards::of_note(Some(&damaged.with(None, USUAL).note()));
        assert_eq!((served.of(None), served.of(Some("rack"))), (Some(USUAL), Some(Thresholds::STRICTEST)));
    }
}
