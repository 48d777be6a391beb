//! How well a machine is known.

use crate::model::words::words;

words! {
    /// How well a machine is known.
    pub enum Known {
        /// It sent messages; nothing is recorded of it.
        Seen = "seen",
        /// Our agent ran on it and reported its hardware.
        Discovered = "discovered",
        /// A revision declares it.
        Accepted = "accepted",
    }
}

words! {
    /// What changes that.
    pub enum Cause {
        Reported = "our agent reports its hardware",
        Declared = "a revision declares it",
        Undeclared = "no revision declares it any more",
        Aged = "nobody accepted it for a week",
    }
}

/// The next state; `None` where that can't happen.
pub fn step(from: Known, cause: Cause) -> Option<Known> {
    match (from, cause) {
        (Known::Seen | Known::Discovered, Cause::Reported) => Some(Known::Discovered),
        (Known::Accepted, Cause::Reported) => Some(Known::Accepted),
        (_, Cause::Declared) => Some(Known::Accepted),
        (Known::Accepted, Cause::Undeclared) => Some(Known::Discovered),
        (Known::Discovered, Cause::Aged) => Some(Known::Seen),
        _ => None,
    }
}
