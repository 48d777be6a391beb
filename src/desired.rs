//! Desired state: what all manifests of one revision mean together. Complete, cross-checked and immutable;
//! only what depends on machines is decided later.

pub mod agent;
pub mod boot;
pub mod definition;
pub mod deployment;
pub mod dhcp_options;
pub mod difference;
pub mod fixed;
pub mod machine;
pub mod pool;
pub mod resolve;
pub mod subnet;
pub mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::manifest::Kind;
pub use crate::model::{Advertise, Proof};
use crate::model::{Mac, Name, OnReturn, Window};

pub use agent::Agent;
pub use boot::Boot;
pub use definition::{Definition, DefinitionBody};
pub use deployment::{Deployment, Place};
pub use dhcp_options::DhcpOptions;
pub use difference::differences;
pub use fixed::Fixed;
pub use machine::Machine;
pub use pool::Pool;
pub use resolve::inherited::{Inherited, inherited};
pub use resolve::{Earlier, Media, Options, Step, resolve, resolve_again, resolve_step};
pub use subnet::{Ipv6, Subnet};
pub use template::Template;

/// One revision of an inventory, resolved.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// `main@sha1:…` or `dir@sha256:…`.
    pub revision: Arc<str>,
    pub subnets: BTreeMap<Name, Arc<Subnet>>,
    pub boots: BTreeMap<Name, Arc<Boot>>,
    /// Shared with the revision before, where it is the same: so are the next two.
    pub machines: imbl::OrdMap<Name, Arc<Machine>>,
    pub deployments: imbl::OrdMap<Name, Arc<Deployment>>,
    /// The machine that carries a hardware address.
    pub macs: imbl::HashMap<Mac, Name>,
    /// What claims are made of.
    pub pools: BTreeMap<Name, Arc<Pool>>,
    /// How many deployments choose their machine by labels.
    pub selects: usize,
    pub safety: Safety,
    /// What unknown machines boot where they are to be looked at, and machines whose disks are to be wiped.
    pub agent: Agent,
    /// The secrets that values name, as far as the inventory has them, each with a digest of its ciphertext.
    pub secrets: BTreeMap<Name, [u8; 32]>,
    /// Profiles, pools and templates, as they are written.
    pub definitions: Arc<BTreeMap<(Kind, Name), Definition>>,
    /// Index of fixed addresses; fills itself.
    pub fixed: Fixed,
}

/// `[safety]` of the inventory's `voldemort.toml`: when a revision is held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Safety {
    /// Largest part of the deployments, in percent, that one revision may remove.
    pub max_remove: u8,
    /// Below this many deployments the percentage does not apply.
    pub min_existing: u32,
    /// Whether a revision without any deployment may replace one that had some.
    pub allow_empty: bool,
    /// How many installed machines one revision may reinstall; `None` means any number.
    pub max_reinstall: Option<u32>,
    /// How many installed machines may be in reinstallation at a time; `None` means any number.
    pub max_in_flight: Option<u32>,
    /// How many wipes may begin within an hour without a person's word; `None` means any number.
    pub max_wipes: Option<u32>,
    /// What happens to a machine that is taken from its deployment and given to no other.
    pub on_release: OnReturn,
    /// When installed machines may be reinstalled; at any time if there are none.
    pub windows: Vec<Window>,
    /// What proves that a request for an answer file comes from the machine that it is for.
    pub asker: Proof,
    /// The source whose deployments the rules are about; `None` for an only one.
    pub source: Option<Name>,
}

impl Safety {
    /// The name of the source whose deployments the rules are about; `None` for an only one.
    pub fn source(&self) -> Option<&str> {
        self.source.as_ref().map(Name::as_str)
    }
}

impl Default for Safety {
    fn default() -> Safety {
        Safety {
            max_remove: 30,
            min_existing: 5,
            allow_empty: false,
            max_reinstall: None,
            max_in_flight: None,
            max_wipes: Some(4),
            on_release: OnReturn::Keep,
            windows: Vec::new(),
            asker: Proof::Machine,
            source: None,
        }
    }
}
