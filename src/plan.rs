//! What adopting a revision would do to real machines: the product that people review.

pub mod blast;
pub mod diff;
pub mod fold;
mod given_up;
mod id;
pub mod judge;
pub mod partial;
pub mod report;
pub mod safety;
pub mod schema;
pub mod unified;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use blast::Blast;
pub use diff::diff;
pub use judge::{Judgement, Proposal, Verdict, judge};
pub use safety::{Consent, Hold, hold};
pub use unified::Patch;

/// Version of the JSON of plans: the first number changes when a field goes or changes meaning,
/// the second when one is added.
pub const FORMAT_VERSION: &str = "1.4";

/// The difference between a state and a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of this shape: the first number changes when a field goes or changes meaning, the
    /// second when one is added.
    pub format_version: String,
    /// Stands for what the plan does, whatever machines do meanwhile that is not about it: eight hexadecimal digits.
    pub id: String,
    /// Revision in the state, empty on a new one.
    pub from: String,
    /// Revision that would be adopted.
    pub to: String,
    /// The state that was looked at.
    pub lineage: String,
    pub serial: u64,
    /// How many deployments there were; thresholds are relative to it.
    pub deployments_before: usize,
    /// The deployments that are released, by source: thresholds are relative to what each source had.
    #[serde(skip)]
    pub given_up: Vec<GivenUp>,
    /// Least harmful first.
    pub changes: Vec<Change>,
    /// What happens to machines, counted.
    pub blast: Blast,
    /// For how many changed deployments what is served was not compared, because they are many.
    pub uncompared: usize,
}

/// The deployments of one source that a revision removes, whichever source's revision it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenUp {
    /// `None` for an only source.
    pub source: Option<String>,
    /// Whether the safety rules of the revision are about this source. Those of a source that is followed no
    /// more went with it.
    pub is_own: bool,
    pub count: usize,
    /// How many it had, as they were last served.
    pub before: usize,
    /// Whether it gets others instead.
    pub is_replaced: bool,
}

/// One resource that appears, disappears or changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub impact: Impact,
    pub action: Action,
    /// `deployment`, `machine`, `boot`, `subnet`, `pool`, or `settings`: those of the inventory's `voldemort.toml`.
    pub kind: String,
    pub name: String,
    /// What it was called before, for a rename.
    pub former_name: Option<String>,
    /// The machine that feels it.
    pub machine: Option<String>,
    /// The machine that had it before, if it was another one.
    pub former_machine: Option<String>,
    /// Whether the machine's next network boot installs.
    pub installs: bool,
    /// Whether that machine is protected.
    pub protected: bool,
    pub reason: String,
    /// `file:line:column` in the new revision (in the old one for a removal).
    pub origin: String,
    /// What differs in the manifests, one line each; secrets by name only.
    pub details: Vec<String>,
    /// How what the machine is served changes, secrets masked.
    pub served: Vec<Patch>,
    /// The deployment that has exactly the same patches, which are then not repeated here.
    pub served_like: Option<String>,
}

/// How bad a change can be, from nothing to lost data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// An answer changes now.
    Live,
    /// Something happens when the machine next boots from the network.
    NextBoot,
    /// The machine is restarted.
    Reboot,
    /// The machine is released.
    Release,
    /// Data on the machine's disks is lost.
    #[serde(rename = "WIPE")]
    Wipe,
}

/// What becomes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
