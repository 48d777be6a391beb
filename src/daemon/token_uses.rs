//! When the tokens of the control API were last used. That is kept in memory, and stored seldom: reading would
//! write to the disk otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Name, Span, Time};
use crate::state::ApiToken;

/// How often a use of one token is stored at most.
const PAUSE: Span = Span::seconds(3600);

/// Of each token that was used since the start.
#[derive(Debug, Default)]
pub(super) struct TokenUses(Mutex<HashMap<Name, Use>>);

#[derive(Debug)]
struct Use {
    /// Another token of the same name has another number.
    id: u32,
    last: Time,
    /// When it was last to be stored.
    stored: Option<Time>,
}

impl TokenUses {
    /// Notes a use, and says whether it is to be stored.
    pub(super) fn note(&self, token: &ApiToken, now: Time) -> bool {
        let mut uses = self.uses();
        let found = uses.get_mut(&token.name).filter(|found| found.id == token.id);
        let stored = found.as_ref().and_then(|found| found.stored).max(token.used);
        let is_due = stored.is_none_or(|at| now.since(at) >= PAUSE);
        let stored = if is_due { Some(now) } else { stored };
        match found {
            Some(found) => (found.last, found.stored) = (now, stored),
            None => drop(uses.insert(token.name.clone(), Use { id: token.id, last: now, stored })),
        }
        is_due
    }

    pub(super) fn last(&self, token: &ApiToken) -> Option<Time> {
        self.uses().get(&token.name).filter(|found| found.id == token.id).map(|found| found.last)
    }

    /// Forgets one that was revoked.
    pub(super) fn forget(&self, name: &Name) {
        self.uses().remove(name);
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<Name, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn one_use_an_hour_is_stored() {
        let token = |id, used| {
            let (name, digest) = ("ci".parse().unwrap(), [0; 32]);
            ApiToken {
                name,
                id,
                digest,
                role: Role::Viewer,
                pools: Vec::new(),
                by: None,
                created: Time(0),
                expires: None,
                used,
            }
        };
        let uses = TokenUses::default();
        let noted = |id, at: u64| uses.note(&token(id, None), Time(at * 1000));
        assert_eq!(uses.last(&token(1, None)), None);
        assert_eq!(
            [0, 1, 3599, 3600, 3601, 7200].map(|at| noted(1, at)),
            [true, false, false, true, false, true]
        );
        assert_eq!(uses.last(&token(1, None)), Some(Time(7_200_000)));
        assert!(noted(2, 7201), "another token of that name");
        assert_eq!(uses.last(&token(1, None)), None);
        uses.forget(&"ci".parse().unwrap());
        let used = Some(Time(7_000_000));
        assert!(!uses.note(&token(2, used), Time(7_300_000)), "it was stored before a restart");
    }
}
