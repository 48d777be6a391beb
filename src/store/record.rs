//! How values lie in the store: JSON, so that a person can read a broken one and a later
//! version can add fields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Kept;
use crate::model::{ClientArch, Cpu, Firmware, Name, Origin, Time};
use crate::state::lease::LeaseState;
use crate::state::{Event, Install, InstallStage, Lease, Lease6, Served, Stage};

/// Names of the kinds of records.
pub mod kind {
    pub const LEASE6: &str = "lease6";
    pub const INSTALL: &str = "install";
    /// Which machine a deployment has.
    pub const ASSIGNED: &str = "assigned";
    pub const PROTECTED: &str = "protected";
    /// What the daemon wrote down for itself.
    pub const NOTE: &str = "note";
    /// A card in no manifest, and whose it was learned to be.
    pub const CARD: &str = "card";
    /// The revision that is served, but for its files.
    pub const KEPT: &str = "kept";
    /// A file of the revision that is served.
    pub const FILE: &str = "file";
    /// A deployment as it was last served.
    pub const SERVED: &str = "served";
    /// A saved plan that was applied, and the serial it was made for.
    pub const USED: &str = "used";
}

/// What a stored value lacks.
pub type Unusable = String;

pub fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records hold nothing JSON lacks")
}

pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unusable> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// A lease of the time before leases had a journal.
#[derive(Deserialize)]
pub struct LeaseRecord {
    mac: String,
    client_id: Option<Vec<u8>>,
    hostname: Option<String>,
    state: String,
    expires: u64,
}

