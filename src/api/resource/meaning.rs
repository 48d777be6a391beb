//! What one resource means with all that it inherits, and how it stands.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::subnet::{dynamic, networks};
use crate::api::Word;
use crate::desired::template::Input;
use crate::desired::{self, DefinitionBody, Place};
use crate::manifest::Kind;
use crate::model::variable::VariableType;
use crate::model::words::words;
use crate::model::{Name, Phase};
use crate::render;
use crate::state::State;

/// What a template takes for one of its variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateInput {
    #[serde(rename = "type")]
    pub kind: Word<VariableType>,
    /// Its value where nothing sets it; without one it must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// What a resource means; members that its kind does not have are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Meaning {
    /// The machine that a deployment names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The profile that a deployment or pool names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The profiles that a profile starts from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extends: Vec<String>,
    /// The labels by which a deployment chooses its machine, or that those of a pool have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub select: BTreeMap<String, String>,
    /// The fixed IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The template of the user data at `nocloud_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redeploy: Option<u64>,
    /// The template's variables, by their spelling in templates. Of a secret only `{ "secret": NAME }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    /// SHA-256 over everything that decides what the machine is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect: Option<bool>,
    /// First part of the path below which a boot's files are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub initrd: Vec<String>,
    /// One template per word of the kernel command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmdline: Vec<String>,
    /// The networks of a subnet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cidr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Ranges of addresses for machines without a fixed one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dynamic: Vec<String>,
    /// How long a dynamic lease lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// What the daemon is on a subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What reads the rendered file of a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where the text of a template is, relative to the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The variables of a template.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, TemplateInput>,
    /// Most machines of a pool given out at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// After this a claim of a pool ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

words! {
    /// What can be said of a resource by yes or no.
    pub enum ConditionKind {
        /// The deployment has a machine.
        Assigned = "assigned",
        /// The deployment's machine is as it should be, and boots no installer.
        Settled = "settled",
        /// The machine boots again and again and gets no further.
        Stuck = "stuck",
        /// The machine was seen on the network.
        Seen = "seen",
        /// The machine must not be reinstalled or released.
        Protected = "protected",
        /// Two machines show a network card of it at a time, and neither is given anything.
        Contested = "contested",
        /// The daemon acts on it.
        Effective = "effective",
    }
}

/// How a resource stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Of a deployment.
    pub phase: Option<Word<Phase>>,
    /// RFC 3339; when the phase began.
    pub since: Option<String>,
    /// What follows from the phase, for people.
    pub reason: Option<String>,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Word<ConditionKind>,
    pub status: bool,
    /// For people.
    pub reason: String,
    /// RFC 3339; since when it is so, where that is known.
    pub since: Option<String>,
}

impl Condition {
    fn new(kind: ConditionKind, status: bool, reason: impl Into<String>, since: Option<String>) -> Condition {
        Condition { kind: kind.into(), status, reason: reason.into(), since }
    }
}

