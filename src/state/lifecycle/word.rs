//! The one word that people see of a machine.

use super::tenancy::Holder;
use super::{Condition, Known, Work};
use crate::model::words::words;
use crate::state::InstallStage;

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
        /// A new or restored state directory does not know whether it is installed: a person says so.
        Doubtful = "doubtful",
        /// It runs from the network, and nothing is installed on it.
        NetworkBoot = "network-boot",
        Releasing = "releasing",
        Failed = "failed",
        Held = "held",
    }
}

/// The word of a machine's axes, and of how far the installation of its tenancy is. What a person has to look at comes first.
pub fn of(
    known: Known,
    holder: Holder,
    work: Work,
    condition: Condition,
    is_held: bool,
    stage: Option<InstallStage>,
) -> Word {
    let has_begun = matches!(stage, Some(InstallStage::Started | InstallStage::Spent));
    match (work, holder, known) {
        _ if is_held => Word::Held,
        _ if condition == Condition::Failed => Word::Failed,
        (Work::Fencing | Work::Wiping | Work::Verifying, ..) => Word::Releasing,
        (Work::Installing, ..) if has_begun => Word::Installing,
        (Work::Installing, ..) => Word::Waiting,
        (Work::NetworkBoot, Holder::Deployment | Holder::Claim, _) => Word::NetworkBoot,
        (_, Holder::Deployment | Holder::Claim, _) if stage == Some(InstallStage::Doubtful) => Word::Doubtful,
        (_, Holder::Deployment | Holder::Claim, _) => Word::Installed,
        (_, Holder::None, Known::Accepted) => Word::Free,
        (_, Holder::None, Known::Discovered) => Word::Discovered,
        (_, Holder::None, Known::Seen) => Word::Seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_called_installed_that_may_not_be() {
        let word = |work, stage| of(Known::Accepted, Holder::Deployment, work, Condition::Well, false, stage);
        assert_eq!(word(Work::None, Some(InstallStage::Installed)), Word::Installed);
        assert_eq!(word(Work::None, Some(InstallStage::Doubtful)), Word::Doubtful);
        assert_eq!(word(Work::NetworkBoot, None), Word::NetworkBoot);
        assert_eq!(word(Work::Installing, Some(InstallStage::Spent)), Word::Installing);
        assert_eq!(word(Work::Installing, Some(InstallStage::Approved)), Word::Waiting);
    }
}
