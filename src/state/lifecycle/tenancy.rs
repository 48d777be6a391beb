//! What a machine is for.

use crate::model::words::words;

words! {
    /// What a machine is for.
    pub enum Holder {
        None = "none",
        Deployment = "deployment",
        Claim = "claim",
    }
}

words! {
    /// What changes that.
    pub enum Cause {
        Assigned = "a revision gives it to a deployment",
        Raised = "its deployment's redeploy number is raised",
        Removed = "a revision takes it from its deployment",
        Claimed = "a claim gets it",
        Released = "its claim is released",
        Expired = "its claim's grace period is over",
        Adopted = "a revision has a deployment with the claim's name and machine",
    }
}

/// The next state, and whether a new epoch begins; `None` where that can't happen. The first tenancy that is stored
/// keeps the machine: a deployment that a revision pins to a claimed machine waits.
pub fn step(from: Holder, cause: Cause) -> Option<(Holder, bool)> {
    match (from, cause) {
        (Holder::None | Holder::Deployment, Cause::Assigned) => Some((Holder::Deployment, true)),
        (Holder::Deployment, Cause::Raised) => Some((Holder::Deployment, true)),
        (Holder::Deployment, Cause::Removed) => Some((Holder::None, false)),
        (Holder::None, Cause::Claimed) => Some((Holder::Claim, true)),
        (Holder::Claim, Cause::Released | Cause::Expired) => Some((Holder::None, true)),
        (Holder::Claim, Cause::Adopted) => Some((Holder::Deployment, false)),
        _ => None,
    }
}
