//! `GET /v1/machines`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::desired;
use crate::model::words::words;
use crate::model::{PowerKind, PowerReading, PowerState};
use crate::power::driver;
use crate::state::{Seen, State};

/// A row of `GET /v1/machines`: from the manifests, or seen on the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// `None` for one that is in no manifest.
    pub name: Option<String>,
    pub macs: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub deployment: Option<String>,
    pub protected: bool,
    pub address: Option<IpAddr>,
    pub arch: Option<String>,
    /// RFC 3339.
    pub last_seen: Option<String>,
    /// Where its boots end, if it boots again and again and gets no further.
    #[serde(default)]
    pub stuck: Option<String>,
    pub origin: Option<String>,
    /// Where its manifest says how its power is read.
    #[serde(default)]
    pub power: Option<Power>,
}

/// What is known of a machine's power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Power {
    pub kind: Word<PowerKind>,
    pub state: Word<PowerShown>,
    /// RFC 3339; since when it is known to be so, or unknown.
    pub since: Option<String>,
    /// Why it is unknown.
    pub reason: Option<String>,
    /// What it was before it became unknown.
    pub before: Option<Word<PowerState>>,
}

words! {
    /// What a machine's power is, as far as that is known.
    pub enum PowerShown {
        On = "on",
        Off = "off",
        PoweringOn = "powering on",
        PoweringOff = "powering off",
        Paused = "paused",
        Unknown = "unknown",
    }
}

impl From<PowerState> for PowerShown {
    fn from(state: PowerState) -> PowerShown {
        match state {
            PowerState::On => PowerShown::On,
            PowerState::Off => PowerShown::Off,
            PowerState::PoweringOn => PowerShown::PoweringOn,
            PowerState::PoweringOff => PowerShown::PoweringOff,
            PowerState::Paused => PowerShown::Paused,
        }
    }
}

/// The machines of the manifests, then those that were only seen.
pub fn all(table: &State) -> Vec<Machine> {
    let described = table.desired().machines.values().map(|machine| {
        let cards = table.cards(machine);
        let seen = cards.iter().filter_map(|mac| table.seen().get(mac)).max_by_key(|seen| seen.last);
        Machine {
            name: Some(machine.name.to_string()),
            macs: cards.iter().map(ToString::to_string).collect(),
            labels: machine.labels.clone(),
            deployment: table.tenants().get(&machine.name).map(ToString::to_string),
            protected: table.protected().contains(&machine.name),
            origin: Some(machine.origin.to_string()),
            power: power(table, machine),
            stuck: table.loops().stuck(&machine.name).map(|text| text.to_string()),
            ..sighting(seen)
        }
    });
    let mut strangers: Vec<_> =
        table.seen().iter().filter(|(mac, _)| table.machine(**mac).is_none()).collect();
    strangers.sort_by_key(|(mac, _)| **mac);
    let strangers = strangers.into_iter().map(|(mac, seen)| Machine {
        macs: vec![mac.to_string()],
        stuck: table.loops().stuck_card(*mac).map(|text| text.to_string()),
        ..sighting(Some(seen))
    });
    described.chain(strangers).collect()
}

fn sighting(seen: Option<&Seen>) -> Machine {
    Machine {
        name: None,
        macs: Vec::new(),
        labels: Default::default(),
        deployment: None,
        protected: false,
        address: seen.and_then(|seen| seen.address),
        arch: seen.and_then(|seen| seen.arch).map(|arch| arch.to_string()),
        last_seen: seen.map(|seen| seen.last.to_string()),
        stuck: None,
        origin: None,
        power: None,
    }
}

/// `None` where the manifest does not say how its power is read.
fn power(table: &State, machine: &desired::Machine) -> Option<Power> {
    let told = machine.power.as_ref()?;
    let unknown = |reason: String| Power {
        kind: told.kind.into(),
        state: PowerShown::Unknown.into(),
        since: None,
        reason: Some(reason),
        before: None,
    };
    let Some(PowerReading { state, since, before }) = table.power_of(machine) else {
        return Some(unknown(driver(told.kind).unread().into()));
    };
    Some(match state {
        Ok(state) => Power {
            state: PowerShown::from(*state).into(),
            reason: None,
            since: Some(since.to_string()),
            ..unknown(String::new())
        },
        Err(why) => Power {
            since: Some(since.to_string()),
            before: before.map(|(state, _)| state.into()),
            ..unknown(why.to_string())
        },
    })
}

impl Row for Machine {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "MAC", "DEPLOYMENT", "ADDRESS", "ARCH", "POWER", "PROTECTED", "LAST SEEN"];

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.name.as_ref()),
            self.macs.join(","),
            or_dash(self.deployment.as_ref()),
            or_dash(self.address.as_ref()),
            or_dash(self.arch.as_ref()),
            or_dash(self.power.as_ref().map(|power| &power.state)),
            if self.protected { "yes".into() } else { "-".into() },
            or_dash(self.last_seen.as_ref()),
        ]
    }
}
