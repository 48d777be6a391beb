//! Why a machine gets what it gets: the lines it comes from, its last boot, and the address it
//! may have been mistaken for.

mod verdict;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Discovered, Event as EventRow, claim, deployment, discovered, event, machine};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::desired::{Deployment, Machine};
use crate::model::similar::similar;
use crate::model::{BootWay, ClientArch, Cpu, Firmware, Identity, Mac, Name, Time, Unknown};
use crate::render::installer::METADATA_FILES;
use crate::state::loader::{self, Chosen, Rule};
use crate::state::{Event, State};
use verdict::{last_boot, verdict};

/// Most look-alikes that are shown.
const ALIKE_MAX: usize = 5;

/// `GET /v1/why/NAME-OR-MAC`: what a machine would be offered, and what happened at its last boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    pub subject: String,
    /// One sentence: how its last boot ended, or why there was none.
    pub verdict: String,
    pub machine: Option<machine::Machine>,
    pub deployment: Option<deployment::Deployment>,
    /// The claim that has the machine, or waits for one.
    #[serde(default)]
    pub claim: Option<super::claim::Claim>,
    /// What it would be offered at a boot now.
    pub offers: Vec<Offer>,
    /// The timeline of its last boot, oldest first.
    pub boot: Vec<EventRow>,
    /// What our agent found out, where it found a machine that no manifest declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<Discovered>,
    /// Hardware addresses one typing mistake away: of a card in no manifest those that manifests have and that were never
    /// seen, and the other way round.
    pub look_alikes: Vec<LookAlike>,
}

/// One thing that a machine is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    pub what: String,
    pub value: String,
    /// `file:line:column` that it comes from.
    pub origin: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookAlike {
    pub mac: String,
    /// The machine of the manifests that has it; `None` for one that was only seen.
    pub machine: Option<String>,
    pub origin: Option<String>,
}

pub fn routes<B: Backend>() -> Routes<B> {
    let about = "Why a deployment, a machine or a hardware address is as it is, and what it would be served";
    let route = Route::get("/v1/why/{subject}", about)
        .gives::<Why>()
        .says(StatusCode::NOT_FOUND, "There is nothing of that name");
    Routes::new().add(route, answer::<B>)
}

async fn answer<B: Backend>(Shared(backend): Shared<B>, Path(subject): Path<String>) -> Response {
    let (_, events) = backend.events(0, usize::MAX, |_| true);
    match why(&backend.state(), &subject, &events, backend.now()) {
        Ok(found) => Json(found).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, &error),
    }
}

/// Answers for the name of a deployment, a claim or a machine, or a hardware address. The error says that
/// there is none of that name.
pub fn why(state: &State, subject: &str, events: &[(u64, Event)], now: Time) -> Result<Why, String> {
    let (machine, macs) = match subject.parse::<Mac>() {
        Ok(mac) => (state.machine(mac), vec![mac]),
        Err(_) if found_cards(state, subject).is_some() => {
            (None, found_cards(state, subject).unwrap_or_default())
        }
        Err(_) => {
            let machine = match Identity::uuid(subject) {
                Ok(uuid) => Some(of_uuid(state, &uuid)?),
                Err(_) => named(state, subject)?,
            };
            (machine, machine.map(|machine| state.cards(machine)).unwrap_or_default())
        }
    };
    let discovered = match machine {
        Some(_) => None,
        None => macs.iter().find_map(|mac| state.machine_of_card(*mac)),
    };
    let deployment = match machine {
        Some(machine) => state.tenant(&machine.name),
        None => subject.parse::<Name>().ok().and_then(|name| state.deployment(&name)),
    };
    let claim = match machine {
        Some(machine) => state.claim_on(&machine.name).map(|claim| claim.name.clone()),
        None => subject.parse().ok(),
    };
    let cards = machine.map(|machine| state.cards(machine)).unwrap_or_default();
    let of_machine = |mac: &Mac| macs.contains(mac) || cards.contains(mac);
    let own: Vec<&(u64, Event)> =
        events.iter().filter(|(_, event)| event.mac.as_ref().is_some_and(of_machine)).collect();
    let boot = last_boot(&own);
    let rows = machine::all(state, None);
    let row = |row: &machine::Machine| match machine {
        Some(machine) => row.name.as_deref() == Some(machine.name.as_str()),
        None => row.name.is_none() && macs.iter().any(|mac| row.macs.contains(&mac.to_string())),
    };
    Ok(Why {
        subject: subject.to_owned(),
        verdict: verdict(&boot, deployment.map(|deployment| &**deployment)),
        machine: rows.into_iter().find(row),
        deployment: deployment.and_then(|one| deployment::one(state, one.name.as_str())),
        claim: claim.and_then(|name| claim::one(state, &name, now)),
        offers: match deployment {
            Some(deployment) => offers(state, deployment, machine.map(|machine| &**machine), now),
            None => strangers(state, machine.map(|machine| &**machine), &macs),
        },
        discovered: discovered.and_then(|name| discovered::one(state, name)),
        boot: boot.iter().map(|(sequence, event)| event::one(*sequence, event)).collect(),
        look_alikes: look_alikes(state, machine.map(|machine| &**machine), &macs),
    })
}

