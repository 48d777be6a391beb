//! What becomes of machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{gone, lines, list, note, plain, power, resealed};
use crate::desired::{Desired, Machine, differences};
use crate::model::Name;
use crate::plan::{Action, Change, Impact};
use crate::state::State;
use crate::state::rename::{self, MovedCard, MovedCards};

pub(super) fn machines(state: &State, next: &State, moved: &MovedCards, changes: &mut Vec<Change>) {
    let (before, after) = (state.desired(), next.desired());
    let renamed = rename::machines(before, after);
    let former_of: BTreeMap<&Name, &Name> = renamed.iter().map(|(former, now)| (now, former)).collect();
    let resealed = resealed(before, after);
    let written =
        differences(&before.machines, &after.machines).filter_map(|one| Some((one.after?, one.before)));
    for (machine, former) in written.chain(same_but_resealed(before, after, &resealed)) {
        let name = &machine.name;
        match former {
            None if former_of.contains_key(name) => {
                let former = &before.machines[former_of[name]];
                changes.push(renamed_machine(former, machine, &resealed));
            }
            None => {
                let change =
                    plain("machine", name, Action::Create, &machine.origin, "is known from now on", vec![]);
                changes.push(taking_over(
                    Change { machine: Some(name.to_string()), ..change },
                    state,
                    next,
                    moved,
                ));
            }
            Some(former) => {
                let details = machine_details(former, machine, &resealed);
                if !details.is_empty() {
                    let reason = "is described differently";
                    let change = plain("machine", name, Action::Update, &machine.origin, reason, details);
                    let change = Change { machine: Some(name.to_string()), ..change };
                    changes.push(taking_over(change, state, next, moved));
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
            protected: state.protected().contains(name),
            ..plain("machine", name, Action::Remove, &machine.origin, reason, vec![])
        });
    }
}

/// Machines that are written as before, and whose power has other credentials under the same name.
fn same_but_resealed<'a>(
    before: &'a Desired,
    after: &'a Desired,
    resealed: &BTreeSet<&Name>,
) -> Vec<(&'a Arc<Machine>, Option<&'a Arc<Machine>>)> {
    // In most plans there are none, and machines are many.
    if resealed.is_empty() {
        return Vec::new();
    }
    let has_one = |machine: &&Arc<Machine>| {
        let credentials = machine.power.as_ref().and_then(|power| power.credentials.as_ref());
        credentials.is_some_and(|name| resealed.contains(name))
    };
    let same = |machine: &'a Arc<Machine>| {
        let former = before.machines.get(&machine.name).filter(|former| *former == machine)?;
        Some((machine, Some(former)))
    };
    after.machines.values().filter(has_one).filter_map(same).collect()
}

/// A machine may get network cards that were another's: the box with them is given up by whatever
/// was deployed to it, and is not guarded any more if only the other machine was.
fn taking_over(change: Change, state: &State, next: &State, moved: &MovedCards) -> Change {
    let taken = change.name.parse::<Name>().ok().and_then(|name| Some((moved.get(&name)?, name)));
    let Some((MovedCard { card, former }, name)) = taken else { return change };
    let tenant = state.tenant(former);
    let impact = if tenant.is_some() { Impact::Release } else { Impact::Live };
    let of = tenant.map_or_else(String::new, |tenant| format!(" with {}", tenant.name));
    let stays = next.protected().contains(&name);
    Change {
        impact,
        former_machine: Some(former.to_string()),
        protected: state.protected().contains(former) && next.protected().contains(former) && !stays,
        reason: format!("the box with {card} was machine {former}{of} and is {name} from now on"),
        ..change
    }
}

fn renamed_machine(former: &Machine, machine: &Machine, resealed: &BTreeSet<&Name>) -> Change {
    let reason = "has the same network cards: only the name changes, its installation is kept";
    let mut details = vec![format!("name: {} -> {}", former.name, machine.name)];
    details.extend(machine_details(former, machine, resealed));
    let name = &machine.name;
    Change {
        former_name: Some(former.name.to_string()),
        machine: Some(name.to_string()),
        ..plain("machine", name, Action::Rename, &machine.origin, reason, details)
    }
}

fn machine_details(before: &Machine, after: &Machine, resealed: &BTreeSet<&Name>) -> Vec<String> {
    let Machine { name: _, macs, ids, labels, protect, options, power: now, power_on, loader, origin: _ } =
        after;
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
    power(&mut details, before.power.as_ref(), now.as_ref(), resealed);
    note(&mut details, "power-on", &before.power_on.to_string(), &power_on.to_string());
    note(&mut details, "loader", &before.loader.join(" "), &loader.join(" "));
    note(&mut details, "options", &lines(&before.options), &lines(options));
    details
}
