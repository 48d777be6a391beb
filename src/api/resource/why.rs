//! Why a machine gets what it gets: the lines it comes from, its last boot, and the address it
//! may have been mistaken for.

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
use crate::state::{Event, Stage, State};

/// Most look-alikes that are shown.
const ALIKE_MAX: usize = 5;
/// Most steps of a boot that are shown.
const STEPS_MAX: usize = 200;

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

/// The events since firmware last asked for an address. Later stages of one boot ask again, but
/// do not name the firmware's processor, or are iPXE that was loaded before.
fn last_boot<'a>(events: &[&'a (u64, Event)]) -> Vec<&'a (u64, Event)> {
    let asks = |event: &Event| matches!(event.stage, Stage::Offer | Stage::Silence);
    let begins = |at: usize| {
        let (_, event) = events[at];
        let before =
            events[..at].iter().rev().map(|(_, event)| event).find(|event| event.stage != Stage::Offer);
        let chained = event.ipxe == Some(true) && before.is_some_and(|before| before.stage == Stage::Loader);
        let repeated = at > 0 && asks(&events[at - 1].1) && event.at.since(events[at - 1].1.at).0 < 60_000;
        asks(event) && event.arch.is_some() && !chained && !repeated
    };
    let start = (0..events.len()).rev().find(|at| begins(*at)).unwrap_or(0);
    let start = start.max(events.len().saturating_sub(STEPS_MAX));
    events[start..].to_vec()
}

/// How a boot ended, of a machine that has this deployment.
fn verdict(boot: &[&(u64, Event)], deployment: Option<&Deployment>) -> String {
    let by_hand = boot.iter().rev().find(|(_, event)| event.stage == Stage::Adopted);
    let boot: Vec<_> = boot.iter().copied().filter(|(_, event)| event.stage.is_of_machine()).collect();
    let (Some((_, last)), boot) = (boot.last(), &*boot) else {
        if let Some((_, adopted)) = by_hand {
            return format!("it was never seen on the network: {}", adopted.text);
        }
        return "it was never seen on the network; check the cable, the hardware address and whether the \
                firmware boots from the network"
            .into();
    };
    let bad = boot
        .iter()
        .rev()
        .map(|(_, event)| event)
        .find(|event| matches!(event.stage, Stage::Failed | Stage::Refused | Stage::Silence));
    let reached = boot.iter().map(|(_, event)| event.stage).filter(|stage| *stage <= Stage::LocalBoot).max();
    match (reached, bad) {
        (_, Some(bad)) if bad.stage == Stage::Failed => {
            format!("the installer reported failure: {}", bad.text)
        }
        (Some(Stage::Completed), _) => "it was installed".into(),
        (Some(Stage::LocalBoot), _) => {
            format!("it was sent to its own disk: {}", last_of(boot, Stage::LocalBoot))
        }
        (_, Some(bad)) if std::ptr::eq(bad, last) => format!("it stopped at {}: {}", bad.stage, bad.text),
        (Some(stage), bad) => {
            let reached = reached_only(boot, stage, deployment);
            match bad {
                Some(bad) => format!("{reached}; before that at {}: {}", bad.stage, bad.text),
                None => reached,
            }
        }
        (None, Some(bad)) => format!("it stopped at {}: {}", bad.stage, bad.text),
        (None, None) => format!("last seen at {}: {}", last.stage, last.text),
    }
}

/// What it means that a boot got as far as `stage`, which is not its end, and no further.
fn reached_only(boot: &[&(u64, Event)], stage: Stage, deployment: Option<&Deployment>) -> String {
    let text = last_of(boot, stage);
    let is_offered = ["boot file ", "configuration ", "files by TFTP"].iter().any(|what| text.contains(what));
    let installs = deployment.is_none_or(Deployment::installs);
    let has_initrd = deployment.is_none_or(|deployment| !deployment.boot.initrd.is_empty());
    let runs = "nothing more is expected: what it boots runs from the network and reports nothing";
    match stage {
        Stage::Offer | Stage::Ack if !is_offered => {
            let why = match text.split_once("but no boot file: ") {
                Some((_, why)) => why.to_owned(),
                None if deployment.is_none() => "nothing is deployed to it".into(),
                None => "it did not ask to boot, or another server's answer has that".into(),
            };
            format!("it was given no boot file ({why}); last: {text}")
        }
        Stage::Offer => format!(
            "it was offered an address and asked for none: another server may have answered, or the daemon's packets do \
             not reach it; last: {text}"
        ),
        Stage::Ack => format!(
            "it got its address and fetched nothing: TFTP or HTTP may be blocked, or the firmware did not like the boot \
             file; last: {text}"
        ),
        Stage::Loader => format!(
            "it fetched its boot program, which asked for no script: it may not fit this firmware (Secure Boot?); last: {text}"
        ),
        Stage::Script => format!("it got its script and fetched no kernel; last: {text}"),
        Stage::Kernel if has_initrd => format!("it fetched its kernel and no initrd; last: {text}"),
        Stage::Kernel | Stage::Initrd if !installs => {
            format!("it fetched all that it boots; {runs}; last: {text}")
        }
        Stage::Kernel | Stage::Initrd if deployment.is_some_and(|deployment| !deployment.has_answers()) => {
            format!(
                "it fetched all that it boots, and has not reported its end yet: its installer fetches no answers from here; \
             last: {text}"
            )
        }
        Stage::Kernel | Stage::Initrd => format!(
            "it fetched kernel and initrd and asked for no answers: does the installer find its network? last: {text}"
        ),
        Stage::Answers => format!("it got its answers and has not reported yet; last: {text}"),
        _ => format!("it is under way and has not reported its end yet; last: {text}"),
    }
}