/// The machine that the manifests know by a UUID.
fn of_uuid<'a>(state: &'a State, uuid: &Identity) -> Result<&'a std::sync::Arc<Machine>, String> {
    let found = state.desired().machines.values().find(|machine| machine.ids.contains(uuid));
    found.ok_or_else(|| format!("no machine of the manifests has the {uuid}"))
}

/// The cards of a machine that our agent found and no manifest declares.
fn found_cards(state: &State, name: &str) -> Option<Vec<Mac>> {
    let found = discovered::one(state, &name.parse().ok()?)?;
    Some(found.macs.iter().filter_map(|mac| mac.parse().ok()).collect())
}

/// The machine of a deployment, else the machine of that name.
fn named<'a>(state: &'a State, name: &str) -> Result<Option<&'a std::sync::Arc<Machine>>, String> {
    let machines = &state.desired().machines;
    let claimed = || name.parse::<Name>().is_ok_and(|name| state.claims().contains_key(&name));
    if state.desired().deployments.contains_key(name) || claimed() {
        return Ok(state.assignments().get(name).and_then(|machine| machines.get(machine)));
    }
    machines.get(name).map(Some).ok_or_else(|| {
        if name.contains(':') {
            return format!("`{name}` is no hardware address: it has six pairs of hexadecimal digits");
        }
        let known = state
            .desired()
            .deployments
            .keys()
            .chain(state.claims().keys())
            .chain(machines.keys())
            .map(Name::as_str);
        let hint = similar(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        format!("there is no deployment, no claim and no machine called {name}{hint}")
    })
}

fn offers(state: &State, deployment: &Deployment, machine: Option<&Machine>, now: Time) -> Vec<Offer> {
    let boot = &deployment.boot;
    let own = deployment.origin.to_string();
    let subnet = &deployment.subnet;
    let mut offers = Vec::new();
    let mut offer = |what: &str, value: String, origin: Option<String>| {
        offers.push(Offer { what: what.into(), value, origin });
    };
    match machine {
        Some(machine) => {
            let macs: Vec<String> = state.cards(machine).iter().map(ToString::to_string).collect();
            offer(
                "machine",
                format!("{} ({})", machine.name, macs.join(", ")),
                Some(machine.origin.to_string()),
            );
        }
        None => offer("machine", "none is free that carries its labels".into(), Some(own.clone())),
    }
    match deployment.address {
        Some(address) => offer("address", address.to_string(), Some(own.clone())),
        None => offer("address", dynamic(subnet), Some(subnet.origin.to_string())),
    }
    offer("network", network(subnet), Some(subnet.origin.to_string()));
    offer("boot", boot.name.to_string(), Some(boot.origin.to_string()));
    offer("kernel", boot.kernel.path.to_string(), Some(boot.origin.to_string()));
    for initrd in &boot.initrd {
        offer("initrd", initrd.path.to_string(), Some(boot.origin.to_string()));
    }
    for (what, value, rule) in programs(state, deployment, machine, now) {
        let origin = match rule {
            Some(Rule::Machine) => machine.map(|machine| machine.origin.to_string()),
            Some(Rule::Boot | Rule::Image) => Some(boot.origin.to_string()),
            Some(Rule::Usual | Rule::Learned) | None => None,
        };
        offer(&what, value, origin);
    }
    let cards = machine.map(|machine| state.cards(machine)).unwrap_or_default();
    learned(state, &cards).into_iter().for_each(|one| offer(&one.what, one.value, one.origin));
    let words: Vec<&str> = boot.cmdline.iter().map(|word| word.source()).collect();
    offer("command line", words.join(" "), Some(boot.origin.to_string()));
    if let Some(template) = &deployment.template {
        let origin = template.origin.as_ref().map(ToString::to_string);
        offer(
            "template",
            format!("{} ({})", template.name, template.kind),
            origin.or(Some("built in".into())),
        );
    }
    if deployment.has_metadata() {
        let template = deployment.metadata();
        let from = template.map_or("no template: the user data is empty".into(), |one| one.name.to_string());
        let origin = template.and_then(|one| one.origin.as_ref()).map(ToString::to_string);
        let names: Vec<&str> = METADATA_FILES.iter().map(|file| file.name).collect();
        offer("metadata", format!("{} ({from})", names.join(", ")), origin);
    }
    if let Some(disk) = state.disk_outlook(deployment) {
        offer("disk", disk, Some(own.clone()));
    }
    match machine.and_then(|machine| once(state, machine)) {
        Some(text) => {
            offer("next boot", text, None);
            offer("boot after it", deployment::next_boot(state, deployment), Some(own));
        }
        None => offer("next boot", deployment::next_boot(state, deployment), Some(own)),
    }
    offers
}

