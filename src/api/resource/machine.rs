//! `GET /v1/machines`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, boot_once, hold, or_dash, wipe};
use crate::api::Word;
use crate::desired;
use crate::model::words::words;
use crate::model::{Mac, Name, PowerKind, PowerReading, PowerState};
use crate::power::driver;
use crate::state::{Seen, State, lifecycle};

/// A row of `GET /v1/machines`: from the manifests, or seen on the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// `None` for one that is in no manifest.
    pub name: Option<String>,
    pub macs: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The one word for it: what it is for, and how that stands.
    #[serde(default)]
    pub state: Word<lifecycle::Word>,
    /// The deployment that has it.
    pub deployment: Option<String>,
    /// The claim that has it.
    #[serde(default)]
    pub claim: Option<String>,
    /// What is being done with it.
    #[serde(default)]
    pub order: Option<wipe::Order>,
    /// Who keeps it from being used.
    #[serde(default)]
    pub hold: Option<hold::Hold>,
    /// What its next network boot leads to instead of what it is for.
    #[serde(default)]
    pub boot_once: Option<boot_once::BootOnce>,
    /// The boot programs that it is learned to need.
    #[serde(default)]
    pub loaders: Vec<boot_once::Loader>,
    /// The disks that our agent found.
    #[serde(default)]
    pub disks: Vec<wipe::Disk>,
    pub protected: bool,
    pub address: Option<IpAddr>,
    pub arch: Option<String>,
    /// RFC 3339.
    pub last_seen: Option<String>,
    /// Where its boots end, if it boots again and again and gets no further.
    #[serde(default)]
    pub stuck: Option<String>,
    pub origin: Option<String>,
    /// The source whose manifests have it, where there are several.
    #[serde(default)]
    pub source: Option<String>,
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
    /// How the last order about it ended since the daemon started.
    #[serde(default)]
    pub order: Option<PowerOrderEnd>,
}

/// How an order about a machine's power ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerOrderEnd {
    /// The effect's.
    pub id: u64,
    /// What it was to do, in words.
    pub what: String,
    /// RFC 3339.
    pub at: String,
    /// Why it was given up; null if it was done.
    pub reason: Option<String>,
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

/// The machines of the manifests by name, then those that were only seen by their hardware addresses; those after the
/// one whose name or address is `after`.
pub fn all<'a>(state: &'a State, after: Option<&str>) -> impl Iterator<Item = Machine> + use<'a> {
    let (name, card) = match after {
        // A name may look like a hardware address with hyphens, but has no colon.
        Some(after) if after.contains(':') => (None, after.parse::<Mac>().ok()),
        after => (after.and_then(|after| after.parse::<Name>().ok()), None),
    };
    let name = name.map_or(Bound::Unbounded, Bound::Excluded);
    let card = card.map_or(Bound::Unbounded, Bound::Excluded);
    let only_strangers = matches!(card, Bound::Excluded(_));
    let described = state.desired().machines.range((name, Bound::Unbounded)).filter(move |_| !only_strangers);
    let described = described.map(|(_, machine)| described_one(state, machine));
    let strangers = state.seen().range((card, Bound::Unbounded));
    let strangers = strangers.filter(|(mac, _)| state.machine(**mac).is_none());
    let strangers = strangers.map(|(mac, seen)| Machine {
        macs: vec![mac.to_string()],
        state: lifecycle::Word::Seen.into(),
        stuck: state.loops().stuck_card(*mac).map(|text| text.to_string()),
        ..sighting(Some(seen))
    });
    described.chain(strangers)
}

/// The one of the manifests that has this name.
pub fn one(state: &State, name: &Name) -> Option<Machine> {
    state.desired().machines.get(name).map(|machine| described_one(state, machine))
}

