//! Edits by meaning ("raise web-1's redeploy number"), put into the text of manifests as a careful
//! person would: comments, order and every untouched line stay as they are. The same edit can be
//! made again on a newer text, which is how two writers at once both get what they asked for.
//!
//! A new resource goes to the end of the file that holds most of its kind (`deployments.toml`,
//! if that holds any); where there is none of its kind yet, to `deployments.toml`, `boots.toml`, …
//! at the inventory's root. An existing one is edited where it stands.

mod delete;
mod layout;
mod set;
mod subject;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{self, Documents, Kind};
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
}

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

/// One file with another text.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Relative to the inventory's root.
    pub path: Arc<str>,
    /// `None`: the file is new.
    pub before: Option<String>,
    pub after: String,
    pub kind: Kind,
    pub name: Name,
    /// What was done, for a commit's first line: `Create deployment web-1`.
    pub summary: String,
    /// Notes for the person: look-alike addresses, choices made for them.
    pub notes: Vec<String>,
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

/// Whether these files hold the resource that the edit is about.
pub fn holds(files: &BTreeMap<Arc<str>, Bytes>, edit: &Edit) -> Result<bool, Refusal> {
    subject::is_there(&manifest::parse(files).0, edit)
}

/// The change that an edit makes to an inventory's files (by path); `None` if all is as wanted.
pub fn apply(
    files: &BTreeMap<Arc<str>, Bytes>,
    edit: &Edit,
    known: &Known,
) -> Result<Option<Change>, Refusal> {
    let (documents, _) = manifest::parse(files);
    let task = subject::settle(&documents, edit, known)?;
    let change = match &task.home {
        Some(file) => existing(&documents, &task, *file)?,
        None => write::create(&documents, &task)?,
    };
    let change = Change { notes: task.notes, ..change };
    Ok((change.before.as_ref() != Some(&change.after)).then_some(change))
}

/// An edit whose subject and settings are decided.
struct Task {
    kind: Kind,
    name: Name,
    /// The file it stands in; `None` for a new one.
    home: Option<u32>,
    delete: bool,
    settings: Vec<Setting>,
    summary: String,
    notes: Vec<String>,
}

fn existing(documents: &Documents, task: &Task, file: u32) -> Result<Change, Refusal> {
    let source = documents.sources.get(file);
    let tangled = || Refusal::Tangled { file: source.path.to_string() };
    let broken = || Refusal::Broken { file: source.path.to_string() };
    if documents.unparsed.contains(&file) {
        return Err(broken());
    }
    let before = source.text().ok_or_else(broken)?;
    let after = match task.delete {
        true => delete::resource(before, task.kind, task.name.as_str()),
        false => set::settings(before, task.kind, task.name.as_str(), &task.settings)?,
    };
    let after = after.filter(|after| layout::same_elsewhere(before, after, task.kind, task.name.as_str()));
    Ok(task.change(source.path.shown().clone(), Some(before.to_owned()), after.ok_or_else(tangled)?))
}

impl Task {
    fn change(&self, path: Arc<str>, before: Option<String>, after: String) -> Change {
        let (kind, name, summary) = (self.kind, self.name.clone(), self.summary.clone());
        Change { path, before, after, kind, name, summary, notes: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
