//! State and revision to plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Action, Change, FORMAT_VERSION, GivenUp, Impact, Plan, blast};
use crate::desired::{Boot, Deployment, Desired, DhcpOptions, Ipv6, Machine, Subnet, differences};
use crate::model::{FilePath, Name, Origin, Power};
use crate::state::lineage::is_rename;
use crate::state::rename::{self, MovedCard, MovedCards};
use crate::state::{Duty, Served, State};

/// The detail of a deployment whose manifest is the same and whose content is not; diffs of what
/// is served say it better where there are any.
pub const CONTENT: &str = "its content changes (template, boot, subnet or secret)";

/// How many deployments of a source, all where it is the only one, were served last.
fn count_served(table: &State, source: Option<&str>) -> usize {
    if source.is_none() {
        return table.served().len();
    }
    // Earlier versions did not note whose a deployment was.
    let is_own = |file: &FilePath| file.is_unknown() || file.source() == source;
    table.served().values().filter(|served| is_own(&served.origin.file)).count()
}

/// The deployments that are removed, by the source that they were last served of: a source may be taken out
/// of the daemon's file, or have become another.
fn given_up<'s>(desired: &'s Desired, table: &'s State, changes: &[Change]) -> Vec<GivenUp> {
    let own = desired.safety.source();
    // Earlier versions did not note whose a deployment was.
    let source_of = |served: &'s Served| match served.origin.file.is_unknown() {
        true => own,
        false => served.origin.file.source(),
    };
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for change in changes.iter().filter(|one| one.kind == "deployment" && one.action == Action::Remove) {
        let served = table.served().get(change.name.as_str());
        *counts.entry(served.map_or(own, |served| source_of(served))).or_default() += 1;
    }
    let is_replaced = |source: Option<&str>| {
        changes.iter().any(|change| {
            change.kind == "deployment"
                && matches!(change.action, Action::Create | Action::Rename)
                && desired
                    .deployments
                    .get(change.name.as_str())
                    .is_some_and(|new| new.origin.file.source() == source)
        })
    };
    let group = |(source, count): (Option<&str>, usize)| GivenUp {
        source: source.map(str::to_owned),
        is_own: own.is_none() || own == source,
        count,
        before: table.served().values().filter(|served| source_of(served) == source).count(),
        is_replaced: is_replaced(source),
    };
    counts.into_iter().map(group).collect()
}

/// What adopting `desired` would do. Pure: the same arguments give the same plan.
pub fn diff(desired: &Arc<Desired>, table: &State) -> Plan {
    between(table, &table.adopt(desired.clone()))
}

/// What a table that was adopted changes.
pub(super) fn between(table: &State, next: &State) -> Plan {
    let desired = next.desired();
    // Machines by their new names: what only got another name has not moved.
    let base = table.under_new_names(desired);
    let moved = rename::moved_cards(table.desired(), desired);
    let mut changes = Vec::new();
    subnets(table.desired(), desired, &mut changes);
    boots(table.desired(), desired, &mut changes);
    machines(&base, next, &moved, &mut changes);
    deployments(&base, next, &moved, &mut changes);
    if table.desired().revision.is_empty() {
        lost(&base, next, &mut changes);
    }
    changes.sort_by(|a: &Change, b: &Change| (a.impact, &a.kind, &a.name).cmp(&(b.impact, &b.kind, &b.name)));
    let blast = blast::blast(&base, next, &moved, &changes);
    Plan {
        format_version: FORMAT_VERSION.into(),
        from: table.desired().revision.to_string(),
        to: desired.revision.to_string(),
        lineage: table.lineage().to_string(),
        serial: table.serial(),
        deployments_before: count_served(table, desired.safety.source()),
        given_up: given_up(desired, table, &changes),
        changes,
        blast,
        uncompared: 0,
    }
}

