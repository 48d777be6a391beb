//! Saved plans: what `plan --out` writes and `apply FILE` reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree;
use crate::api::resource::{Ticket, Tree};
use crate::plan::Plan;
use crate::source::replace::replace;

/// Version of the file: the number changes when older programs could not read it.
const FORMAT: u32 = 3;

/// A plan, the tree it was made of, and its ticket. Secrets in it are encrypted, as in the inventory, or
/// masked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedPlan {
    voldemort_plan: u32,
    pub ticket: Ticket,
    pub plan: Plan,
    pub tree: Tree,
    /// The directory it was made of, on the host where it was made.
    root: Option<PathBuf>,
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    voldemort_plan: u32,
}

impl SavedPlan {
    pub(super) fn new(ticket: Ticket, plan: Plan, tree: Tree, directory: &Path) -> SavedPlan {
        let root = std::fs::canonicalize(directory).ok();
        SavedPlan { voldemort_plan: FORMAT, ticket, plan, tree, root }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_vec(self).map_err(|error| failed(path, &error))?;
        replace(path, &text).map_err(|error| failed(path, &error))
    }

    pub(super) fn read(path: &Path) -> Result<SavedPlan, String> {
        let text = std::fs::read(path).map_err(|error| failed(path, &error))?;
        let no_plan = |error: serde_json::Error| failed(path, &format!("this is no saved plan ({error})"));
        let Head { voldemort_plan } = serde_json::from_slice(&text).map_err(no_plan)?;
        if voldemort_plan != FORMAT {
            let why = format!(
                "this is a saved plan of format {voldemort_plan}, which this version does not read: make the plan again"
            );
            return Err(failed(path, &why));
        }
        serde_json::from_slice(&text).map_err(no_plan)
    }

    /// What has changed since in the directory that the plan was made of, if it is on this host. `saved` is the file of
    /// the plan itself, which may lie there: it was written after the directory had been read.
    pub(super) fn changed_files(&self, saved: &Path) -> Vec<String> {
        let Some(root) = self.root.as_deref().filter(|root| root.is_dir()) else {
            return Vec::new();
        };
        let saved = std::fs::canonicalize(saved).unwrap_or_default();
        let own = saved.strip_prefix(root).ok().and_then(Path::to_str);
        let Ok(now) = tree::read(root, None) else {
            return vec![format!("{} can't be read any more", root.display())];
        };
        let before = &self.tree;
        let names = before.files.keys().chain(before.binary.keys()).chain(before.media.keys());
        let names = names.chain(now.files.keys()).chain(now.binary.keys()).chain(now.media.keys());
        let names: std::collections::BTreeSet<_> = names.collect();
        let differs = |name: &&&String| {
            let (text, media) = (now.files.get(**name), now.media.get(**name));
            match (before.files.get(**name), before.binary.get(**name), before.media.get(**name)) {
                (Some(old), ..) => text != Some(old),
                // Files that were sent by content then and are only described now.
                (_, Some(old), _) => match now.binary.get(**name) {
                    Some(new) => new != old,
                    None => media.is_none_or(|new| new.length * 2 != old.len() as u64),
                },
                (.., Some(old)) => media.is_none_or(|new| new.mark != old.mark),
                _ => true,
            }
        };
        names
            .iter()
            .filter(|name| own != Some(name.as_str()))
            .filter(differs)
            .map(|name| format!("{} changed since", root.join(name).display()))
            .collect()
    }
}

fn failed(path: &Path, error: &impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Blast;

    #[test]
    fn a_plan_that_is_saved_in_its_inventory_does_not_change_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("plans")).unwrap();
        std::fs::write(root.join("a.toml"), "[boot.b]\nkernel = \"linux\"\n").unwrap();
        let plan = Plan {
            format_version: String::new(),
            id: "1".into(),
            from: String::new(),
            to: String::new(),
            lineage: String::new(),
            serial: 0,
            deployments_before: 0,
            given_up: Vec::new(),
            changes: Vec::new(),
            blast: Blast::default(),
            uncompared: 0,
        };
        for place in ["tonight.plan", "plans/tonight.json"] {
            let path = root.join(place);
            let tree = tree::read(root, None).unwrap();
            SavedPlan::new(Ticket::default(), plan.clone(), tree, root).write(&path).unwrap();
            assert_eq!(SavedPlan::read(&path).unwrap().changed_files(&path), [""; 0], "{place}");
        }
        let path = root.join("tonight.plan");
        let saved = SavedPlan::read(&path).unwrap();
        let other = saved.changed_files(&path);
        assert!(matches!(other.as_slice(), [only] if only.contains("plans/tonight.json")), "{other:?}");
        std::fs::remove_file(root.join("plans/tonight.json")).unwrap();
        std::fs::write(root.join("a.toml"), "[boot.c]\nkernel = \"linux\"\n").unwrap();
        let changed = saved.changed_files(&path);
        assert!(
            matches!(changed.as_slice(), [only] if only.ends_with("a.toml changed since")),
            "{changed:?}"
        );
    }
}