/// What a person has ordered for the next network boot of a machine.
fn once(state: &State, machine: &Machine) -> Option<String> {
    let card = state.active_mac(machine)?;
    let boot = &state.due_boot(card)?.boot.name;
    let ordered = state.boot_once(&machine.name)?;
    Some(match ordered.begun {
        None => format!("boots {boot} once, by {}, until {}", ordered.by, ordered.until),
        Some(begun) => format!("has booted {boot} at {begun}, by {}", ordered.by),
    })
}

/// What the boots of some cards showed of boot programs.
fn learned(state: &State, cards: &[Mac]) -> Vec<Offer> {
    let offer = |what: String, value: String| Offer { what, value, origin: None };
    let learned = state.loaders_of(cards.iter().copied()).into_iter().map(|(card, one)| {
        let value = format!("{} by {}, since {} (card {card})", one.program, one.way, one.since);
        offer(format!("learned ({})", one.arch), value)
    });
    let failed = cards.iter().flat_map(|card| {
        state.failed_loaders(*card).into_iter().map(move |(arch, way, programs)| {
            (format!("did not run ({arch})"), format!("{} by {way} (card {card})", programs.join(", ")))
        })
    });
    learned.chain(failed.map(|(what, value)| offer(what, value))).collect()
}

/// The boot program for each firmware that the deployment's machine may have, and the rule that
/// chose it.
fn programs(
    state: &State,
    deployment: &Deployment,
    machine: Option<&Machine>,
    now: Time,
) -> Vec<(String, String, Option<Rule>)> {
    let all = [Firmware::Bios, Firmware::Uefi];
    let cpu = deployment.boot.cpu;
    let possible = all.into_iter().filter(|firmware| cpu == Cpu::X86_64 || *firmware == Firmware::Uefi);
    possible
        .map(|firmware| {
            let arch = ClientArch { cpu, firmware };
            let card = machine.and_then(|machine| state.active_mac(machine));
            let known = card.map(|card| state.experience(card, arch, BootWay::Pxe4, now)).unwrap_or_default();
            let (value, rule) =
                match loader::choose(Some(arch), state.server(), machine, Some(&deployment.boot), &known) {
                    Ok(Chosen { rule, place, .. }) => (format!("{} ({rule})", place.name()), Some(rule)),
                    Err(missing) => (format!("none: {missing}"), None),
                };
            (format!("boot program ({firmware})"), value, rule)
        })
        .collect()
}

