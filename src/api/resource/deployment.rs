//! `GET /v1/deployments`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::model::{InstallerProof, Mac, Name, Phase};
use crate::state::{self, Duty};

/// A row of `GET /v1/deployments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    pub name: String,
    pub machine: Option<String>,
    /// Those of its machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub macs: Vec<String>,
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    pub boot: String,
    pub template: Option<String>,
    /// How a template of the program was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Word<InstallerProof>>,
    /// The profile that it names itself.
    #[serde(default)]
    pub profile: Option<String>,
    pub redeploy: u64,
    pub phase: Word<Phase>,
    /// What its next network boot leads to.
    pub next_boot: String,
    /// RFC 3339; when the phase began.
    pub since: Option<String>,
    pub subnet: Subnet,
    pub origin: String,
    /// The source whose manifests have it, where there are several.
    #[serde(default)]
    pub source: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    pub name: String,
    pub cidr: String,
    pub gateway: Option<Ipv4Addr>,
}

/// Those of the inventory by name, after the one of the name `after`.
pub fn all<'a>(state: &'a state::State, after: Option<&str>) -> impl Iterator<Item = Deployment> + use<'a> {
    let after = after.and_then(|after| after.parse::<Name>().ok()).map_or(Bound::Unbounded, Bound::Excluded);
    let names = state.desired().deployments.range((after, Bound::Unbounded));
    names.filter_map(|(name, _)| one(state, name.as_str()))
}

/// `None` if there is no such deployment.
pub fn one(state: &state::State, name: &str) -> Option<Deployment> {
    let found = state.desired().deployments.get(name)?;
    let machine = state.assignments().get(&found.name);
    let described = machine.and_then(|machine| state.desired().machines.get(machine));
    let macs: Vec<Mac> = described.map(|machine| state.cards(machine)).unwrap_or_default();
    let leased = macs.iter().find_map(|mac| state.leases().address_of(*mac));
    let leased6 = macs.iter().find_map(|mac| Some(state.leases6().of(*mac)?.address));
    let install = state.install_of(&found.name);
    Some(Deployment {
        name: found.name.to_string(),
        machine: machine.map(ToString::to_string),
        labels: described.map(|machine| machine.labels.clone()).unwrap_or_default(),
        macs: macs.iter().map(ToString::to_string).collect(),
        address: found.address.or(leased),
        address6: found.address6.or(leased6),
        boot: found.boot.name.to_string(),
        template: found.template.as_ref().map(|template| template.name.to_string()),
        proof: found.template.as_ref().and_then(|template| template.proof()).map(Word::from),
        profile: found.profile.as_ref().map(ToString::to_string),
        redeploy: found.redeploy,
        phase: state.phase(found).into(),
        next_boot: next_boot(state, found),
        since: install.map(|install| install.since.to_string()),
        subnet: Subnet {
            name: found.subnet.name.to_string(),
            cidr: found.subnet.network(),
            gateway: found.subnet.gateway,
        },
        origin: found.origin.to_string(),
        source: found.origin.file.source().map(str::to_owned),
    })
}

/// What the next network boot of a deployment, or of a claim, leads to.
pub(super) fn next_boot(state: &state::State, found: &crate::desired::Deployment) -> String {
    match state.duty(found) {
        Duty::Install { .. } => match state.hinted_disk(found) {
            Ok(Some(disk)) => format!("installs on {}", disk.described()),
            _ => "installs".into(),
        },
        Duty::NetworkBoot => format!("boots {} from the network", found.boot.name),
        Duty::LocalBoot(reason) => format!("boots its own disk: {reason}"),
    }
}

impl Row for Deployment {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "MACHINE", "ADDRESS", "BOOT", "TEMPLATE", "PHASE", "NEXT NETWORK BOOT"];

    const HAS_LABELS: bool = true;

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(self.machine.as_ref()),
            self.address
                .map(IpAddr::V4)
                .or(self.address6.map(IpAddr::V6))
                .map_or("auto".into(), |own| own.to_string()),
            self.boot.clone(),
            or_dash(self.template.as_ref()),
            self.phase.to_string(),
            self.next_boot.clone(),
        ]
    }
}