fn described_one(state: &State, machine: &desired::Machine) -> Machine {
    let cards = state.cards(machine);
    let seen = cards.iter().filter_map(|mac| state.seen().get(mac)).max_by_key(|seen| seen.last);
    let is_claimed = state.tenancy(&machine.name).is_some_and(|tenancy| tenancy.is_claim);
    Machine {
        name: Some(machine.name.to_string()),
        macs: cards.iter().map(ToString::to_string).collect(),
        labels: machine.labels.clone(),
        deployment: state.tenants().get(&machine.name).filter(|_| !is_claimed).map(ToString::to_string),
        protected: state.protected().contains(&machine.name),
        origin: Some(machine.origin.to_string()),
        source: machine.origin.file.source().map(str::to_owned),
        power: power(state, machine),
        loaders: state.learned_loaders(machine).into_iter().map(boot_once::loader).collect(),
        stuck: state.loops().stuck(&machine.name).map(|text| text.to_string()),
        ..life(state, &machine.name, seen)
    }
}

/// A machine that no revision declares, and of which something is recorded.
pub(super) fn found(state: &State, name: &Name) -> Machine {
    let cards = state.life(name).map(|life| life.cards.clone()).unwrap_or_default();
    let macs = cards.iter().map(ToString::to_string).collect();
    let loaders = state.loaders_of(cards.iter().copied()).into_iter().map(boot_once::loader).collect();
    Machine { name: Some(name.to_string()), macs, loaders, ..life(state, name, None) }
}

/// What is recorded of a machine's life.
fn life(state: &State, name: &Name, seen: Option<&Seen>) -> Machine {
    let shown = |hold: &crate::state::life::Hold| hold::Hold {
        by: hold.by.to_string(),
        reason: hold.reason.to_string(),
        until: hold.until.map(|until| until.to_string()),
    };
    Machine {
        state: state.word(name).into(),
        claim: state.claim_on(name).map(|claim| claim.name.to_string()),
        order: wipe::one(state, name),
        hold: state.hold(name).map(|hold| shown(hold)),
        boot_once: boot_once::one(state, name),
        disks: wipe::disks(state.life(name)),
        ..sighting(seen)
    }
}

fn sighting(seen: Option<&Seen>) -> Machine {
    Machine {
        name: None,
        macs: Vec::new(),
        labels: Default::default(),
        state: Default::default(),
        deployment: None,
        claim: None,
        order: None,
        hold: None,
        boot_once: None,
        loaders: Vec::new(),
        disks: Vec::new(),
        protected: false,
        address: seen.and_then(|seen| seen.address),
        arch: seen.and_then(|seen| seen.arch).map(|arch| arch.to_string()),
        last_seen: seen.map(|seen| seen.last.to_string()),
        stuck: None,
        origin: None,
        source: None,
        power: None,
    }
}

/// `None` where the manifest does not say how its power is read.
fn power(state: &State, machine: &desired::Machine) -> Option<Power> {
    let told = machine.power.as_ref()?;
    let unknown = |reason: String| Power {
        kind: told.kind.into(),
        state: PowerShown::Unknown.into(),
        since: None,
        reason: Some(reason),
        before: None,
        order: state.power_end(&machine.name).map(|end| PowerOrderEnd {
            id: end.id.0,
            what: end.what.to_string(),
            at: end.at.to_string(),
            reason: end.why.as_ref().map(ToString::to_string),
        }),
    };
    let Some(PowerReading { state, since, before }) = state.power_of(machine) else {
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
        &["NAME", "MAC", "STATE", "DEPLOYMENT", "ADDRESS", "ARCH", "POWER", "PROTECTED", "LAST SEEN"];

    const HAS_LABELS: bool = true;

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn key(&self) -> String {
        self.name.clone().or(self.macs.first().cloned()).unwrap_or_default()
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.name.as_ref()),
            self.macs.join(","),
            or_dash(Some(self.state.as_str()).filter(|word| !word.is_empty()).as_ref()),
            or_dash(self.deployment.as_ref().or(self.claim.as_ref())),
            or_dash(self.address.as_ref()),
            or_dash(self.arch.as_ref()),
            or_dash(self.power.as_ref().map(|power| &power.state)),
            if self.protected { "yes".into() } else { "-".into() },
            or_dash(self.last_seen.as_ref()),
        ]
    }
}
