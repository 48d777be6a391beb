//! How events and the pages of the history lie on disk: JSON, so that a person can read a broken one and a
//! later version can add fields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Kept;
use crate::model::{ClientArch, Cpu, Firmware, Name, Time};
use crate::state::{Event, Stage};

/// What a stored value lacks.
pub type Unusable = String;

pub fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records hold nothing JSON lacks")
}

pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unusable> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
pub struct EventRecord {
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
    pub fn of(event: &Event) -> EventRecord {
        let Event { at, stage, mac, address, deployment, arch, ipxe, text } = event;
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

    pub fn into_event(self) -> Result<Event, Unusable> {
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
            text: self.text.into(),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub struct KeptRecord {
    revision: String,
    source: String,
    root: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    copies: BTreeMap<String, PathBuf>,
}

impl KeptRecord {
    /// All but the files, which lie in a table of their own.
    pub fn of(kept: &Kept) -> KeptRecord {
        let Kept { revision, source, root, environment, files: _, copies } = kept;
        KeptRecord {
            revision: revision.to_string(),
            source: source.to_string(),
            root: root.clone(),
            environment: environment.as_ref().map(|name| name.to_string()),
            copies: copies.iter().map(|(name, path)| (name.to_string(), path.clone())).collect(),
        }
    }

    pub fn into_kept(self) -> Kept {
        Kept {
            revision: self.revision.into(),
            source: self.source.into(),
            root: self.root,
            environment: self.environment.map(Arc::from),
            files: BTreeMap::new(),
            copies: self.copies.into_iter().map(|(name, path)| (name.into(), path)).collect(),
        }
    }
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
            let event = Event { at, stage, mac, address, deployment, arch, ipxe, text: text.into() };
            let record: EventRecord = read(&write(&EventRecord::of(&event))).unwrap();
            prop_assert_eq!(record.into_event(), Ok(event));
        }
    }
}