/// A change that concerns no machine.
fn plain(
    kind: &str,
    name: &Name,
    action: Action,
    origin: &Origin,
    reason: &str,
    details: Vec<String>,
) -> Change {
    Change {
        impact: Impact::Live,
        action,
        kind: kind.into(),
        name: name.to_string(),
        former_name: None,
        machine: None,
        former_machine: None,
        installs: false,
        protected: false,
        reason: reason.into(),
        origin: origin.to_string(),
        details,
        served: Vec::new(),
        served_like: None,
    }
}

fn subnets(before: &Desired, after: &Desired, changes: &mut Vec<Change>) {
    for (name, subnet) in &after.subnets {
        match before.subnets.get(name) {
            None => changes.push(plain(
                "subnet",
                name,
                Action::Create,
                &subnet.origin,
                "is served from now on",
                vec![],
            )),
            Some(former) => {
                let details = subnet_details(former, subnet);
                if !details.is_empty() {
                    let reason = "clients learn it with their next lease";
                    changes.push(plain("subnet", name, Action::Update, &subnet.origin, reason, details));
                }
            }
        }
    }
    for (name, subnet) in before.subnets.iter().filter(|(name, _)| !after.subnets.contains_key(*name)) {
        changes.push(plain("subnet", name, Action::Remove, &subnet.origin, "is no longer served", vec![]));
    }
}

fn subnet_details(before: &Subnet, after: &Subnet) -> Vec<String> {
    let Subnet {
        name: _,
        cidr,
        gateway,
        dns,
        domain,
        dynamic,
        lease,
        options,
        mode,
        ipv6,
        segment,
        origin: _,
    } = after;
    let mut details = Vec::new();
    let four = |cidr: &Option<crate::model::Cidr>| cidr.map_or("none".into(), |cidr| cidr.to_string());
    note(&mut details, "cidr", &four(&before.cidr), &four(cidr));
    note(&mut details, "gateway", &format!("{:?}", before.gateway), &format!("{gateway:?}"));
    note(&mut details, "dns", &format!("{:?}", before.dns), &format!("{dns:?}"));
    note(&mut details, "domain", &format!("{:?}", before.domain), &format!("{domain:?}"));
    note(&mut details, "dynamic", &list(&before.dynamic), &list(dynamic));
    note(&mut details, "lease", &before.lease.to_string(), &lease.to_string());
    note(&mut details, "segment", before.segment.as_str(), segment.as_str());
    note(&mut details, "mode", &before.mode.to_string(), &mode.to_string());
    note(&mut details, "options", &lines(&before.options), &lines(options));
    let six = |ipv6: &Option<Ipv6>| ipv6.as_ref().map_or("none".into(), |ipv6| ipv6.lines().join(", "));
    note(&mut details, "ipv6", &six(&before.ipv6), &six(ipv6));
    details
}

fn lines(options: &DhcpOptions) -> String {
    options.lines().collect::<Vec<_>>().join(", ")
}

fn boots(before: &Desired, after: &Desired, changes: &mut Vec<Change>) {
    for (name, boot) in &after.boots {
        match before.boots.get(name) {
            None => changes.push(plain(
                "boot",
                name,
                Action::Create,
                &boot.origin,
                "is served from now on",
                vec![],
            )),
            Some(former) => {
                let details = boot_details(former, boot);
                if !details.is_empty() {
                    let reason = "what machines fetch changes now";
                    changes.push(plain("boot", name, Action::Update, &boot.origin, reason, details));
                }
            }
        }
    }
    for (name, boot) in before.boots.iter().filter(|(name, _)| !after.boots.contains_key(*name)) {
        changes.push(plain("boot", name, Action::Remove, &boot.origin, "is no longer served", vec![]));
    }
}

