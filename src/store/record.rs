//! How events and the pages of the history lie on disk: JSON, so that a person can read a broken one and a
//! later version can add fields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{ClientArch, Cpu, Firmware, Name, Selection, Time};
use crate::state::revision::former::FormerRevision;
use crate::state::revision::stored::{SavedRevision, SavedTree, SavedTrees};
use crate::state::{Event, Revision, Stage};

/// What a stored value lacks.
pub(super) type Unusable = String;

pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records hold nothing JSON lacks")
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unusable> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventRecord {
    at: u64,
    stage: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<std::net::IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arch: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipxe: Option<bool>,
    text: String,
}

impl EventRecord {
    pub(super) fn of(event: &Event) -> EventRecord {
        let Event { at, stage, mac, address, deployment, arch, ipxe, offered: _, text } = event;
        EventRecord {
            at: at.0,
            stage: stage.to_string(),
            mac: mac.map(|mac| mac.to_string()),
            address: *address,
            deployment: deployment.as_ref().map(Name::to_string),
            arch: arch.map(|arch| (arch.cpu.to_string(), arch.firmware.to_string())),
            ipxe: *ipxe,
            text: text.to_string(),
        }
    }

    pub(super) fn into_event(self) -> Result<Event, Unusable> {
        let stage = Stage::named(&self.stage);
        let arch = self.arch.and_then(|(cpu, firmware)| {
            let cpu = Cpu::named(&cpu)?;
            let firmware = Firmware::ALL.into_iter().find(|known| known.to_string() == firmware)?;
            Some(ClientArch { cpu, firmware })
        });
        Ok(Event {
            at: Time(self.at),
            stage: stage.ok_or_else(|| format!("unknown stage {}", self.stage))?,
            mac: self.mac.and_then(|mac| mac.parse().ok()),
            address: self.address,
            deployment: self.deployment.and_then(|name| name.parse().ok()),
            arch,
            ipxe: self.ipxe,
            offered: None,
            text: self.text.into(),
        })
    }
}

/// A revision without its files. Versions until November 2026 wrote `source` and `copies` and no `trees`.
#[derive(Serialize, Deserialize)]
pub(super) struct RevisionRecord {
    /// What people call it.
    revision: String,
    #[serde(default, skip_serializing)]
    source: String,
    #[serde(default, skip_serializing)]
    root: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(default, skip_serializing)]
    copies: BTreeMap<String, PathBuf>,
    #[serde(default)]
    trees: Vec<TreeRecord>,
}

/// One tree of a source.
#[derive(Serialize, Deserialize)]
struct TreeRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    revision: String,
    settled: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<PathBuf>,
    copies: BTreeMap<String, PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<PartRecord>,
}

/// What of a tree is taken on top of the next one.
#[derive(Serialize, Deserialize)]
struct PartRecord {
    selection: Selection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
}

impl RevisionRecord {
    pub(super) fn name(&self) -> &str {
        &self.revision
    }

    /// All but the files, which lie beside it.
    pub(super) fn of(revision: &Revision) -> RevisionRecord {
        let (environment, trees) = match revision.without_files() {
            SavedRevision::Trees(SavedTrees { environment, trees }) => (environment, trees),
            SavedRevision::Former(_) => Default::default(),
        };
        RevisionRecord {
            revision: revision.name().to_string(),
            source: String::new(),
            root: None,
            environment: environment.map(|name| name.to_string()),
            copies: BTreeMap::new(),
            trees: trees.into_iter().map(TreeRecord::of).collect(),
        }
    }

    /// `None` where a source has no name that could be one.
    pub(super) fn into_saved(self) -> Option<SavedRevision> {
        let RevisionRecord { revision, source, root, environment, copies, trees } = self;
        let environment = environment.map(Arc::from);
        if trees.is_empty() {
            let (revision, source, copies) = (revision.into(), source.into(), by_path(copies));
            let former = FormerRevision { revision, source, root, environment, copies };
            return Some(SavedRevision::Former(former));
        }
        let trees = trees.into_iter().map(TreeRecord::into_tree).collect::<Option<_>>()?;
        Some(SavedRevision::Trees(SavedTrees { environment, trees }))
    }
}

impl TreeRecord {
    fn of(tree: SavedTree) -> TreeRecord {
        let SavedTree { source, revision, settled, root, copies, part } = tree;
        TreeRecord {
            source: source.map(|name| name.to_string()),
            revision: revision.to_string(),
            settled: settled.to_string(),
            root,
            copies: copies.into_iter().map(|(path, copy)| (path.to_string(), copy)).collect(),
            part: part.map(|(selection, environment)| {
                let environment = environment.map(|name| name.to_string());
                PartRecord { selection, environment }
            }),
        }
    }

    fn into_tree(self) -> Option<SavedTree> {
        let TreeRecord { source, revision, settled, root, copies, part } = self;
        Some(SavedTree {
            source: source.map(|name| name.parse()).transpose().ok()?,
            revision: revision.into(),
            settled: settled.into(),
            root,
            copies: by_path(copies),
            part: part.map(|PartRecord { selection, environment }| (selection, environment.map(Arc::from))),
        })
    }
}

fn by_path(copies: BTreeMap<String, PathBuf>) -> BTreeMap<Arc<str>, PathBuf> {
    copies.into_iter().map(|(path, copy)| (path.into(), copy)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::model::Mac;

    fn mac() -> impl Strategy<Value = Mac> {
        any::<[u8; 6]>().prop_filter_map("a machine's address", |octets| Mac::new(octets).ok())
    }

    fn name() -> impl Strategy<Value = Name> {
        "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|name| name.parse().unwrap())
    }

    fn arch() -> impl Strategy<Value = ClientArch> {
        let arch = |(cpu, firmware)| ClientArch { cpu, firmware };
        (select(Cpu::ALL.to_vec()), select(Firmware::ALL.to_vec())).prop_map(arch)
    }

    proptest! {
        #[test]
        fn events_are_read_as_they_were_written(
            at: u64,
            stage in select(Stage::ALL.to_vec()),
            mac in of(mac()),
            address in of(any::<u32>()),
            deployment in of(name()),
            arch in of(arch()),
            ipxe: Option<bool>,
            text: String,
        ) {
            let (at, address) = (Time(at), address.map(|bits: u32| std::net::Ipv4Addr::from(bits).into()));
            let event = Event { mac, address, deployment, arch, ipxe, ..Event::new(at, stage, text) };
            let record: EventRecord = read(&write(&EventRecord::of(&event))).unwrap();
            prop_assert_eq!(record.into_event(), Ok(event));
        }
    }
}
