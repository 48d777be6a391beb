//! The one word that people see of a machine.

use super::tenancy::Holder;
use super::{Condition, Known, Work};
use crate::model::words::words;

words! {
    /// The one word that people see of a machine.
    pub enum Word {
        Seen = "seen",
        Discovered = "discovered",
        Free = "free",
        /// Its tenancy is to install it, and it has not begun.
        Waiting = "waiting",
        Installing = "installing",
        Installed = "installed",
        Releasing = "releasing",
        Failed = "failed",
        Held = "held",
    }
}

/// The word of a machine's axes. What a person has to look at comes first.
pub fn of(
    known: Known,
    holder: Holder,
    work: Work,
    condition: Condition,
    is_held: bool,
    has_begun: bool,
) -> Word {
    match (work, holder, known) {
        _ if is_held => Word::Held,
        _ if condition == Condition::Failed => Word::Failed,
        (Work::Fencing | Work::Wiping | Work::Verifying, ..) => Word::Releasing,
        (Work::Installing, ..) if has_begun => Word::Installing,
        (Work::Installing, ..) => Word::Waiting,
        (_, Holder::Deployment | Holder::Claim, _) => Word::Installed,
        (_, Holder::None, Known::Accepted) => Word::Free,
        (_, Holder::None, Known::Discovered) => Word::Discovered,
        (_, Holder::None, Known::Seen) => Word::Seen,
    }
}
