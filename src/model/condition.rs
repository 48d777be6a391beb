//! How the things that a daemon follows and runs stand, in one word each.

use super::words::words;

words! {
    /// How a source of manifests stands. In each of them what was served before goes on being served.
    pub enum SourceCondition {
        /// Nothing was read and nothing is served yet.
        Loading = "Loading",
        /// What was served before the start is served; the source was not read yet.
        Cached = "Cached",
        /// What was seen last is served.
        Ready = "Ready",
        /// A safety rule wants a person to agree.
        Held = "Held",
        /// It waits for a person's approval, for another source, or for a file that is still being read.
        Waiting = "Waiting",
        /// A person rejected the revision.
        Rejected = "Rejected",
        /// A person said that nothing is to be adopted for now.
        Suspended = "Suspended",
        /// A person went back to an earlier revision.
        Pinned = "Pinned",
        /// There are mistakes in it, or a file that it names is missing or damaged.
        Invalid = "Invalid",
        /// It is not signed by an allowed key.
        Untrusted = "Untrusted",
        /// It can't be read.
        Unreachable = "Unreachable",
        /// The state directory does not take the revision.
        NotStored = "NotStored",
    }
}

words! {
    /// What a service of the daemon does now.
    pub enum ServiceState {
        /// It is about to serve for the first time.
        Starting = "starting",
        Serving = "serving",
        /// What it needs of the host is not there, as its interface.
        Waiting = "waiting",
        /// It failed and is opened again.
        Failed = "failed",
    }
}

words! {
    /// How far a deployment has come.
    pub enum Phase {
        /// It has no machine.
        Unassigned = "unassigned",
        /// Nobody knows whether its machine has its system already; a person settles it.
        Doubtful = "doubtful",
        /// It is installed at its machine's next network boot, or as soon as its turn comes.
        Waiting = "waiting",
        /// The installer was served; nothing is destroyed yet.
        Installing = "installing",
        /// An answer that can destroy data was served; its report is awaited.
        Spent = "spent",
        /// The machine booted again without having reported.
        Unreported = "unreported",
        /// The installer reported failure.
        Failed = "failed",
        Installed = "installed",
        /// It runs from the network and is never installed.
        NetworkBoot = "network-boot",
    }
}

impl Phase {
    /// Whether it does not end without a person.
    pub const fn is_stuck(self) -> bool {
        match self {
            Phase::Doubtful | Phase::Failed | Phase::Unreported => true,
            Phase::Unassigned
            | Phase::Waiting
            | Phase::Installing
            | Phase::Spent
            | Phase::Installed
            | Phase::NetworkBoot => false,
        }
    }
}
