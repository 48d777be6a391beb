//! `GET /v1/discovered`: machines that our agent found and no manifest declares.

use std::net::IpAddr;
use std::ops::Bound;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Row, or_dash};
use crate::api::Word;
use crate::edit::{Edit, Setting, Verb};
use crate::manifest::Kind;
use crate::model::facts::Facts;
use crate::model::words::words;
use crate::model::{Mac, Name, PowerKind, Size};
use crate::state::State;
use crate::state::life::Life;
use crate::state::lifecycle::{DiskState, Known};

/// A row of `GET /v1/discovered`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Discovered {
    /// Made of its hardware address, until a manifest gives it another.
    pub name: String,
    pub macs: Vec<String>,
    /// Where it was found.
    pub subnet: Option<String>,
    pub arch: Option<String>,
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub serial: Option<String>,
    /// In bytes.
    pub memory: u64,
    pub cores: u32,
    pub disks: Vec<FoundDisk>,
    /// RFC 3339; when our agent reported last.
    pub reported: Option<String>,
    /// A machine of the manifests that was never seen, and whose hardware address is one typing mistake away.
    pub near: Option<String>,
    /// All that our agent found out.
    pub facts: Option<Facts>,
    /// How it would be switched if it is registered, where its subnet says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<FoundPower>,
}

/// A disk of such a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundDisk {
    /// Its WWN, else its serial number with model and size, else its place.
    pub id: String,
    pub bytes: u64,
    pub state: Word<DiskShown>,
}

words! {
    /// What is on a disk.
    pub enum DiskShown {
        Blank = "blank",
        Data = "data",
        /// It could not be read.
        Unknown = "unknown",
    }
}

/// All of them by name, those behind the one of a key.
pub fn all<'a>(state: &'a State, after: Option<&str>) -> impl Iterator<Item = Discovered> + use<'a> {
    let after = after.and_then(|after| after.parse::<Name>().ok());
    let first = after.map_or(Bound::Unbounded, Bound::Excluded);
    let lives = state.lasting().lives.range((first, Bound::Unbounded));
    lives.filter(|(_, life)| life.known == Known::Discovered).map(|(name, life)| row(state, name, life))
}

/// The one that has a name.
pub fn one(state: &State, name: &Name) -> Option<Discovered> {
    let life = state.life(name).filter(|life| life.known == Known::Discovered)?;
    Some(row(state, name, life))
}

fn row(state: &State, name: &Name, life: &Life) -> Discovered {
    let facts = state.facts(name);
    let text = |of: fn(&Facts) -> &Option<String>| facts.and_then(|facts| of(facts).clone());
    let disk = |disk: &crate::state::life::Disk| FoundDisk {
        id: disk.id.to_string(),
        bytes: disk.bytes,
        state: match disk.state {
            DiskState::Clean => DiskShown::Blank,
            DiskState::Dirty | DiskState::InUse => DiskShown::Data,
            DiskState::Unknown => DiskShown::Unknown,
        }
        .into(),
    };
    Discovered {
        name: name.to_string(),
        macs: life.cards.iter().map(ToString::to_string).collect(),
        subnet: life.subnet.as_ref().map(ToString::to_string),
        arch: facts.map(|facts| facts.arch.clone()).filter(|arch| !arch.is_empty()),
        vendor: text(|facts| &facts.vendor),
        product: text(|facts| &facts.product),
        serial: text(|facts| &facts.serial),
        memory: facts.map_or(0, |facts| facts.memory),
        cores: facts.map_or(0, |facts| facts.cpu.cores),
        disks: life.disks.iter().map(disk).collect(),
        reported: life.reported.map(|at| at.to_string()),
        near: life.cards.iter().find_map(|card| state.never_seen_near(*card)).map(ToString::to_string),
        facts: facts.map(|facts| Facts::clone(facts)),
        power: power(state, life, facts.map(|facts| &**facts)),
    }
}

/// How a machine is switched that is registered in its subnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundPower {
    pub kind: String,
    /// Of its management controller.
    pub address: Option<String>,
    pub command: Option<String>,
    /// The name of a secret.
    pub credentials: Option<String>,
    pub fingerprint: Option<String>,
}

