//! Machines: those written down, and those that a deployment's `mac` implies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Earlier, Resolver, option};
use crate::desired::Machine;
use crate::manifest::{Code, Mark, Marked, Problem, Value, document};
use crate::model::{Identity, Mac, Name, Power, PowerKind};

/// Network cards by who was first to claim them.
type Claims = HashMap<Mac, (Name, Mark)>;

impl Resolver<'_> {
    pub(super) fn machines(&mut self) {
        let documents = self.documents;
        let mut claims = Claims::with_capacity(documents.machines.len() + documents.deployments.len());
        let mut known = HashMap::new();
        let mut machines: Vec<_> = documents.machines.values().collect();
        machines.sort_by_key(|resource| resource.mark);
        for resource in machines {
            let macs = self.claim(&resource.name, &resource.body.macs, &mut claims);
            let ids = self.identities(&resource.name, &resource.body, &mut known);
            let earlier = Earlier::machine(&self.earlier.machines, resource, macs.len(), ids.len());
            let machine = earlier.unwrap_or_else(|| {
                let machine = Arc::new(Machine {
                    name: resource.name.clone(),
                    macs,
                    ids,
                    labels: owned(&resource.body.labels),
                    protect: resource.body.protect.as_ref().map(|protect| protect.value),
                    options: option::encoded(&resource.body.extra),
                    power: resource.body.power.as_ref().and_then(power),
                    power_on: resource.body.power_on.as_ref().is_some_and(|on| on.value),
                    loader: loader(&resource.body.loader),
                    origin: documents.sources.origin(resource.mark),
                });
                self.earlier.machines.insert(machine.name.clone(), (resource.clone(), machine.clone()));
                machine
            });
            if resource.body.macs.is_empty() && resource.whole {
                let message = format!("machine {} has no hardware address", resource.name);
                let problem =
                    Problem::new(Code::MissingKey, resource.mark, message, "`mac` is an empty list");
                self.problems.push(
                    problem.help(
                        "write the addresses of its network cards, as in mac = [\"52:54:00:aa:00:01\"]",
                    ),
                );
            }
            if let Some(power) = resource.body.power.as_ref().filter(|_| resource.whole) {
                self.power(&format!("machine {}", resource.name), power);
            }
            if let Some(on) = resource.body.power_on.as_ref().filter(|on| on.value && resource.whole) {
                self.power_on(&resource.name, on.mark, resource.body.power.as_ref());
            }
            self.add(machine);
        }
        self.implied(&mut claims);
    }

    fn implied(&mut self, claims: &mut Claims) {
        let documents = self.documents;
        let mut deployments: Vec<_> = documents.deployments.values().collect();
        deployments.sort_by_key(|resource| resource.mark);
        for resource in deployments.into_iter().filter(|resource| !resource.body.macs.is_empty()) {
            if let Some(other) = documents.machines.get(&resource.name) {
                let message =
                    format!("deployment `{0}` and machine `{0}` are two machines of one name", resource.name);
                let mark = resource.body.macs[0].mark;
                let problem =
                    Problem::new(Code::Twice, mark, message, "this makes a machine of the deployment's name")
                        .also(other.mark, "a machine of that name");
                self.problems.push(problem.help(format!(
                    "to use that machine write machine = \"{}\" instead of `mac`",
                    resource.name
                )));
                continue;
            }
            let macs = self.claim(&resource.name, &resource.body.macs, claims);
            let known = Earlier::machine(&self.earlier.implied, resource, macs.len(), 0);
            let machine = known.unwrap_or_else(|| {
                let machine = Arc::new(Machine {
                    name: resource.name.clone(),
                    macs,
                    ids: Vec::new(),
                    labels: BTreeMap::new(),
                    protect: None,
                    options: Default::default(),
                    power: None,
                    power_on: false,
                    loader: Vec::new(),
                    origin: documents.sources.origin(resource.mark),
                });
                self.earlier.implied.insert(machine.name.clone(), (resource.clone(), machine.clone()));
                machine
            });
            self.add(machine);
        }
    }

    /// The identities that no machine has yet; the others are reported.
    fn identities(
        &mut self,
        name: &Name,
        body: &document::Machine,
        known: &mut HashMap<Identity, (Name, Mark)>,
    ) -> Vec<Identity> {
        let client_ids = body.client_ids.iter().map(|id| (Identity::client_id(&id.value).ok(), id.mark));
        let uuid = body.uuid.iter().map(|uuid| (Identity::uuid(&uuid.value).ok(), uuid.mark));
        let mut own = Vec::new();
        for (identity, mark) in client_ids.chain(uuid) {
            let Some(identity) = identity else { continue };
            if identity.is_junk() {
                let message = format!("the {identity} of machine `{name}` is that of many machines");
                let problem =
                    Problem::new(Code::SharedMark, mark, message, "board makers put it into every board");
                self.problems.push(
                    problem.help("leave it out, and write the hardware addresses of all its cards as `mac`"),
                );
                continue;
            }
            let Some((first, earlier)) = known.get(&identity) else {
                known.insert(identity.clone(), (name.clone(), mark));
                own.push(identity);
                continue;
            };
            let message = match first == name {
                true => format!("machine `{name}` has the {identity} twice"),
                false => format!("two machines claim the {identity}"),
            };
            let problem = Problem::new(Code::MacTwice, mark, message, format!("claimed again by `{name}`"))
                .also(*earlier, format!("first claimed by `{first}`"));
            self.problems
                .push(problem.help("leave it to one of them, or to none: cloned machines share theirs"));
        }
        own
    }

    /// The addresses that no machine has yet; the others are reported.
    fn claim(&mut self, name: &Name, macs: &[Marked<Mac>], claims: &mut Claims) -> Vec<Mac> {
        let mut own = Vec::with_capacity(macs.len());
        for Marked { value: mac, mark } in macs {
            let Some((first, earlier)) = claims.get(mac) else {
                claims.insert(*mac, (name.clone(), *mark));
                own.push(*mac);
                continue;
            };
            let message = match first == name {
                true => format!("machine `{name}` has the hardware address {mac} twice"),
                false => format!("two machines claim the hardware address {mac}"),
            };
            let mut problem =
                Problem::new(Code::MacTwice, *mark, message, format!("claimed again by `{name}`"))
                    .also(*earlier, format!("first claimed by `{first}`"));
            let sources = &self.documents.sources;
            if sources.text_at(*mark) != sources.text_at(*earlier) {
                problem = problem
                    .note("letter case and separators are ignored when hardware addresses are compared");
            }
            self.problems.push(problem.help(match first == name {
                true => "write it once".to_owned(),
                false => format!(
                    "keep it on the machine whose network card has it; `voldemort why {mac}` shows what was seen of it"
                ),
            }));
        }
        own
    }

    fn add(&mut self, machine: Arc<Machine>) {
        for mac in &machine.macs {
            self.desired.macs.insert(*mac, machine.name.clone());
        }
        self.desired.machines.insert(machine.name.clone(), machine);
    }
}

