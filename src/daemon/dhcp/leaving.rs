//! Whether answers leave this host at all: a firewall's rule may hold back each of them while every socket is fine.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::daemon::{is_passing, now};
use crate::model::Time;

/// What became of the last answers.
#[derive(Default)]
pub(super) struct Leaving {
    is_held_back: AtomicBool,
    why: Mutex<Option<(String, Time)>>,
}

impl Leaving {
    /// An answer left. Costs one atomic read, as a rule.
    pub(super) fn left(&self) {
        if self.is_held_back.load(Ordering::Relaxed) {
            self.set(None);
        }
    }

    /// An answer did not leave. What says something of one packet or one moment is no condition.
    pub(super) fn held_back(&self, error: &io::Error) {
        if !is_passing(error) && !self.is_held_back.load(Ordering::Relaxed) {
            self.set(Some((error.to_string(), now())));
        }
    }

    /// What people should know.
    pub(super) fn sentence(&self) -> Option<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, since) = why.as_ref()?;
        Some(format!(
            "DHCP answers can't be sent: {why} (since {since}); see the rules of this host's firewall and routes"
        ))
    }

    fn set(&self, why: Option<(String, Time)>) {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_held_back.store(why.is_some(), Ordering::Relaxed);
        *known = why;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_a_condition_until_something_leaves_and_a_moment_is_none() {
        let leaving = Leaving::default();
        leaving.held_back(&io::Error::from_raw_os_error(libc::ENETDOWN));
        leaving.held_back(&io::Error::from_raw_os_error(libc::ENOBUFS));
        assert_eq!(leaving.sentence(), None);
        leaving.held_back(&io::Error::from_raw_os_error(libc::EPERM));
        let said = leaving.sentence().unwrap();
        assert!(said.contains("Operation not permitted") && said.contains("firewall"), "{said}");
        leaving.left();
        assert_eq!(leaving.sentence(), None);
    }
}
