//! What travels over the control API, as JSON. A resource is a file: its wire types, how they are made of the
//! state, the columns that `voldemortctl get` shows of it, and its routes.
//!
//! A new list is a value of [`Listed`]: the compiler names the two places that need an arm for it, `GET` in
//! `api::routes` and the command in `cli::ctl::get`.

pub mod adopt;
pub mod audit;
pub mod boot;
pub mod boot_once;
pub mod claim;
pub mod definition;
pub mod deployment;
pub mod discovered;
pub mod drift;
pub mod edit;
pub mod effect;
pub mod event;
pub mod hold;
pub mod interface;
pub mod lease;
pub mod log;
pub mod machine;
pub mod meaning;
pub mod mistake;
pub mod named;
pub mod operation;
pub mod order;
pub mod plan;
pub mod power;
pub mod revision;
pub mod source;
pub mod status;
pub mod subnet;
pub mod ticket;
pub mod token;
pub mod tree;
pub mod webhook;
pub mod why;
pub mod wipe;
pub mod wipe_certificate;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use adopt::Adopt;
pub use boot::Boot;
pub use claim::{Claim, ClaimShown, ClaimState, ClaimWanted};
pub use definition::{Pool, Profile, Template};
pub use deployment::{Deployment, Subnet};
pub use discovered::{Discovered, DiskShown, FoundDisk};
pub use drift::Drift;
pub use edit::{EditPlace, EditRequest, Edited, FileChange, ResourceChange};
pub use effect::Effect;
pub use event::{Event, Events};
pub use lease::{Freed, Lease, LeaseShown};
pub use log::{LogSender, Logbook};
pub use machine::{Machine, Power, PowerShown};
pub use meaning::{Condition, ConditionKind, Meaning, Standing, TemplateInput};
pub use mistake::ManifestProblem;
pub use named::{Overlay, Resource, Written};
pub use operation::Operation;
pub use order::Order;
pub use plan::{Apply, Outcome, WaitingPlan};
pub use revision::Revision;
pub use source::SourceStatus;
pub use status::{ServiceStatus, Status};
pub use subnet::SubnetRow;
pub use ticket::{Ticket, TicketRequest};
pub use token::{NewToken, Token, TokenCreated, TokenWanted};
pub use tree::{Blob, Tree};
pub use webhook::Webhook;
pub use why::{Offer, Why};
pub use wipe::Order as MachineOrder;
pub use wipe_certificate::WipeCertificate;

use crate::model::words::words;

words! {
    /// What can be read as a whole, by the word for it in `GET /v1/WORD` and `voldemortctl get WORD`.
    pub enum Listed {
        Deployments = "deployments",
        Machines = "machines",
        Discovered = "discovered",
        Boots = "boots",
        Profiles = "profiles",
        Templates = "templates",
        Subnets = "subnets",
        Pools = "pools",
        Leases = "leases",
        Status = "status",
        Sources = "sources",
        Operations = "operations",
        Plans = "plans",
        Revisions = "revisions",
        Drift = "drift",
        Claims = "claims",
        Orders = "orders",
        Certificates = "certificates",
        Effects = "effects",
        Tokens = "tokens",
        Webhooks = "webhooks",
        LogSenders = "log-senders",
    }
}

impl Listed {
    /// Where it is read.
    pub fn path(self) -> String {
        format!("/v1/{self}")
    }
}

/// A row of a list, for people.
pub trait Row: Serialize + DeserializeOwned {
    /// The titles of its columns.
    const COLUMNS: &'static [&'static str];

    /// Whether its rows have labels.
    const HAS_LABELS: bool = false;

    /// What `voldemortctl get` takes to show this one alone.
    fn name(&self) -> &str;

    /// What no other row has; lists come in its order.
    fn key(&self) -> String {
        self.name().to_owned()
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    /// A text for each column.
    fn cells(&self) -> Vec<String>;
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or("-".into(), ToString::to_string)
}
