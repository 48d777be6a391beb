//! `GET /v1/subnets`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::desired;
use crate::model::Name;
use crate::state::State;

/// A row of `GET /v1/subnets`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubnetRow {
    pub name: String,
    /// Its networks, the one of IPv4 first.
    pub cidr: Vec<String>,
    pub gateway: Option<Ipv4Addr>,
    /// Ranges of addresses for machines without a fixed one.
    pub dynamic: Vec<String>,
    /// How long a dynamic lease lasts, as in `8h`.
    pub lease: String,
    /// What the daemon is there, unless it is even less on that interface.
    pub mode: String,
    pub origin: String,
}

/// All of the inventory.
pub fn all(state: &State) -> Vec<SubnetRow> {
    state.desired().subnets.values().map(|subnet| row(subnet)).collect()
}

/// The one of this name.
pub fn one(state: &State, name: &Name) -> Option<SubnetRow> {
    state.desired().subnets.get(name).map(|subnet| row(subnet))
}

/// The networks of a subnet.
pub(super) fn networks(subnet: &desired::Subnet) -> Vec<String> {
    let six = subnet.ipv6.iter().map(|six| six.cidr.to_string());
    subnet.cidr.iter().map(ToString::to_string).chain(six).collect()
}

/// Its ranges of addresses for machines without a fixed one.
pub(super) fn dynamic(subnet: &desired::Subnet) -> Vec<String> {
    let six = subnet.ipv6.iter().flat_map(|six| &six.dynamic);
    subnet.dynamic.iter().map(ToString::to_string).chain(six.map(ToString::to_string)).collect()
}

fn row(subnet: &desired::Subnet) -> SubnetRow {
    SubnetRow {
        name: subnet.name.to_string(),
        cidr: networks(subnet),
        gateway: subnet.gateway,
        dynamic: dynamic(subnet),
        lease: subnet.lease.to_string(),
        mode: subnet.mode.to_string(),
        origin: subnet.origin.to_string(),
    }
}

impl Row for SubnetRow {
    const COLUMNS: &'static [&'static str] = &["NAME", "CIDR", "GATEWAY", "DYNAMIC", "LEASE", "MODE"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.cidr.join(","),
            or_dash(self.gateway.as_ref()),
            or_dash(Some(self.dynamic.join(",")).filter(|all| !all.is_empty()).as_ref()),
            self.lease.clone(),
            self.mode.clone(),
        ]
    }
}
