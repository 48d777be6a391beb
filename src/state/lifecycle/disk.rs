//! What is on a disk.

use crate::model::words::words;

words! {
    /// What is on a disk.
    pub enum DiskState {
        /// Our agent reported it and could not read it.
        Unknown = "unknown",
        /// Nothing: it was blank when our agent first saw it, or a wipe of it was verified.
        Clean = "clean",
        /// Something that is nobody's.
        Dirty = "dirty",
        /// Something of the machine's tenancy. The machine owns the disk, wherever it is found.
        InUse = "in-use",
    }
}

words! {
    /// What changes that.
    pub enum Cause {
        SeenBlank = "our agent finds nothing on it",
        SeenData = "our agent finds something on it",
        Used = "an installer may write to it",
        WipeBegun = "a wipe begins",
        Verified = "a wipe was verified",
        Kept = "the tenancy ends and keeps it",
    }
}

/// The next state; `None` where that can't happen.
pub fn step(from: DiskState, cause: Cause) -> Option<DiskState> {
    match (from, cause) {
        // Whatever is found on it, it is the tenancy's.
        (DiskState::InUse, Cause::SeenBlank | Cause::SeenData) => Some(DiskState::InUse),
        // Our agent looks at the ends of a disk alone: that they are blank makes nothing clean that was in use.
        (DiskState::Dirty, Cause::SeenBlank) => Some(DiskState::Dirty),
        (DiskState::Unknown | DiskState::Clean, Cause::SeenBlank) => Some(DiskState::Clean),
        (_, Cause::SeenData) => Some(DiskState::Dirty),
        (_, Cause::Used) => Some(DiskState::InUse),
        (_, Cause::WipeBegun) => Some(DiskState::Dirty),
        (DiskState::Dirty, Cause::Verified) => Some(DiskState::Clean),
        (DiskState::InUse, Cause::Kept) => Some(DiskState::Dirty),
        (from, Cause::Kept) => Some(from),
        _ => None,
    }
}