impl LeaseRecord {
    pub fn into_lease(self, address: u32) -> Result<Lease, Unusable> {
        Ok(Lease {
            address: address.into(),
            mac: self.mac.parse().map_err(|error| format!("{}: {error}", self.mac))?,
            client_id: self.client_id.map(Bytes::from),
            hostname: self.hostname,
            state: lease_state(&self.state)?,
            expires: Time(self.expires),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub struct Lease6Record {
    mac: String,
    /// In hexadecimal.
    duid: String,
    state: String,
    expires: u64,
}

impl Lease6Record {
    pub fn of(lease: &Lease6) -> Lease6Record {
        let Lease6 { address: _, mac, duid, state, expires } = lease;
        let duid = duid.iter().map(|byte| format!("{byte:02x}")).collect();
        Lease6Record { mac: mac.to_string(), duid, state: state.to_string(), expires: expires.0 }
    }

    pub fn into_lease(self, address: u128) -> Result<Lease6, Unusable> {
        let byte = |at: usize| u8::from_str_radix(self.duid.get(at..at + 2)?, 16).ok();
        let duid: Option<Vec<u8>> = (0..self.duid.len()).step_by(2).map(byte).collect();
        Ok(Lease6 {
            address: address.into(),
            mac: self.mac.parse().map_err(|error| format!("{}: {error}", self.mac))?,
            duid: duid.ok_or_else(|| format!("{} is not hexadecimal", self.duid))?.into(),
            state: lease_state(&self.state)?,
            expires: Time(self.expires),
        })
    }
}

fn lease_state(text: &str) -> Result<LeaseState, Unusable> {
    match text {
        "offered" => Ok(LeaseState::Offered),
        "bound" => Ok(LeaseState::Bound),
        "released" => Ok(LeaseState::Released),
        "declined" => Ok(LeaseState::Declined),
        other => Err(format!("unknown lease state {other}")),
    }
}

#[derive(Serialize, Deserialize)]
pub struct InstallRecord {
    machine: String,
    #[serde(default)]
    cards: Vec<String>,
    /// Absent in records of earlier versions, whose key it was.
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<String>,
    /// Absent where it is the deployment's present name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_as: Option<String>,
    #[serde(default)]
    epoch: u64,
    redeploy: u64,
    stage: String,
    since: u64,
    digest: String,
    #[serde(default)]
    again: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    plain_urls: bool,
}

impl InstallRecord {
    pub fn of(install: &Install) -> InstallRecord {
        let Install {
            machine,
            cards,
            deployment,
            former,
            used_as,
            epoch,
            redeploy,
            stage,
            since,
            digest,
            again,
            closed,
            plain_urls,
        } = install;
        InstallRecord {
            machine: machine.to_string(),
            cards: cards.iter().map(ToString::to_string).collect(),
            deployment: Some(deployment.to_string()),
            former: former.iter().map(ToString::to_string).collect(),
            used_as: (used_as != deployment).then(|| used_as.to_string()),
            epoch: *epoch,
            redeploy: *redeploy,
            stage: stage.to_string(),
            since: since.0,
            digest: digest.to_string(),
            again: *again,
            closed: *closed,
            plain_urls: *plain_urls,
        }
    }

    /// `key` is the name that records of earlier versions lie under.
    pub fn into_install(self, key: Option<Name>) -> Result<Install, Unusable> {
        let stage = InstallStage::ALL.into_iter().find(|stage| stage.to_string() == self.stage);
        let deployment = match (&self.deployment, key) {
            (Some(deployment), _) => name(deployment)?,
            (None, Some(key)) => key,
            (None, None) => return Err("an installation without a deployment".into()),
        };
        let card = |mac: &String| mac.parse().map_err(|error| format!("{mac}: {error}"));
        Ok(Install {
            machine: name(&self.machine)?,
            cards: self.cards.iter().map(card).collect::<Result<_, _>>()?,
            former: self.former.iter().map(|text| name(text)).collect::<Result<_, _>>()?,
            used_as: self.used_as.as_deref().map(name).transpose()?.unwrap_or_else(|| deployment.clone()),
            deployment,
            epoch: self.epoch,
            redeploy: self.redeploy,
            stage: stage.ok_or_else(|| format!("unknown installation stage {}", self.stage))?,
            since: Time(self.since),
            digest: self.digest.into(),
            again: self.again,
            closed: self.closed,
            plain_urls: self.plain_urls,
        })
    }
}

fn name(text: &str) -> Result<Name, Unusable> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A deployment as it was last served.
#[derive(Serialize, Deserialize)]
pub struct ServedRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    redeploy: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    file: String,
    line: u32,
    column: u32,
}

impl ServedRecord {
    pub fn of(served: &Served) -> ServedRecord {
        let Served { machine, redeploy, boot, template, origin } = served;
        let text = |name: &Option<Name>| name.as_ref().map(Name::to_string);
        ServedRecord {
            machine: text(machine),
            redeploy: *redeploy,
            boot: text(boot),
            template: text(template),
            file: origin.file.to_string(),
            line: origin.line,
            column: origin.column,
        }
    }

    pub fn into_served(self) -> Result<Served, Unusable> {
        let read = |text: Option<String>| text.as_deref().map(name).transpose();
        Ok(Served {
            machine: read(self.machine)?,
            redeploy: self.redeploy,
            boot: read(self.boot)?,
            template: read(self.template)?,
            origin: Origin { file: self.file.into(), line: self.line, column: self.column },
        })
    }
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
        let stage = Stage::ALL.into_iter().find(|stage| stage.to_string() == self.stage);
        let arch = self.arch.and_then(|(cpu, firmware)| {
            let cpu = cpu.parse::<Cpu>().ok()?;
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
        fn installations_are_read_as_they_were_written(
            (machine, deployment, used_as) in (name(), name(), name()),
            former in prop::collection::vec(name(), 0..3),
            cards in prop::collection::vec(mac(), 0..3),
            (epoch, redeploy, since) in any::<(u64, u64, u64)>(),
            stage in select(InstallStage::ALL.to_vec()),
            digest: String,
            (again, closed, plain_urls) in any::<(bool, bool, bool)>(),
        ) {
            let (since, digest, former, cards) = (Time(since), digest.into(), former.into(), cards.into());
            let install = Install {
                machine, cards, deployment, former, used_as, epoch, redeploy, stage, since, digest, again,
                closed, plain_urls,
            };
            let record: InstallRecord = read(&write(&InstallRecord::of(&install))).unwrap();
            prop_assert_eq!(record.into_install(None), Ok(install));
        }

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
