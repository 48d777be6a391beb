//! How values lay in `records.redb` and `state.redb`: JSON.

use bytes::Bytes;
use serde::Deserialize;

pub(super) use super::super::record::{EventRecord, RevisionRecord, Unusable, read};
use crate::model::{FilePath, Name, Origin, Time};
use crate::state::lease::LeaseState;
use crate::state::{Install, InstallStage, Lease, Lease6, Served};

/// A lease of the time before leases had a journal.
#[derive(Deserialize)]
pub(super) struct LeaseRecord {
    mac: String,
    client_id: Option<Vec<u8>>,
    hostname: Option<String>,
    state: String,
    expires: u64,
}

impl LeaseRecord {
    pub(super) fn into_lease(self, address: u32) -> Result<Lease, Unusable> {
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

#[derive(Deserialize)]
pub(super) struct Lease6Record {
    mac: String,
    /// In hexadecimal.
    duid: String,
    state: String,
    expires: u64,
}

impl Lease6Record {
    pub(super) fn into_lease(self, address: u128) -> Result<Lease6, Unusable> {
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
    LeaseState::named(text).ok_or_else(|| format!("unknown lease state {text}"))
}

#[derive(Deserialize)]
pub(super) struct InstallRecord {
    machine: String,
    #[serde(default)]
    cards: Vec<String>,
    /// Absent in records of earlier versions, whose key it was.
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default)]
    former: Vec<String>,
    /// Absent where it is the deployment's present name.
    #[serde(default)]
    used_as: Option<String>,
    #[serde(default)]
    epoch: u64,
    redeploy: u64,
    stage: String,
    since: u64,
    digest: String,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    plain_urls: bool,
}

impl InstallRecord {
    /// `key` is the name that records of earlier versions lie under.
    pub(super) fn into_install(self, key: Option<Name>) -> Result<Install, Unusable> {
        let stage = InstallStage::named(&self.stage);
        let deployment = match (&self.deployment, key) {
            (Some(deployment), _) => name(deployment)?,
            (None, Some(key)) => key,
            (None, None) => return Err("an installation without a deployment".into()),
        };
        let card = |mac: &String| mac.parse().map_err(|error| format!("{mac}: {error}"));
        Ok(Install {
            machine: name(&self.machine)?,
            cards: self.cards.iter().map(card).collect::<Result<_, _>>()?,
            marks: [].into(),
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
            conflict: false,
        })
    }
}

fn name(text: &str) -> Result<Name, Unusable> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A deployment as it was last served.
#[derive(Deserialize)]
pub(super) struct ServedRecord {
    #[serde(default)]
    machine: Option<String>,
    redeploy: u64,
    #[serde(default)]
    boot: Option<String>,
    #[serde(default)]
    template: Option<String>,
    file: String,
    line: u32,
    column: u32,
}

impl ServedRecord {
    pub(super) fn into_served(self) -> Result<Served, Unusable> {
        let read = |text: Option<String>| text.as_deref().map(name).transpose();
        Ok(Served {
            machine: read(self.machine)?,
            redeploy: self.redeploy,
            boot: read(self.boot)?,
            template: read(self.template)?,
            origin: Origin { file: FilePath::of_former(&self.file), line: self.line, column: self.column },
        })
    }
}
