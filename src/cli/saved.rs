//! Saved plans: what `plan --out` writes and `apply FILE` reads.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::remote;
use crate::api::types::{Ticket, Tree};
use crate::plan::Plan;
use crate::source::replace::replace;

/// Version of the file: the number changes when older programs could not read it.
const FORMAT: u32 = 1;

/// A plan, the tree it was made of, and what it is bound to. Secrets in it are encrypted, as in
/// the inventory, or masked.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedPlan {
    voldemort_plan: u32,
    pub ticket: Ticket,
    pub plan: Plan,
    pub tree: Tree,
}

impl SavedPlan {
    pub fn new(ticket: Ticket, plan: Plan, tree: Tree) -> SavedPlan {
        SavedPlan { voldemort_plan: FORMAT, ticket, plan, tree }
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_vec(self).map_err(|error| failed(path, &error))?;
        replace(path, &text).map_err(|error| failed(path, &error))
    }

    pub fn read(path: &Path) -> Result<SavedPlan, String> {
        let text = std::fs::read(path).map_err(|error| failed(path, &error))?;
        let saved: SavedPlan = serde_json::from_slice(&text)
            .map_err(|error| failed(path, &format!("this is no saved plan ({error})")))?;
        match saved.voldemort_plan {
            FORMAT => Ok(saved),
            other => Err(failed(path, &format!("saved plans of format {other} are not known here"))),
        }
    }

    /// What changed since in the directory that the plan was made of, if it is on this host.
    pub fn changed_files(&self) -> Vec<String> {
        let Some(root) = self.tree.root.as_ref().map(Path::new).filter(|root| root.is_dir()) else {
            return Vec::new();
        };
        let Ok(now) = remote::tree(root, None) else {
            return vec![format!("{} can't be read any more", root.display())];
        };
        let names = self.tree.files.keys().chain(self.tree.sealed.keys());
        let names: std::collections::BTreeSet<_> =
            names.chain(now.files.keys()).chain(now.sealed.keys()).collect();
        let differs = |name: &&&String| {
            self.tree.files.get(**name) != now.files.get(**name)
                || self.tree.sealed.get(**name) != now.sealed.get(**name)
        };
        names
            .iter()
            .filter(differs)
            .map(|name| format!("{} changed since", root.join(name).display()))
            .collect()
    }
}

fn failed(path: &Path, error: &impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
