//! What adopting a revision would do to real machines: the product that people review.

pub mod diff;
pub mod report;
pub mod safety;

use serde::{Deserialize, Serialize};

pub use diff::diff;
pub use safety::{Consent, Hold, hold};

/// The difference between a table and a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this shape: the first number changes when a field goes or changes meaning.
    pub format_version: String,
    /// Revision in the table, empty on a new one.
    pub from: String,
    pub to: String,
    /// The table that was looked at.
    pub lineage: String,
    pub serial: u64,
    /// How many deployments there were; thresholds are relative to it.
    pub deployments_before: usize,
    /// Least harmful first.
    pub changes: Vec<Change>,
}

/// One resource that appears, disappears or changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub impact: Impact,
    pub action: Action,
    /// `deployment`, `machine`, `boot` or `subnet`.
    pub kind: String,
    pub name: String,
    /// The machine that feels it.
    pub machine: Option<String>,
    /// Whether that machine is protected.
    pub protected: bool,
    pub reason: String,
    /// `file:line:column` in the new revision (in the old one for a removal).
    pub origin: String,
    /// What differs, one line each.
    pub details: Vec<String>,
}

/// How bad a change can be, from nothing to lost data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// An answer changes now.
    Live,
    /// Something happens when the machine next boots from the network.
    NextBoot,
    /// The machine is restarted.
    Reboot,
    /// The machine is given up.
    Release,
    /// Data on the machine's disks is lost.
    #[serde(rename = "WIPE")]
    Wipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Create,
    Update,
    Rename,
    Remove,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The worst impact of all changes.
    pub fn worst(&self) -> Option<Impact> {
        self.changes.iter().map(|change| change.impact).max()
    }
}

impl Impact {
    pub const ALL: [Impact; 5] =
        [Impact::Live, Impact::NextBoot, Impact::Reboot, Impact::Release, Impact::Wipe];
}

impl std::fmt::Display for Impact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Impact::Live => "live",
            Impact::NextBoot => "next-boot",
            Impact::Reboot => "reboot",
            Impact::Release => "release",
            Impact::Wipe => "WIPE",
        })
    }
}
