//! What becomes of deployments, and of what is on the disks of their machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::renewal::renewal;
use super::{CONTENT, gone, lines, note, plain};
use crate::desired::{Deployment, Place, Template, differences};
use crate::model::{Name, OnReturn};
use crate::plan::{Action, Change, Impact};
use crate::render::Value;
use crate::state::lineage::is_rename;
use crate::state::rename::{MovedCard, MovedCards};
use crate::state::{Duty, State};

pub(super) fn deployments(state: &State, next: &State, moved: &MovedCards, changes: &mut Vec<Change>) {
    let disks = disks(state, moved);
    for (former, deployment) in touched(state, next) {
        changes.extend(match former {
            Some(former) => changed(state, next, &disks, former, deployment),
            None => Some(appeared(state, next, &disks, deployment)),
        });
    }
    for (_, former) in gone(&state.desired().deployments, &next.desired().deployments) {
        let machine = state.assignments().get(&former.name);
        let tenant = machine.and_then(|machine| next.tenant(machine));
        let renamed = tenant.is_some_and(|now| is_renamed(state, next, former, now));
        if !renamed {
            let reason = match tenant {
                Some(now) => format!("deployment {} takes its machine over", now.name),
                None => "its machine is released and boots its own disk".into(),
            };
            let (impact, reason) = released(state, next, machine).unwrap_or((Impact::Release, reason));
            changes.push(row(state, state, former, Action::Remove, impact, &reason, vec![]));
        }
    }
}

/// What `[safety] on-release` does to a machine that its deployment loses, if that is more than nothing.
fn released(state: &State, next: &State, machine: Option<&Name>) -> Option<(Impact, String)> {
    let machine = machine?;
    let what = state.on_release(next, machine);
    let off = if what == OnReturn::WipeAndOff { ", and switched off" } else { "" };
    what.wipes().then(|| {
        (
            Impact::Wipe,
            format!("{machine} is released and its disks are wiped{off}: [safety] on-release is {what}"),
        )
    })
}

/// The deployments of the next revision that something may have happened to, with what they were: what is written
/// otherwise, and what has another machine.
fn touched<'a>(state: &'a State, next: &'a State) -> Vec<(Option<&'a Arc<Deployment>>, &'a Arc<Deployment>)> {
    let (before, after) = (&state.desired().deployments, &next.desired().deployments);
    let written = differences(before, after).map(|one| one.name);
    let moved = state.assignments().diff(next.assignments()).map(|item| match item {
        DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } | DiffItem::Remove(name, _) => name,
    });
    let names: BTreeSet<&Name> = written.chain(moved).collect();
    names.into_iter().filter_map(|name| Some((before.get(name), after.get(name)?))).collect()
}

/// Whether `now` is `former` under another name on the same machine. Where the number was raised as well,
/// both are reported: thresholds count it as released, and as reinstalled.
pub(super) fn is_renamed(state: &State, next: &State, former: &Deployment, now: &Deployment) -> bool {
    let was = state.served().get(&former.name);
    was.is_some_and(|was| {
        now.redeploy <= was.redeploy && is_rename(&former.name, was, now, state, next.desired())
    }) && state.assignments().get(&former.name) == next.assignments().get(&now.name)
}

fn appeared(state: &State, next: &State, disks: &Disks, deployment: &Deployment) -> Change {
    let machine = next.assignments().get(&deployment.name);
    let tenant = machine.and_then(|machine| state.tenant(machine));
    if let Some(former) = tenant.filter(|former| is_renamed(state, next, former, deployment)) {
        let mut details = vec![format!("name: {} -> {}", former.name, deployment.name)];
        details.extend(deployment_details(state, next, former, deployment, false));
        let (impact, reason) = match next.due(deployment) {
            Duty::Install { .. } => outlook(next, disks, deployment),
            Duty::NetworkBoot => (Impact::Live, "is only renamed".into()),
            Duty::LocalBoot(why) => (Impact::Live, kept(&why)),
        };
        let change = row(state, next, deployment, Action::Rename, impact, &reason, details);
        return Change { former_name: Some(former.name.to_string()), former_machine: None, ..change };
    }
    let (impact, reason) = match outlook(next, disks, deployment) {
        // It was approved before the start, and still waits for its machine.
        (Impact::Wipe, reason) if is_as_served(state, next, deployment) => {
            (Impact::NextBoot, format!("as before the start: {reason}"))
        }
        found => found,
    };
    row(state, next, deployment, Action::Create, impact, &reason, description(deployment))
}

