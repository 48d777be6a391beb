//! What becomes of machines that no manifest declares, and of machines that nobody has.

use super::words::words;

words! {
    /// `unknown` of a subnet: what a network boot of a machine that no manifest declares is answered there.
    #[derive(Default)]
    pub enum Unknown {
        /// Nothing: it boots its own disk.
        #[default]
        Ignore = "ignore",
        /// Our agent, once: it reports the hardware and hands over to the machine's own disk.
        Discover = "discover",
        /// The same, and a manifest is written for the machine.
        Register = "register",
    }
}

words! {
    /// `idle` of a subnet: what our agent does on an accepted machine that nobody has.
    #[derive(Default)]
    pub enum Idle {
        /// It switches the machine off.
        Off = "off",
        /// It stays, so that a claim gets the machine without a start from the beginning.
        Wait = "wait",
        /// It restarts the machine, which boots its own disk then; one without anything on its disks stays.
        #[default]
        Reboot = "reboot",
    }
}