fn boot_details(before: &Boot, after: &Boot) -> Vec<String> {
    let Boot { name: _, prefix, kernel, initrd, cmdline, cpu, loader, tree, origin: _ } = after;
    let mut details = Vec::new();
    let words =
        |boot: &[crate::render::Text]| boot.iter().map(|word| word.source()).collect::<Vec<_>>().join(" ");
    note(&mut details, "prefix", &before.prefix, prefix);
    note(&mut details, "kernel", &before.kernel.path, &kernel.path);
    let names = |files: &[crate::desired::boot::File]| {
        files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>().join(" ")
    };
    note(&mut details, "initrd", &names(&before.initrd), &names(initrd));
    note(&mut details, "cmdline", &words(&before.cmdline), &words(cmdline));
    note(&mut details, "arch", &before.cpu.to_string(), &cpu.to_string());
    note(&mut details, "loader", &before.loader.join(" "), &loader.join(" "));
    let bytes = |kernel: &crate::desired::boot::File, initrd: &[crate::desired::boot::File]| {
        std::iter::once(kernel).chain(initrd).map(|file| file.entry.clone()).collect::<Vec<_>>()
    };
    let same_tree = match (&before.tree, tree) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before.files == after.files,
        (None, None) => true,
        _ => false,
    };
    if details.is_empty() && (bytes(&before.kernel, &before.initrd) != bytes(kernel, initrd) || !same_tree) {
        details.push("the files themselves are others".into());
    }
    details
}

fn machines(table: &State, next: &State, moved: &MovedCards, changes: &mut Vec<Change>) {
    let (before, after) = (table.desired(), next.desired());
    let renamed = rename::machines(before, after);
    let former_of: BTreeMap<&Name, &Name> = renamed.iter().map(|(former, now)| (now, former)).collect();
    for (machine, former) in
        differences(&before.machines, &after.machines).filter_map(|one| Some((one.after?, one.before)))
    {
        let name = &machine.name;
        match former {
            None if former_of.contains_key(name) => {
                let former = &before.machines[former_of[name]];
                changes.push(renamed_machine(former, machine));
            }
            None => {
                let change =
                    plain("machine", name, Action::Create, &machine.origin, "is known from now on", vec![]);
                changes.push(taking_over(
                    Change { machine: Some(name.to_string()), ..change },
                    table,
                    next,
                    moved,
                ));
            }
            Some(former) => {
                let details = machine_details(former, machine);
                if !details.is_empty() {
                    let change = plain(
                        "machine",
                        name,
                        Action::Update,
                        &machine.origin,
                        "is described differently",
                        details,
                    );
                    let change = Change { machine: Some(name.to_string()), ..change };
                    changes.push(taking_over(change, table, next, moved));
                }
            }
        }
    }
    for (name, machine) in gone(&before.machines, &after.machines) {
        if renamed.contains_key(name) {
            continue;
        }
        let reason = "is no longer known and gets no boot answers";
        changes.push(Change {
            impact: Impact::Release,
            machine: Some(name.to_string()),
            protected: table.protected().contains(name),
            ..plain("machine", name, Action::Remove, &machine.origin, reason, vec![])
        });
    }
}

/// A machine may get network cards that were another's: the box with them is given up by whatever
/// was deployed to it, and is not guarded any more if only the other machine was.
fn taking_over(change: Change, table: &State, next: &State, moved: &MovedCards) -> Change {
    let taken = change.name.parse::<Name>().ok().and_then(|name| Some((moved.get(&name)?, name)));
    let Some((MovedCard { card, former }, name)) = taken else { return change };
    let tenant = table.tenant(former);
    let impact = if tenant.is_some() { Impact::Release } else { Impact::Live };
    let of = tenant.map_or_else(String::new, |tenant| format!(" with {}", tenant.name));
    let stays = next.protected().contains(&name);
    Change {
        impact,
        former_machine: Some(former.to_string()),
        protected: table.protected().contains(former) && next.protected().contains(former) && !stays,
        reason: format!("the box with {card} was machine {former}{of} and is {name} from now on"),
        ..change
    }
}

fn renamed_machine(former: &Machine, machine: &Machine) -> Change {
    let reason = "has the same network cards: only the name changes, its installation is kept";
    let mut details = vec![format!("name: {} -> {}", former.name, machine.name)];
    details.extend(machine_details(former, machine));
    let name = &machine.name;
    Change {
        former_name: Some(former.name.to_string()),
        machine: Some(name.to_string()),
        ..plain("machine", name, Action::Rename, &machine.origin, reason, details)
    }
}