fn last_of(boot: &[&(u64, Event)], stage: Stage) -> String {
    boot.iter()
        .rev()
        .find(|(_, event)| event.stage == stage)
        .map(|(_, event)| event.text.to_string())
        .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClientArch;

    fn event(at: u64, stage: Stage, firmware: bool, ipxe: Option<bool>) -> (u64, Event) {
        let arch = ClientArch::from_code(7).filter(|_| firmware);
        (at, Event { arch, ipxe, ..Event::new(Time(at * 1000), stage, stage.to_string()) })
    }

    fn verdict_of(events: &[(u64, Event)]) -> (Vec<u64>, String) {
        let own: Vec<&(u64, Event)> = events.iter().collect();
        let boot = last_boot(&own);
        (boot.iter().map(|(number, _)| *number).collect(), verdict(&boot, None))
    }

    #[test]
    fn a_boot_begins_with_firmware_and_holds_all_its_stages() {
        let events = [
            event(1, Stage::Offer, true, Some(false)),
            event(2, Stage::Ack, true, Some(false)),
            event(3, Stage::LocalBoot, false, None),
            event(900, Stage::Offer, true, Some(false)),
            event(901, Stage::Offer, true, Some(false)),
            event(902, Stage::Ack, true, Some(false)),
            event(903, Stage::Loader, false, None),
            event(904, Stage::Offer, true, Some(true)),
            event(905, Stage::Ack, true, Some(true)),
            event(906, Stage::Script, false, None),
            event(907, Stage::Kernel, false, None),
            event(920, Stage::Offer, false, None),
            event(921, Stage::Ack, false, None),
        ];
        let (boot, verdict) = verdict_of(&events);
        assert_eq!(boot, [900, 901, 902, 903, 904, 905, 906, 907, 920, 921]);
        assert_eq!(verdict, "it fetched its kernel and no initrd; last: kernel");
        assert_eq!(verdict_of(&events[..3]).1, "it was sent to its own disk: local-boot");
        assert_eq!(
            verdict_of(&events[..5]).1,
            "it was given no boot file (nothing is deployed to it); last: offer"
        );
        let offered = |text: &str| {
            let (number, offer) = event(1, Stage::Offer, true, None);
            verdict_of(&[(number, Event { text: text.into(), ..offer })]).1
        };
        assert!(
            offered("offered 10.0.0.9, boot file x by TFTP")
                .starts_with("it was offered an address and asked for none")
        );
        let missing = offered("offered 10.0.0.9, but no boot file: no ipxe.efi");
        assert!(missing.starts_with("it was given no boot file (no ipxe.efi)"), "{missing}");
        assert!(verdict_of(&[]).1.starts_with("it was never seen"));
    }

    #[test]
    fn what_a_person_said_is_no_boot() {
        let said = |stage| {
            let (number, event) = event(1, stage, false, None);
            (number, Event { text: "a person said that it is installed".into(), ..event })
        };
        assert!(verdict_of(&[said(Stage::Daemon)]).1.starts_with("it was never seen"));
        assert_eq!(
            verdict_of(&[said(Stage::Adopted)]).1,
            "it was never seen on the network: a person said that it is installed"
        );
        let seen =
            [event(1, Stage::Offer, true, None), event(2, Stage::Ack, false, None), said(Stage::Adopted)];
        assert!(verdict_of(&seen).1.starts_with("it was given no boot file"), "{}", verdict_of(&seen).1);
    }

    #[test]
    fn what_went_wrong_is_named() {
        let refused = [event(1, Stage::Offer, true, None), event(2, Stage::Refused, false, None)];
        assert_eq!(verdict_of(&refused).1, "it stopped at refused: refused");
        let failed = [event(1, Stage::Answers, false, None), event(2, Stage::Failed, false, None)];
        assert_eq!(verdict_of(&failed).1, "the installer reported failure: failed");
        let silent = [event(1, Stage::Silence, true, None)];
        assert_eq!(verdict_of(&silent).1, "it stopped at silence: silence");
    }
}