/// Whether a deployment asks for nothing that the last revision, which is not loaded, did not ask for.
fn is_as_served(state: &State, next: &State, deployment: &Deployment) -> bool {
    let was = state.served().get(&deployment.name).filter(|_| state.desired().revision.is_empty());
    was.is_some_and(|was| {
        was.redeploy == deployment.redeploy
            && was.machine.as_ref() == next.assignments().get(&deployment.name)
    })
}

/// Why a renamed deployment installs nothing.
fn kept(why: &str) -> String {
    let kept = "is only renamed; its installation is kept";
    match why.strip_prefix("installed") {
        Some(more) => format!("{kept}{more}"),
        None => format!("is only renamed ({why})"),
    }
}

/// What a new deployment is, in a few lines.
fn description(deployment: &Deployment) -> Vec<String> {
    let address = deployment.address.map_or("auto".into(), |address| address.to_string());
    let mut details = vec![format!("address: {address}"), format!("boot: {}", deployment.boot.name)];
    details.extend(deployment.address6.map(|address6| format!("address6: {address6}")));
    details.extend(deployment.template.as_ref().map(|template| format!("template: {}", template.name)));
    details.extend(deployment.user_data.as_ref().map(|template| format!("user-data: {}", template.name)));
    details
}

/// What a deployment will do to its machine.
fn outlook(next: &State, disks: &Disks, deployment: &Deployment) -> (Impact, String) {
    let Some(machine) = next.assignments().get(&deployment.name) else {
        let reason = match deployment.place {
            Place::Select(_) => "no free machine matches its selector yet".into(),
            Place::Machine(_) => next.why_unassigned(deployment),
        };
        return (Impact::Live, reason);
    };
    match next.due(deployment) {
        Duty::NetworkBoot => {
            (Impact::NextBoot, format!("{machine} boots {} from the network", deployment.boot.name))
        }
        Duty::LocalBoot(reason) => (Impact::Live, reason),
        Duty::Install { .. } => {
            let disk =
                next.disk_outlook(deployment).map(|disk| format!("; disk: {disk}")).unwrap_or_default();
            match disks.get(machine) {
                Some(former) => (
                    Impact::Wipe,
                    format!(
                        "{machine} is installed anew at its next network boot; what {former} has on its disk is \
                         lost{disk}"
                    ),
                ),
                None => (Impact::NextBoot, format!("{machine} is installed at its next network boot{disk}")),
            }
        }
    }
}

/// The deployment whose installation is on each machine's disk.
type Disks = BTreeMap<Name, Name>;

/// By the machines' names in the next revision. Where a network card is, its box is, and so is
/// the disk.
fn disks(state: &State, moved: &MovedCards) -> Disks {
    let mut disks = state.disks();
    // A box whose cards all went has taken its disk along already.
    let other = |(machine, card): (&Name, &MovedCard)| {
        let former = disks.get(&card.former).filter(|_| !disks.contains_key(machine))?;
        Some((machine.clone(), former.clone()))
    };
    let others: Vec<(Name, Name)> = moved.iter().filter_map(other).collect();
    disks.extend(others);
    disks
}

fn changed(
    state: &State,
    next: &State,
    disks: &Disks,
    former: &Deployment,
    now: &Deployment,
) -> Option<Change> {
    if is_same(state, next, former, now) {
        return None;
    }
    let details = deployment_details(state, next, former, now, true);
    if details.is_empty() {
        return None;
    }
    let moved = state.assignments().get(&former.name) != next.assignments().get(&now.name);
    let (impact, reason) = match next.due(now) {
        Duty::Install { .. } => match outlook(next, disks, now) {
            (Impact::Wipe, reason) if was_agreed(state, next, disks, former, now) => {
                (Impact::NextBoot, format!("as agreed before: {reason}"))
            }
            found => found,
        },
        _ if moved => {
            (Impact::Release, "another machine takes over; the former one boots its own disk".into())
        }
        Duty::NetworkBoot => match renewal(former, now) {
            None => (Impact::NextBoot, "its machine boots differently from now on".into()),
            Some(renewal) => {
                (Impact::NextBoot, format!("its machine boots differently from now on; {renewal}"))
            }
        },
        Duty::LocalBoot(reason) => match renewal(former, now) {
            None => (Impact::Live, format!("nothing happens on the machine ({reason})")),
            Some(renewal) => (Impact::Live, format!("nothing is installed ({reason}); {renewal}")),
        },
    };
    let left = state.assignments().get(&former.name).filter(|_| moved);
    let (impact, reason) = match released(state, next, left) {
        Some((worse, why)) => (worse, format!("{reason}; {why}")),
        None => (impact, reason),
    };
    Some(row(state, next, now, Action::Update, impact, &reason, details))
}