fn machine_details(before: &Machine, after: &Machine) -> Vec<String> {
    let Machine { name: _, macs, ids, labels, protect, options, power, loader, origin: _ } = after;
    let mut details = Vec::new();
    note(&mut details, "mac", &list(&before.macs), &list(macs));
    note(&mut details, "known by", &list(&before.ids), &list(ids));
    note(&mut details, "labels", &format!("{:?}", before.labels), &format!("{labels:?}"));
    let guard = |protect: Option<bool>| match protect {
        Some(true) => "true",
        Some(false) => "false",
        None => "(unset: stays as it was)",
    };
    note(&mut details, "protect", guard(before.protect), guard(*protect));
    let told = |power: &Option<Power>| power.as_ref().map(Power::to_string).unwrap_or_default();
    note(&mut details, "power", &told(&before.power), &told(power));
    note(&mut details, "loader", &before.loader.join(" "), &loader.join(" "));
    note(&mut details, "options", &lines(&before.options), &lines(options));
    details
}

fn deployments(table: &State, next: &State, moved: &MovedCards, changes: &mut Vec<Change>) {
    let disks = disks(table, moved);
    for (former, deployment) in touched(table, next) {
        changes.extend(match former {
            Some(former) => changed(table, next, &disks, former, deployment),
            None => Some(appeared(table, next, &disks, deployment)),
        });
    }
    for (_, former) in gone(&table.desired().deployments, &next.desired().deployments) {
        let machine = table.assignments().get(&former.name);
        let tenant = machine.and_then(|machine| next.tenant(machine));
        let renamed = tenant.is_some_and(|now| is_renamed(table, next, former, now));
        if !renamed {
            let reason = match tenant {
                Some(now) => format!("deployment {} takes its machine over", now.name),
                None => "its machine is released and boots its own disk".into(),
            };
            changes.push(row(table, table, former, Action::Remove, Impact::Release, &reason, vec![]));
        }
    }
}

/// The deployments of the next revision that something may have happened to, with what they were.
fn touched<'a>(table: &'a State, next: &'a State) -> Vec<(Option<&'a Arc<Deployment>>, &'a Arc<Deployment>)> {
    let (before, after) = (&table.desired().deployments, &next.desired().deployments);
    if table.assignments().ptr_eq(next.assignments()) || next.desired().selects + table.desired().selects == 0
    {
        return differences(before, after).filter_map(|one| Some((one.before, one.after?))).collect();
    }
    // Another machine may be chosen for what is written as before.
    after.values().map(|deployment| (before.get(&deployment.name), deployment)).collect()
}

/// What is in `before` and not in `after`.
fn gone<'a, T>(
    before: &'a imbl::OrdMap<Name, Arc<T>>,
    after: &'a imbl::OrdMap<Name, Arc<T>>,
) -> impl Iterator<Item = (&'a Name, &'a Arc<T>)> {
    differences(before, after)
        .filter(|one| one.after.is_none())
        .filter_map(|one| Some((one.name, one.before?)))
}

/// Whether `now` is `former` under another name on the same machine. Where the number was raised as well,
/// both are reported: thresholds count it as released, and as reinstalled.
fn is_renamed(table: &State, next: &State, former: &Deployment, now: &Deployment) -> bool {
    let was = table.served().get(&former.name);
    was.is_some_and(|was| {
        now.redeploy <= was.redeploy && is_rename(&former.name, was, now, table, next.desired())
    }) && table.assignments().get(&former.name) == next.assignments().get(&now.name)
}

