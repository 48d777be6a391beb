//! What happens to a machine that is given back.

use super::words::words;

words! {
    /// What happens to a machine that is given back.
    pub enum OnReturn {
        /// Its disks stay as they are.
        Keep = "keep",
        Wipe = "wipe",
        WipeAndOff = "wipe-and-off",
    }
}

words! {
    /// How thoroughly disks are wiped (NIST SP 800-88r2).
    pub enum WipeLevel {
        /// Signatures at both ends, then discarded: no sanitising.
        Quick = "quick",
        /// Overwritten or zeroed, and read back.
        Clear = "clear",
        /// By the disk's own sanitize command.
        Purge = "purge",
    }
}

impl OnReturn {
    pub const fn wipes(self) -> bool {
        matches!(self, OnReturn::Wipe | OnReturn::WipeAndOff)
    }
}
