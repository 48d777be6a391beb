//! How often the state changed. A revision is judged over one state and adopted over a later one: what is
//! desired must be the same in both, and of what machines did meanwhile only the difference is looked at.

/// Two counts. Their sum is the serial that people see and that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serials {
    /// Raised by each adoption.
    pub desired: u64,
    /// Raised by each command that changes installations.
    pub machines: u64,
}

impl Serials {
    /// As it was stored; which part was which does not matter after a start.
    pub fn stored(serial: u64) -> Serials {
        Serials { desired: serial, machines: 0 }
    }
}