/// What is served no more, where the last revision is not loaded: as it was noted when it was served.
fn lost(table: &State, next: &State, changes: &mut Vec<Change>) {
    for (name, served) in table.served() {
        let now = next.desired().deployments.get(name);
        let machine = table.assignments().get(name).or(served.machine.as_ref());
        let renamed = machine.and_then(|machine| next.tenant(machine)).is_some_and(|tenant| {
            tenant.redeploy <= served.redeploy && is_rename(name, served, tenant, table, next.desired())
        });
        if now.is_none() && !renamed {
            changes.push(removed(table, next, name, served));
        }
    }
    for name in table.protected().iter().filter(|name| next.protected().contains(*name)) {
        let deployed =
            table.tenants().get(name).is_some_and(|tenant| !next.desired().deployments.contains_key(tenant));
        if !next.desired().machines.contains_key(name) && !deployed {
            let origin = Origin { file: "".into(), line: 0, column: 0 };
            let reason = "is no longer known and gets no boot answers";
            changes.push(Change {
                impact: Impact::Release,
                machine: Some(name.to_string()),
                protected: true,
                ..plain("machine", name, Action::Remove, &origin, reason, vec![])
            });
        }
    }
}

fn removed(table: &State, next: &State, name: &Name, served: &Served) -> Change {
    let machine = table.assignments().get(name).or(served.machine.as_ref());
    let guarded = machine
        .is_some_and(|machine| table.protected().contains(machine) && next.protected().contains(machine));
    let reason = "it was served before the start; its machine is released and boots its own disk";
    Change {
        impact: Impact::Release,
        machine: machine.map(Name::to_string),
        protected: guarded,
        ..plain("deployment", name, Action::Remove, &served.origin, reason, vec![])
    }
}

fn appeared(table: &State, next: &State, disks: &Disks, deployment: &Deployment) -> Change {
    let machine = next.assignments().get(&deployment.name);
    let tenant = machine.and_then(|machine| table.tenant(machine));
    if let Some(former) = tenant.filter(|former| is_renamed(table, next, former, deployment)) {
        let mut details = vec![format!("name: {} -> {}", former.name, deployment.name)];
        details.extend(deployment_details(table, next, former, deployment, false));
        let (impact, reason) = match next.due(deployment) {
            Duty::Install { .. } => outlook(next, disks, deployment),
            Duty::NetworkBoot => (Impact::Live, "is only renamed".into()),
            Duty::LocalBoot(why) => (Impact::Live, kept(&why)),
        };
        let change = row(table, next, deployment, Action::Rename, impact, &reason, details);
        return Change { former_name: Some(former.name.to_string()), former_machine: None, ..change };
    }
    let (impact, reason) = match outlook(next, disks, deployment) {
        // It was approved before the start, and still waits for its machine.
        (Impact::Wipe, reason) if is_as_served(table, next, deployment) => {
            (Impact::NextBoot, format!("as before the start: {reason}"))
        }
        found => found,
    };
    row(table, next, deployment, Action::Create, impact, &reason, description(deployment))
}

/// Whether a deployment asks for nothing that the last revision, which is not loaded, did not ask for.
fn is_as_served(table: &State, next: &State, deployment: &Deployment) -> bool {
    let was = table.served().get(&deployment.name).filter(|_| table.desired().revision.is_empty());
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
    details
}

/// What a deployment will do to its machine.
fn outlook(next: &State, disks: &Disks, deployment: &Deployment) -> (Impact, String) {
    let Some(machine) = next.assignments().get(&deployment.name) else {
        return (Impact::Live, "no free machine matches its selector yet".into());
    };
    match next.due(deployment) {
        Duty::NetworkBoot => {
            (Impact::NextBoot, format!("{machine} boots {} from the network", deployment.boot.name))
        }
        Duty::LocalBoot(reason) => (Impact::Live, reason),
        Duty::Install { .. } => match disks.get(machine) {
            Some(former) => (
                Impact::Wipe,
                format!(
                    "{machine} is installed anew at its next network boot; what {former} has on its disk is lost"
                ),
            ),
            None => (Impact::NextBoot, format!("{machine} is installed at its next network boot")),
        },
    }
}

/// The deployment whose installation is on each machine's disk.
type Disks = BTreeMap<Name, Name>;

