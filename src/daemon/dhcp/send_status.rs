//! Whether answers leave this host at all: a firewall's rule may hold back each of them while every socket is fine.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::daemon::{is_passing, now};
use crate::model::Time;

/// What became of the last answers.
#[derive(Default)]
pub(super) struct SendStatus {
    is_failing: AtomicBool,
    why: Mutex<Option<(String, Time)>>,
}

impl SendStatus {
    /// An answer left. Costs one atomic read, as a rule.
    pub(super) fn sent(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.set(None);
        }
    }

    /// An answer did not leave. An error of one packet or one moment is no condition.
    pub(super) fn failed(&self, error: &io::Error) {
        if !is_passing(error) && !self.is_failing.load(Ordering::Relaxed) {
            self.set(Some((error.to_string(), now())));
        }
    }

    /// The condition and the way out, for the status.
    pub(super) fn sentence(&self) -> Option<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, since) = why.as_ref()?;
        Some(format!(
            "DHCP answers can't be sent: {why} (since {since}); see the rules of this host's firewall and routes"
        ))
    }

    fn set(&self, why: Option<(String, Time)>) {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_failing.store(why.is_some(), Ordering::Relaxed);
        *known = why;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_a_condition_until_something_leaves_and_a_moment_is_none() {
        let status = SendStatus::default();
        status.failed(&io::Error::from_raw_os_error(libc::ENETDOWN));
        status.failed(&io::Error::from_raw_os_error(libc::ENOBUFS));
        assert_eq!(status.sentence(), None);
        status.failed(&io::Error::from_raw_os_error(libc::EPERM));
        let said = status.sentence().unwrap();
        assert!(said.contains("Operation not permitted") && said.contains("firewall"), "{said}");
        status.sent();
        assert_eq!(status.sentence(), None);
    }
}
