//! Edits by meaning ("raise web-1's redeploy number"), put into the text of manifests as a careful
//! person would: comments, order and every untouched line stay as they are. The same edit can be
//! made again on a newer text, which is how two writers at once both get what they asked for.
//!
//! A new resource goes to the end of the file that holds most of its kind (`deployments.toml`,
//! if that holds any); where there is none of its kind yet, to `deployments.toml`, `boots.toml`, …
//! at the inventory's root. An existing one is edited where it stands.

mod delete;
mod layout;
pub mod prune;
mod sequence;
mod set;
mod subject;
mod summary;
mod write;

pub use sequence::apply;
pub use summary::summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{self, Kind};
use crate::model::{Mac, Name};

/// The change that is wanted of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub verb: Verb,
    pub kind: Kind,
    /// Which one; without it the one of `mac`.
    #[serde(default)]
    pub name: Option<String>,
    /// The hardware address of the deployment's or machine's network card, instead of its name.
    #[serde(default)]
    pub mac: Option<String>,
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Only for deployments: a template's or a boot's name, from which the other follows.
    #[serde(default)]
    pub deployment_type: Option<String>,
    /// As the header `If-Match`: entity tags of the resource as its writer has seen it, or `*`. If it has another by now,
    /// nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
}

impl Edit {
    /// `redeploy deployment web-1`
    pub fn text(&self) -> String {
        format!("{} {} {}", self.verb.name(), self.kind.name(), self.subject())
    }

    /// The name or the hardware address of its resource, as it was given.
    pub fn subject(&self) -> &str {
        self.name.as_ref().or(self.mac.as_ref()).map_or("-", String::as_str)
    }

    /// For a message about one of several: `edits[3] (redeploy deployment web-1): `.
    pub fn place(&self, index: usize) -> String {
        format!("edits[{index}] ({}): ", self.text())
    }
}

/// Most edits of one request.
pub const EDITS_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// A new one; it must not exist.
    Create,
    /// Other settings for one that exists.
    Update,
    /// Removes it.
    Delete,
    /// Creates it or, where it exists, updates it.
    Deploy,
    /// Raises `redeploy`, so that the machine installs again.
    Redeploy,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
            Verb::Deploy => "deploy",
            Verb::Redeploy => "redeploy",
        }
    }
}

/// One setting and its new value; null takes it away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The key, or the keys that lead to it: `["iso", "file"]`.
    pub path: Vec<String>,
    pub value: Value,
}

/// What the manifests do not contain.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Installation numbers that were used, by deployment.
    pub installs: BTreeMap<Name, u64>,
}

/// What edits make of an inventory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Every file that gets another text, by its path.
    pub files: Vec<NewText>,
    /// The resource that each edit is about, in the order of the edits.
    pub resources: Vec<Resource>,
}

/// One file with another text.
#[derive(Clone, Debug, PartialEq)]
pub struct NewText {
    /// Relative to the inventory's root.
    pub path: Arc<str>,
    /// `None`: the file is new.
    pub before: Option<String>,
    pub after: String,
}

/// The resource of one edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// What the edit came to: that of a `deploy` is a creation or an update.
    pub done: Done,
    pub kind: Kind,
    pub name: Name,
    /// The file that it stands in, stood in, or is put into.
    pub path: Arc<str>,
    /// False where all was as wanted already.
    pub is_changed: bool,
    /// Notes for the person: look-alike addresses, choices made for them.
    pub notes: Vec<String>,
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Create,
    Update,
    Delete,
    Redeploy,
}

/// Why edits can't be made: the first that can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its place among the edits, counted from 0.
    pub index: usize,
    pub refusal: Refusal,
}

/// Why an edit can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no {kind} called `{name}`{hint}")]
    Unknown { kind: &'static str, name: String, hint: String },
    #[error("no {kind} has the hardware address {mac}{hint}")]
    UnknownMac { kind: &'static str, mac: Mac, hint: String },
    #[error("{kind} `{name}` exists already, in {place}; `update` changes it")]
    Exists { kind: &'static str, name: String, place: String },
    #[error("`{text}`: {why}")]
    Bad { text: String, why: String },
    #[error("which {kind}? Give its name{}", if *by_mac { " or its hardware address (--mac)" } else { "" })]
    Nameless { kind: &'static str, by_mac: bool },
    #[error("{file} is not valid TOML; correct it first (`voldemort check` shows where)")]
    Broken { file: String },
    #[error("{0}")]
    Choice(String),
    /// The text came out as something else than was meant; nothing is written then.
    #[error("{file} is written in a way that this edit can't follow; edit it by hand")]
    Tangled { file: String },
}

/// Whether these files hold the resource of each edit.
pub fn holds(files: &BTreeMap<Arc<str>, Bytes>, edits: &[Edit]) -> Result<Vec<bool>, Stopped> {
    let documents = manifest::parse(files).0;
    let held = |(index, edit): (usize, &Edit)| {
        subject::is_there(&documents, edit).map_err(|refusal| Stopped { index, refusal })
    };
    edits.iter().enumerate().map(held).collect()
}

/// An edit whose subject and settings are decided.
struct Task {
    done: Done,
    kind: Kind,
    name: Name,
    /// The file it stands in; `None` for a new one.
    home: Option<u32>,
    settings: Vec<Setting>,
    notes: Vec<String>,
}

#[cfg(test)]
mod tests;
