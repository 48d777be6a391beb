//! What is being done with a machine.

use crate::model::words::words;

words! {
    /// What is being done with a machine.
    pub enum Work {
        None = "none",
        /// Its tenancy may install it, or does.
        Installing = "installing",
        /// Its tenancy boots it from the network every time.
        NetworkBoot = "network-boot",
        /// It is to be wiped, and its restart into our agent is waited for: an agent that runs under the order's epoch
        /// is the proof that the former system does not.
        Fencing = "fencing",
        /// Our agent wipes its disks.
        Wiping = "wiping",
        /// Our agent reads back what was wiped.
        Verifying = "verifying",
    }
}

words! {
    /// What changes that.
    pub enum Cause {
        Permitted = "a tenancy with an installer begins or is renewed",
        Diskless = "a tenancy without an installer begins",
        Installed = "the installer reports completion, or a person adopts the machine",
        Ended = "the tenancy ends and the disks are kept",
        Ordered = "the tenancy ends, or a person orders it, and the disks are to be wiped",
        AgentRuns = "our agent reports under the epoch of the order, and the budget has room",
        Wiped = "our agent reports that every disk of the order is wiped",
        Verified = "our agent reads back nothing of what was there",
        Unverified = "our agent reads back something of what was there",
        Withdrawn = "a person cancels the order before our agent runs under it",
    }
}

words! {
    /// What follows.
    pub enum Act {
        RaiseEpoch = "a new epoch: URLs, reports and orders of the one before end",
        Restart = "the power driver is asked to restart the machine into our agent",
        CountWipe = "one of the wipes of this hour is used up",
        SoilDisks = "the disks of the order count as dirty",
        CleanDisks = "the disks of the order are clean, and nobody's",
        KeepDisks = "the disks count as dirty, and are nobody's",
        EndInstalls = "the installation records of the machine end",
        ServeQueue = "the machine is free: the next waiting claim, or pinned deployment, gets it",
    }
}

/// The next state and what follows; `None` where that can't happen.
pub fn step(from: Work, cause: Cause) -> Option<(Work, &'static [Act])> {
    use Act::*;
    let is_order = matches!(from, Work::Fencing | Work::Wiping | Work::Verifying);
    Some(match (from, cause) {
        // An order is carried to its end whatever a revision wants of the machine.
        (_, Cause::Permitted) if !is_order => (Work::Installing, &[]),
        (_, Cause::Diskless) if !is_order => (Work::NetworkBoot, &[]),
        (Work::Installing, Cause::Installed) => (Work::None, &[]),
        (_, Cause::Ended) if !is_order => (Work::None, &[RaiseEpoch, KeepDisks, ServeQueue]),
        // A person's new order takes the place of one that failed.
        (_, Cause::Ordered) => (Work::Fencing, &[RaiseEpoch, Restart]),
        (Work::Fencing, Cause::Withdrawn) => (Work::None, &[RaiseEpoch, KeepDisks, ServeQueue]),
        (Work::Fencing, Cause::AgentRuns) => (Work::Wiping, &[CountWipe, SoilDisks]),
        // The agent may have been restarted: wiping twice within one order is allowed.
        (Work::Wiping | Work::Verifying, Cause::AgentRuns) => (Work::Wiping, &[]),
        (Work::Wiping, Cause::Wiped) => (Work::Verifying, &[]),
        (Work::Verifying, Cause::Verified) => (Work::None, &[CleanDisks, EndInstalls, ServeQueue]),
        (Work::Verifying, Cause::Unverified) => (Work::Wiping, &[]),
        _ => return None,
    })
}

impl Work {
    /// Whether it is carried out by our agent under an order.
    pub fn is_order(self) -> bool {
        matches!(self, Work::Fencing | Work::Wiping | Work::Verifying)
    }
}