/// By the machines' names in the next revision. Where a network card is, its box is, and so is
/// the disk.
fn disks(table: &State, moved: &MovedCards) -> Disks {
    let mut disks = table.disks();
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
    table: &State,
    next: &State,
    disks: &Disks,
    former: &Deployment,
    now: &Deployment,
) -> Option<Change> {
    if is_same(table, next, former, now) {
        return None;
    }
    let details = deployment_details(table, next, former, now, true);
    if details.is_empty() {
        return None;
    }
    let moved = table.assignments().get(&former.name) != next.assignments().get(&now.name);
    let (impact, reason) = match next.due(now) {
        Duty::Install { .. } => outlook(next, disks, now),
        _ if moved => {
            (Impact::Release, "another machine takes over; the former one boots its own disk".into())
        }
        Duty::NetworkBoot => (Impact::NextBoot, "its machine boots differently from now on".into()),
        Duty::LocalBoot(reason) => (Impact::Live, format!("nothing happens on the machine ({reason})")),
    };
    Some(row(table, next, now, Action::Update, impact, &reason, details))
}

/// Whether a deployment stays as it is: the digest covers all but its place and subnet. Most deployments of
/// most plans do.
fn is_same(table: &State, next: &State, former: &Deployment, now: &Deployment) -> bool {
    (std::ptr::eq(former, now)
        || (former.name == now.name && former.digest == now.digest && former.subnet.name == now.subnet.name))
        && (table.assignments().ptr_eq(next.assignments())
            || table.assignments().get(&former.name) == next.assignments().get(&now.name))
}

/// `content` adds a line where only what is served differs.
fn deployment_details(
    table: &State,
    next: &State,
    before: &Deployment,
    after: &Deployment,
    content: bool,
) -> Vec<String> {
    let Deployment {
        name,
        place: _,
        address,
        address6,
        subnet,
        boot,
        template,
        values,
        redeploy,
        options,
        digest,
        origin: _,
    } = after;
    let mut details = Vec::new();
    let machine =
        |table: &State, name: &Name| table.assignments().get(name).map_or("none".into(), Name::to_string);
    note(&mut details, "machine", &machine(table, &before.name), &machine(next, name));
    let shown =
        |address: Option<std::net::Ipv4Addr>| address.map_or("auto".into(), |address| address.to_string());
    note(&mut details, "address", &shown(before.address), &shown(*address));
    let shown6 =
        |address: Option<std::net::Ipv6Addr>| address.map_or("auto".into(), |address| address.to_string());
    note(&mut details, "address6", &shown6(before.address6), &shown6(*address6));
    note(&mut details, "subnet", before.subnet.name.as_str(), subnet.name.as_str());
    note(&mut details, "boot", before.boot.name.as_str(), boot.name.as_str());
    let named = |template: &Option<Arc<crate::desired::Template>>| {
        template.as_ref().map_or("none".into(), |template| template.name.to_string())
    };
    note(&mut details, "template", &named(&before.template), &named(template));
    note(&mut details, "redeploy", &before.redeploy.to_string(), &redeploy.to_string());
    note(&mut details, "options", &lines(&before.options), &lines(options));
    for key in before.values.keys().chain(values.keys()).collect::<std::collections::BTreeSet<_>>() {
        let shown =
            |value: Option<&crate::render::Value>| value.map_or("(unset)".into(), ToString::to_string);
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

fn row(
    table: &State,
    place: &State,
    deployment: &Deployment,
    action: Action,
    impact: Impact,
    reason: &str,
    details: Vec<String>,
) -> Change {
    let machine = place.assignments().get(&deployment.name);
    let before = table.assignments().get(&deployment.name);
    let guarded = [machine, before]
        .into_iter()
        .flatten()
        .any(|machine| table.protected().contains(machine) && place.protected().contains(machine));
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

fn note(details: &mut Vec<String>, field: &str, before: &str, after: &str) {
    if before != after {
        details.push(format!("{field}: {before} -> {after}"));
    }
}

fn list<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