/// Whether the same disk was to be overwritten already, with nothing to be agreed to anew.
fn was_agreed(state: &State, next: &State, disks: &Disks, former: &Deployment, now: &Deployment) -> bool {
    let machine = next.assignments().get(&now.name);
    let on_disk = |disks: &Disks| machine.and_then(|machine| disks.get(machine).cloned());
    matches!(state.due(former), Duty::Install { .. })
        && former.redeploy == now.redeploy
        && state.assignments().get(&former.name) == machine
        && on_disk(&state.disks()) == on_disk(disks)
        && former.values.get("disk") == now.values.get("disk")
}

/// Whether a deployment stays as it is: the digest covers all but its place and subnet. Most deployments of
/// most plans do.
fn is_same(state: &State, next: &State, former: &Deployment, now: &Deployment) -> bool {
    (std::ptr::eq(former, now)
        || (former.name == now.name && former.digest == now.digest && former.subnet.name == now.subnet.name))
        && (state.assignments().ptr_eq(next.assignments())
            || state.assignments().get(&former.name) == next.assignments().get(&now.name))
}

/// `content` adds a line where only what is served differs.
fn deployment_details(
    state: &State,
    next: &State,
    before: &Deployment,
    after: &Deployment,
    content: bool,
) -> Vec<String> {
    let Deployment {
        name,
        place: _,
        profile: _,
        address,
        address6,
        subnet,
        boot,
        template,
        user_data,
        values,
        redeploy,
        options,
        digest,
        origin: _,
    } = after;
    let mut details = Vec::new();
    let machine =
        |state: &State, name: &Name| state.assignments().get(name).map_or("none".into(), Name::to_string);
    note(&mut details, "machine", &machine(state, &before.name), &machine(next, name));
    let shown = |address: Option<Ipv4Addr>| address.map_or("auto".into(), |address| address.to_string());
    note(&mut details, "address", &shown(before.address), &shown(*address));
    let shown6 = |address: Option<Ipv6Addr>| address.map_or("auto".into(), |address| address.to_string());
    note(&mut details, "address6", &shown6(before.address6), &shown6(*address6));
    note(&mut details, "subnet", before.subnet.name.as_str(), subnet.name.as_str());
    note(&mut details, "boot", before.boot.name.as_str(), boot.name.as_str());
    let named = |template: &Option<Arc<Template>>| {
        template.as_ref().map_or("none".into(), |template| template.name.to_string())
    };
    note(&mut details, "template", &named(&before.template), &named(template));
    note(&mut details, "user-data", &named(&before.user_data), &named(user_data));
    note(&mut details, "redeploy", &before.redeploy.to_string(), &redeploy.to_string());
    note(&mut details, "options", &lines(&before.options), &lines(options));
    for key in before.values.keys().chain(values.keys()).collect::<BTreeSet<_>>() {
        let shown = |value: Option<&Value>| value.map_or("(unset)".into(), ToString::to_string);
        let (old, new) = (before.values.get(key), values.get(key));
        if old != new {
            details.push(format!("{key}: {} -> {}", shown(old), shown(new)));
        }
    }
    if content && details.is_empty() && before.digest != *digest {
        details.push(CONTENT.into());
    }
    details
}

pub(super) fn row(
    state: &State,
    place: &State,
    deployment: &Deployment,
    action: Action,
    impact: Impact,
    reason: &str,
    details: Vec<String>,
) -> Change {
    let machine = place.assignments().get(&deployment.name);
    let before = state.assignments().get(&deployment.name);
    let guarded = [machine, before]
        .into_iter()
        .flatten()
        .any(|machine| state.protected().contains(machine) && place.protected().contains(machine));
    let installs = matches!(place.due(deployment), Duty::Install { .. }) && machine.is_some();
    Change {
        impact,
        machine: machine.map(Name::to_string),
        former_machine: before.filter(|before| Some(*before) != machine).map(Name::to_string),
        installs: installs && action != Action::Remove,
        protected: guarded,
        ..plain("deployment", &deployment.name, action, &deployment.origin, reason, details)
    }
}