pub(super) fn owned(labels: &BTreeMap<Arc<str>, Arc<str>>) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The names of boot programs, as they are looked for.
pub(super) fn loader(written: &[Marked<Arc<str>>]) -> Vec<Box<str>> {
    written.iter().map(|name| (*name.value).into()).collect()
}

/// `None` where mistakes hide what is meant.
pub(super) fn power(written: &document::Power) -> Option<Power> {
    let document::Power { kind, url, address, command, credentials, fingerprint } = written;
    let kind = kind.as_ref()?.value;
    let address = address.as_ref().map(|address| address.value.clone());
    let url = url.as_ref().map(|url| url.value.clone());
    // Redfish knows URLs alone.
    let (url, address) = match (kind, url, address) {
        (PowerKind::Redfish, None, Some(address)) => (Some(format!("https://{address}").into()), None),
        (_, url, address) => (url, address),
    };
    let secret = |value: &Marked<Value>| match &value.value {
        Value::Secret(name) => Some(name.clone()),
        _ => None,
    };
    Some(Power {
        kind,
        url,
        address,
        command: command.as_ref().and_then(|command| command.value.parse().ok()),
        credentials: credentials.as_ref().and_then(secret),
        fingerprint: fingerprint.as_ref().map(|digest| digest.value.clone()),
    })
}