/// What the resource of this name means; `None` if there is none.
pub fn of(state: &State, kind: Kind, name: &Name) -> Option<Meaning> {
    let desired = state.desired();
    Some(match kind {
        Kind::Deployment => deployment(desired.deployments.get(name)?),
        Kind::Machine => {
            let machine = desired.machines.get(name)?;
            Meaning {
                macs: texts(&machine.macs),
                labels: machine.labels.clone(),
                protect: machine.protect,
                ..Meaning::default()
            }
        }
        Kind::Boot => boot(desired.boots.get(name)?),
        Kind::Subnet => subnet(desired.subnets.get(name)?),
        Kind::Profile | Kind::Pool | Kind::Template => {
            definition(&desired.definitions.get(&(kind, name.clone()))?.body)
        }
    })
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn deployment(found: &desired::Deployment) -> Meaning {
    let (machine, select) = match &found.place {
        Place::Machine(machine) => (Some(machine.to_string()), BTreeMap::new()),
        Place::Select(labels) => (None, labels.clone()),
    };
    Meaning {
        machine,
        profile: found.profile.as_ref().map(ToString::to_string),
        select,
        address: found.address,
        address6: found.address6,
        subnet: Some(found.subnet.name.to_string()),
        boot: Some(found.boot.name.to_string()),
        template: found.template.as_ref().map(|template| template.name.to_string()),
        user_data: found.user_data.as_ref().map(|template| template.name.to_string()),
        redeploy: Some(found.redeploy),
        values: found.values.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        digest: Some(found.digest.to_string()),
        ..Meaning::default()
    }
}

fn definition(body: &DefinitionBody) -> Meaning {
    fn text<T: ToString>(value: Option<&T>) -> Option<String> {
        value.map(ToString::to_string)
    }
    match body {
        DefinitionBody::Profile { extends, subnet, boot, template, user_data, values } => Meaning {
            extends: texts(extends),
            subnet: text(subnet.as_ref()),
            boot: text(boot.as_ref()),
            template: text(template.as_ref()),
            user_data: text(user_data.as_ref()),
            values: values.iter().map(|(name, value)| (name.to_string(), plain(value))).collect(),
            ..Meaning::default()
        },
        DefinitionBody::Template { kind, file, inputs } => {
            let input = |(name, input): (&String, &Input)| {
                let default = input.default.as_ref().map(plain);
                (name.clone(), TemplateInput { kind: input.kind.into(), default })
            };
            Meaning {
                kind: text(kind.as_ref()),
                file: text(file.as_ref()),
                inputs: inputs.iter().map(input).collect(),
                ..Meaning::default()
            }
        }
        DefinitionBody::Pool { profile, select, max, ttl } => Meaning {
            profile: text(profile.as_ref()),
            select: select.clone(),
            max: *max,
            ttl: text(ttl.as_ref()),
            ..Meaning::default()
        },
    }
}

fn boot(found: &desired::Boot) -> Meaning {
    Meaning {
        prefix: Some(found.prefix.to_string()),
        arch: Some(found.cpu.to_string()),
        kernel: Some(found.kernel.path.to_string()),
        initrd: found.initrd.iter().map(|initrd| initrd.path.to_string()).collect(),
        cmdline: found.cmdline.iter().map(|word| word.source().to_owned()).collect(),
        ..Meaning::default()
    }
}

fn subnet(found: &desired::Subnet) -> Meaning {
    let six = found.ipv6.as_ref();
    let mut dns = texts(&found.dns);
    dns.extend(six.iter().flat_map(|six| texts(&six.dns)));
    Meaning {
        cidr: networks(found),
        gateway: found.gateway,
        dns,
        domain: found.domain.clone(),
        dynamic: dynamic(found),
        lease: Some(found.lease.to_string()),
        mode: Some(found.mode.to_string()),
        ..Meaning::default()
    }
}

fn plain(value: &render::Value) -> Value {
    match value {
        render::Value::String(text) => json!(text),
        render::Value::Integer(number) => json!(number),
        render::Value::Boolean(flag) => json!(flag),
        render::Value::List(items) => items.iter().map(plain).collect(),
        render::Value::Table(members) => {
            members.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        render::Value::Secret(name) => json!({ "secret": name }),
    }
}

/// How the resource of this name stands.
pub fn standing(state: &State, kind: Kind, name: &Name) -> Standing {
    match kind {
        Kind::Deployment => state.desired().deployments.get(name).map(|found| of_deployment(state, found)),
        Kind::Machine => state.desired().machines.get(name).map(|found| of_machine(state, found)),
        Kind::Pool => Some(of_pool(state, name)),
        Kind::Boot | Kind::Subnet | Kind::Profile | Kind::Template => None,
    }
    .unwrap_or_default()
}

fn of_deployment(state: &State, found: &desired::Deployment) -> Standing {
    let row = super::deployment::one(state, found.name.as_str());
    let (since, next) = row.map(|row| (row.since, row.next_boot)).unwrap_or_default();
    let phase = state.phase(found);
    let settled = matches!(phase, Phase::Installed | Phase::NetworkBoot);
    let machine = state.assignments().get(&found.name);
    let assigned = match machine {
        Some(machine) => format!("its machine is {machine}"),
        None => "it has no machine".to_owned(),
    };
    let mut conditions = vec![
        Condition::new(ConditionKind::Assigned, machine.is_some(), assigned, None),
        Condition::new(ConditionKind::Settled, settled, format!("it is {phase}: {next}"), since.clone()),
    ];
    let held = state.disk_hold(found).map(|why| Condition::new(ConditionKind::Stuck, true, why, None));
    conditions.extend(held.or_else(|| machine.map(|machine| stuck(state, machine))));
    Standing { phase: Some(phase.into()), since, reason: Some(next), conditions }
}

fn of_pool(state: &State, name: &Name) -> Standing {
    let (is_effective, reason) = match state.desired().pools.contains_key(name) {
        true => (true, "claims get machines of it"),
        false => (false, "its profile has mistakes, which `voldemort check` shows: it gives out no machine"),
    };
    let conditions = vec![Condition::new(ConditionKind::Effective, is_effective, reason, None)];
    Standing { conditions, ..Standing::default() }
}

fn of_machine(state: &State, found: &desired::Machine) -> Standing {
    let cards = state.cards(found);
    let seen = cards.iter().filter_map(|mac| state.seen().get(mac)).max_by_key(|seen| seen.last);
    let last = seen.map(|seen| seen.last.to_string());
    let reason = match &last {
        Some(last) => format!("it was seen last at {last}"),
        None => "it was never seen".to_owned(),
    };
    let protected = state.protected().contains(&found.name);
    let protection = if protected { "it is not reinstalled or released" } else { "nothing protects it" };
    Standing {
        conditions: vec![
            Condition::new(ConditionKind::Seen, seen.is_some(), reason, None),
            Condition::new(ConditionKind::Protected, protected, protection, None),
            stuck(state, &found.name),
            contested(state, &found.name),
        ],
        ..Standing::default()
    }
}

fn contested(state: &State, machine: &Name) -> Condition {
    let way = format!("then `voldemortctl retry {machine}`");
    match state.contest_of(machine) {
        Some(why) => Condition::new(ConditionKind::Contested, true, format!("{why}; {way}"), None),
        None => Condition::new(ConditionKind::Contested, false, "one machine shows its network cards", None),
    }
}

fn stuck(state: &State, machine: &Name) -> Condition {
    match state.loops().stuck(machine) {
        Some(why) => Condition::new(ConditionKind::Stuck, true, &**why, None),
        None => Condition::new(ConditionKind::Stuck, false, "its boots get on", None),
    }
}
