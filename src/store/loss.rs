//! Losses that a person can agree to, and what follows from it.

use std::fmt;

use super::StoreError;

/// A part of a state directory whose loss a person can agree to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Leases of IPv4 addresses.
    Leases,
    /// Installations, assignments, protections and everything else but leases of IPv4 addresses.
    Records,
    /// The key: what the records say is taken over without proof.
    Key,
}

impl Loss {
    pub const ALL: [Loss; 3] = [Loss::Leases, Loss::Records, Loss::Key];

    /// What follows from agreeing, as the end of a sentence.
    pub(super) fn then(self) -> &'static str {
        match self {
            Loss::Leases => " (leases that can still be read are kept; addresses may be given to others)",
            Loss::Records => {
                " (what can still be read is kept; installations are doubtful then: machines boot their disks until \
                 a person settles them)"
            }
            Loss::Key => {
                " (records are taken over unproven; installations are doubtful then: machines boot their disks \
                 until a person settles them)"
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Leases => "leases",
            Loss::Records => "records",
            Loss::Key => "key",
        })
    }
}

impl std::str::FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Loss, String> {
        let found = Loss::ALL.into_iter().find(|loss| loss.to_string() == text);
        found.ok_or_else(|| format!("{text} is not one of leases, records, key"))
    }
}

/// Losses that a person accepted.
#[derive(Clone, Debug, Default)]
pub struct Accept(pub Vec<Loss>);

impl Accept {
    /// The loss is accepted, or an error that says how to accept it.
    pub(super) fn or_refuse(&self, loss: Loss, what: String) -> Result<String, StoreError> {
        // Who gives up all records gives up leases among them.
        let is_within = loss == Loss::Leases && self.0.contains(&Loss::Records);
        match self.0.contains(&loss) || is_within {
            true => Ok(format!("{what}; --accept-loss {loss} agreed to it")),
            false => Err(StoreError::Lost { what, loss }),
        }
    }
}