/// What its subnet says of the power of machines, with the address that our agent found. `None` where there is no
/// controller to ask.
fn power(state: &State, life: &Life, facts: Option<&Facts>) -> Option<FoundPower> {
    let power = state.desired().subnets.get(life.subnet.as_ref()?)?.power.as_ref()?;
    let address = facts.and_then(|facts| facts.bmc).map(|bmc| match bmc {
        IpAddr::V4(bmc) => bmc.to_string(),
        IpAddr::V6(bmc) => format!("[{bmc}]"),
    });
    let needs_address = matches!(power.kind, PowerKind::Redfish | PowerKind::Ipmi);
    if needs_address && address.is_none() {
        return None;
    }
    let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
    Some(FoundPower {
        kind: power.kind.to_string(),
        address: address.filter(|_| power.kind != PowerKind::Wol),
        command: text(&power.command),
        credentials: text(&power.credentials),
        fingerprint: power.fingerprint.as_ref().map(ToString::to_string),
    })
}

impl Discovered {
    /// A machine of which nothing is known but a network card.
    pub fn seen(mac: Mac) -> Discovered {
        Discovered {
            name: format!("m{}", mac.to_string().replace(':', "")),
            macs: vec![mac.to_string()],
            subnet: None,
            arch: None,
            vendor: None,
            product: None,
            serial: None,
            memory: 0,
            cores: 0,
            disks: Vec::new(),
            reported: None,
            near: None,
            facts: None,
            power: None,
        }
    }

    /// A manifest of this name with its cards, with labels of what is known of the hardware, and with these labels.
    pub fn edit(&self, name: Option<&str>, labels: &[(String, String)]) -> Edit {
        let setting = |path: &[&str], value: Value| Setting {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            value,
        };
        let mut settings = vec![match self.macs.as_slice() {
            [one] => setting(&["mac"], json!(one)),
            several => setting(&["mac"], json!(several)),
        }];
        let own = [("arch", &self.arch), ("vendor", &self.vendor), ("product", &self.product)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let is_given = |name: &str| labels.iter().any(|(own, _)| own == name);
        let all = own.filter(|(name, _)| !is_given(name)).chain(labels.iter().cloned());
        settings.extend(all.map(|(name, value)| setting(&["labels", &name], json!(value))));
        if let Some(FoundPower { kind, address, command, credentials, fingerprint }) = &self.power {
            let credentials = credentials.as_ref().map(|secret| json!({ "secret": secret }));
            let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
            let all = [
                ("kind", Some(json!(kind))),
                ("address", text(address)),
                ("command", text(command)),
                ("credentials", credentials),
                ("fingerprint", text(fingerprint)),
            ];
            let all = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
            settings.extend(all.map(|(key, value)| setting(&["power", key], value)));
        }
        Edit {
            verb: Verb::Create,
            kind: Kind::Machine,
            name: Some(name.unwrap_or(&self.name).to_owned()),
            mac: self.macs.first().cloned(),
            settings,
            deployment_type: None,
            if_match: None,
        }
    }

    /// In one line, for people.
    pub fn text(&self) -> String {
        let what = self.facts.as_ref().map(Facts::summary).unwrap_or_default();
        let near = self.near.as_ref().map(|near| {
            format!("; machine {near} of the manifests, which was never seen, has an address one typing mistake away")
        });
        format!(
            "discovered as {}: {what}{}; `voldemortctl register {}` accepts it",
            self.name,
            near.unwrap_or_default(),
            self.name
        )
    }
}

impl Row for Discovered {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "MAC", "SUBNET", "VENDOR", "PRODUCT", "SERIAL", "MEMORY", "DISKS", "NEAR", "REPORTED"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        let disk = |disk: &FoundDisk| match disk.state.known() {
            Some(DiskShown::Blank) => format!("{} blank", Size(disk.bytes)),
            _ => Size(disk.bytes).to_string(),
        };
        let disks: Vec<String> = self.disks.iter().map(disk).collect();
        vec![
            self.name.clone(),
            self.macs.join(","),
            or_dash(self.subnet.as_ref()),
            or_dash(self.vendor.as_ref()),
            or_dash(self.product.as_ref()),
            or_dash(self.serial.as_ref()),
            Size(self.memory).to_string(),
            if disks.is_empty() { "-".to_owned() } else { disks.join(", ") },
            or_dash(self.near.as_ref()),
            or_dash(self.reported.as_ref()),
        ]
    }
}