/// What a machine without a deployment gets.
fn strangers(state: &State, machine: Option<&Machine>, macs: &[Mac]) -> Vec<Offer> {
    let offer =
        |what: &str, value: String, origin: Option<String>| Offer { what: what.into(), value, origin };
    let mut offers = Vec::new();
    offers.extend(machine.map(|machine| {
        offer("machine", format!("{}, without a deployment", machine.name), Some(machine.origin.to_string()))
    }));
    let lending: Vec<Offer> = state
        .desired()
        .subnets
        .values()
        .filter(|subnet| !subnet.dynamic.is_empty())
        .map(|subnet| offer("address", dynamic(subnet), Some(subnet.origin.to_string())))
        .collect();
    if lending.is_empty() {
        offers.push(offer(
            "address",
            "none: no subnet lends addresses to machines it does not know".into(),
            None,
        ));
    }
    offers.extend(lending);
    offers.extend(learned(state, macs));
    let looking = state.desired().subnets.values().find(|subnet| subnet.unknown != Unknown::Ignore);
    let agent = |mac: &&Mac| state.agent_boot(**mac, || looking.map(|subnet| &**subnet), None).is_some();
    let order = machine.and_then(|machine| state.life(&machine.name)?.order.clone());
    let once = machine.and_then(|machine| once(state, machine));
    let next = match order {
        None if let Some(once) = once => once,
        Some(order) => format!("boots our agent, which erases its disks: {}", order.reason),
        None if machine.is_none() && macs.iter().any(|mac| agent(&mac)) => {
            "boots our agent once, where unknown machines are looked at".to_owned()
        }
        None => "boots its own disk: nothing is deployed to it".to_owned(),
    };
    let origin = looking.filter(|_| machine.is_none()).map(|one| one.origin.to_string());
    offers.push(offer("next boot", next, origin));
    offers
}

fn dynamic(subnet: &crate::desired::Subnet) -> String {
    let six = subnet.ipv6.iter().filter(|_| subnet.cidr.is_none()).flat_map(|ipv6| &ipv6.dynamic);
    let ranges = subnet.dynamic.iter().map(ToString::to_string).chain(six.map(ToString::to_string));
    let ranges: Vec<String> = ranges.collect();
    match ranges.is_empty() {
        true => format!("none: subnet {} has no dynamic range", subnet.name),
        false => format!("one of {}", ranges.join(", ")),
    }
}

fn network(subnet: &crate::desired::Subnet) -> String {
    let mut text = format!("{} {}", subnet.name, subnet.network());
    if let Some(gateway) = subnet.gateway {
        text += &format!(", gateway {gateway}");
    }
    let six = subnet.ipv6.iter().filter(|_| subnet.cidr.is_none()).flat_map(|ipv6| &ipv6.dns);
    let dns: Vec<String> =
        subnet.dns.iter().map(ToString::to_string).chain(six.map(ToString::to_string)).collect();
    if !dns.is_empty() {
        text += &format!(", DNS {}", dns.join(", "));
    }
    text
}

/// Where a hardware address may be written wrongly: a card in no manifest that is one mistake away from one that was never
/// seen, or the other way round. Cards are often numbered in sequence; two that were both seen, or are both written, are
/// no mistake.
fn look_alikes(state: &State, machine: Option<&Machine>, macs: &[Mac]) -> Vec<LookAlike> {
    let alike = |other: &Mac| macs.iter().any(|mac| mac.is_slip_of(*other));
    let is_seen = |card: &Mac| state.seen().contains_key(card);
    let mut found: Vec<LookAlike> = match machine {
        None => {
            let known = state.desired().macs.iter().filter(|(other, _)| alike(other) && !is_seen(other));
            let row = |(other, machine): (&Mac, &Name)| LookAlike {
                mac: other.to_string(),
                machine: Some(machine.to_string()),
                origin: state.desired().machines.get(machine).map(|machine| machine.origin.to_string()),
            };
            known.map(row).collect()
        }
        Some(_) if macs.iter().any(is_seen) => Vec::new(),
        Some(_) => {
            let strangers =
                state.seen().keys().filter(|other| alike(other) && state.machine(**other).is_none());
            strangers.map(|other| LookAlike { mac: other.to_string(), machine: None, origin: None }).collect()
        }
    };
    found.sort_by(|a, b| a.mac.cmp(&b.mac));
    found.truncate(ALIKE_MAX);
    found
}
