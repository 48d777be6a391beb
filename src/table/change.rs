//! The ways a table changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::lineage;
use super::{
    Contest, Duty, Event, Install, InstallStage, Outcome, Permit, PermitStep, Report, Seen, Stage, Table,
};
use crate::desired::{Boot, Desired, Machine, Place, differences};
use crate::model::{Mac, Name, Span, Time};

/// Why a step of an installation was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    #[error("deployment {0} is not in the inventory any more")]
    Gone(Name),
    #[error("deployment {0} was changed meanwhile; the machine is to ask again")]
    Moved(Name),
    #[error("this report belongs to an installation of {0} that is over")]
    Over(Name),
    #[error("this report belongs to installation {told} of {deployment}, which is at {current}")]
    Outdated { deployment: Name, told: u64, current: u64 },
}

/// Cards that are remembered at most: a machine that changes its address all the time must not
/// fill the memory.
const LEARNED_MAX: usize = 4096;

/// Machines in no manifest that are remembered at most, beyond those in manifests. Messages in the
/// name of ever new ones must not fill the memory; when there are so many, all are forgotten.
const STRANGERS_MAX: usize = 1 << 16;

/// Two cards that are heard within this time are of two machines, if firmware speaks with one of them:
/// as long as a card must have been quiet before a sibling takes its address.
const AT_A_TIME: Span = crate::table::lease::QUIET;

impl Table {
    /// The table under another revision: machines are assigned, protections remembered,
    /// installations kept (a renamed deployment or machine takes its installation along).
    pub fn adopt(&self, desired: Arc<Desired>) -> Table {
        let base = self.under_new_names(&desired);
        let mut next = base.clone();
        next.serial += 1;
        next.assignments = match pinned(&base, &desired) {
            Some(assignments) => assignments,
            None => assign(&desired, &base),
        };
        next.tenants = turned(&base.tenants, &base.assignments, &next.assignments);
        next.installs = lineage::carried(self, &base, &next, &desired);
        let prefix = |boot: &Arc<Boot>| (boot.prefix.clone(), boot.name.clone());
        next.prefixes = Arc::new(desired.boots.values().map(prefix).collect());
        for one in differences(&base.desired.machines, &desired.machines) {
            let told = |machine: Option<&Arc<Machine>>| machine.and_then(|machine| machine.power.clone());
            let power = told(one.after);
            // What another controller told, or of whom nobody tells now.
            if power.is_none() || (one.before.is_some() && told(one.before) != power) {
                next.power.remove(one.name);
            }
            let Some(machine) = one.after else { continue };
            match machine.protect {
                Some(true) => next.protected.insert(machine.name.clone()),
                Some(false) => next.protected.remove(&machine.name),
                None => None,
            };
        }
        next.learned
            .retain(|_, machine| desired.machines.get(machine).is_some_and(|one| !one.ids.is_empty()));
        // Whoever changed a machine's manifest has settled which cards are its own.
        let is_first = base.desired.revision.is_empty();
        let same = |name: &Name| match desired.machines.get(name) {
            // What was served before the start is not loaded.
            Some(_) if is_first => true,
            machine => machine == base.desired.machines.get(name),
        };
        next.contested = next.contested.into_iter().filter(|(name, _)| same(name)).collect();
        next.desired = desired.clone();
        next.doubt(&desired);
        next.served = next.served_after(self);
        next.gather_gate();
        next
    }

    /// Records that an installation takes a step. The caller stores the result before the
    /// answer that the step stands for leaves.
    pub fn permit(&self, permit: &Permit, now: Time) -> Result<Table, Stale> {
        let mut next = self.clone();
        next.take_step(permit, now)?;
        Ok(next)
    }

    /// The same in place, for who is the table's only user.
    pub fn take_step(&mut self, permit: &Permit, now: Time) -> Result<(), Stale> {
        let name = &permit.deployment;
        let deployment = self.desired.deployments.get(name).ok_or_else(|| Stale::Gone(name.clone()))?;
        let Some(machine) = self.assignments.get(name).and_then(|name| self.desired.machines.get(name))
        else {
            return Err(Stale::Moved(name.clone()));
        };
        if deployment.redeploy != permit.redeploy {
            return Err(Stale::Moved(name.clone()));
        }
        let current = self.install_on(&machine.name, name);
        // Somebody else was quicker with the same step, or took the last place: the second look at the
        // table decides.
        match (permit.step, self.duty(deployment), current) {
            (PermitStep::Start, Duty::Install { permit: true }, _) => {
                let install = Install::new(machine, deployment, InstallStage::Started, now);
                let epoch = self.installs.next_epoch();
                let again = self.starts_again(&machine.name);
                self.record_new(Install { epoch, again, ..install });
            }
            (PermitStep::Spend, Duty::Install { permit: false }, Some(install)) => {
                let digest = deployment.digest.clone();
                let spent = Install { stage: InstallStage::Spent, since: now, digest, ..install.clone() };
                self.record(spent);
            }
            (PermitStep::Spend, _, None) => return Err(Stale::Moved(name.clone())),
            _ => {}
        }
        Ok(())
    }

    /// Records what the installer said. Completion ends the permission whatever was recorded
    /// before; saying it twice is harmless.
    pub fn report(&self, report: &Report, now: Time) -> Result<Table, Stale> {
        let mut next = self.clone();
        next.take_report(report, now)?;
        Ok(next)
    }

    /// The same in place, for who is the table's only user.
    pub fn take_report(&mut self, report: &Report, now: Time) -> Result<(), Stale> {
        let name = &report.deployment;
        let current = match report.epoch {
            Some(epoch) => {
                let own = self.installs.named(name).find(|install| install.epoch == epoch);
                Some(own.ok_or_else(|| Stale::Over(name.clone()))?)
            }
            None => self.install_of(name),
        };
        if let Some(install) = current.filter(|install| install.redeploy > report.redeploy) {
            return Err(Stale::Outdated {
                deployment: name.clone(),
                told: report.redeploy,
                current: install.redeploy,
            });
        }
        let same = current.filter(|install| install.redeploy == report.redeploy);
        let stage = match (report.outcome, same.map(|install| install.stage)) {
            (Outcome::Progress, _) | (Outcome::Failed, Some(InstallStage::Installed)) => return Ok(()),
            (Outcome::Completed, Some(InstallStage::Installed)) => return Ok(()),
            (Outcome::Completed, _) => InstallStage::Installed,
            (Outcome::Failed, _) => InstallStage::Failed,
        };
        if let Some(install) = same {
            let reported = Install { stage, since: now, ..install.clone() };
            self.serial += 1;
            self.end_install(name, reported);
            return Ok(());
        }
        let deployment = self.desired.deployments.get(name);
        let machine = self.assignments.get(name).and_then(|machine| self.desired.machines.get(machine));
        let (Some(deployment), Some(machine)) = (deployment, machine) else {
            return Err(Stale::Gone(name.clone()));
        };
        let install = Install::new(machine, deployment, stage, now);
        let digest = current.map_or_else(|| "".into(), |install| install.digest.clone());
        let (epoch, again) = (self.installs.next_epoch(), current.is_some_and(|install| install.again));
        self.record_new(Install { epoch, again, digest, redeploy: report.redeploy, ..install });
        Ok(())
    }

    /// The machine of a deployment that got its answers boots again and has not reported.
    pub fn rebooted(&self, deployment: &Name, now: Time) -> Option<Table> {
        let install = self.install_of(deployment).filter(|install| install.stage == InstallStage::Spent)?;
        let mut next = self.clone();
        next.record(Install { stage: InstallStage::Unreported, since: now, ..install.clone() });
        Some(next)
    }

    /// Remembers what a machine did. Returns what a person has to be told of it.
    pub fn fold(&mut self, event: &Event) -> Option<Event> {
        let mac = event.mac?;
        let first =
            Seen { first: event.at, last: event.at, arch: None, ipxe: false, address: None, stuck: None };
        let mut seen = self.seen.get(&mac).cloned().unwrap_or(first);
        seen.last = event.at;
        seen.arch = event.arch.or(seen.arch);
        seen.ipxe = event.ipxe.unwrap_or(seen.ipxe);
        seen.address = event.address.or(seen.address);
        match event.stage {
            Stage::Stuck => seen.stuck = Some((*event.text).into()),
            Stage::Answers | Stage::Progress | Stage::Completed => seen.stuck = None,
            _ => {}
        }
        if self.seen.len() >= self.desired.macs.len() + LEARNED_MAX + STRANGERS_MAX {
            self.forget_strangers();
        }
        self.seen.insert(mac, seen);
        self.learn(mac, event)
    }

    fn forget_strangers(&mut self) {
        let known = |mac: &Mac| self.desired.macs.contains_key(mac) || self.learned.contains_key(mac);
        let own = self.seen.iter().filter(|(mac, _)| known(mac));
        self.seen = own.map(|(mac, seen)| (*mac, seen.clone())).collect();
    }

    /// A card that DHCP answered as a deployment's machine although it is not written down for it:
    /// the machine was known by its client id or UUID. What this card asks for next is its too.
    fn learn(&mut self, mac: Mac, event: &Event) -> Option<Event> {
        let answered =
            matches!(event.stage, Stage::Offer | Stage::Ack) && !self.desired.macs.contains_key(&mac);
        let name = event.deployment.as_ref().filter(|_| answered)?;
        let name = self.assignments.get(name)?.clone();
        let known = self.learned.get(&mac) == Some(&name);
        if let Some(other) = self.rival(&name, mac, known, event) {
            return self.contest(name, [other, mac], event.at);
        }
        if !known && self.learned.len() < LEARNED_MAX {
            self.learned.insert(mac, name);
        }
        None
    }

    /// Another card of the machine that was heard a moment ago, while firmware speaks with this one, or
    /// anybody who was not known by it before: one machine does not do both. (An iPXE that firmware has
    /// just loaded may go on with another card.)
    fn rival(&self, name: &Name, mac: Mac, known: bool, event: &Event) -> Option<Mac> {
        let begins = event.ipxe == Some(false) || !known && event.ipxe.is_none();
        let machine = self.desired.machines.get(name).filter(|_| begins)?;
        let heard = |other: &Mac| {
            let last = self.seen.get(other).map(|seen| seen.last);
            *other != mac && last.is_some_and(|last| event.at.since(last).0 < AT_A_TIME.0)
        };
        self.cards(machine).into_iter().find(heard)
    }

    /// Believes nobody by the marks of a machine any longer.
    fn contest(&mut self, name: Name, cards: [Mac; 2], at: Time) -> Option<Event> {
        self.learned.retain(|_, owner| *owner != name);
        let fresh = self.contested.insert(name.clone(), Contest { cards, since: at }).is_none();
        let text = self.contested.get(&name)?.text(&name);
        fresh.then(|| Event {
            deployment: self.tenants.get(&name).cloned(),
            ..Event::new(at, Stage::Daemon, text)
        })
    }

    fn record(&mut self, install: Install) {
        self.serial += 1;
        self.put_install(install);
    }

    /// Puts an installation of `name` that has ended. Where it counted for `name` because of the machine alone, the
    /// deployment gets one of its own besides: it used its number up, wherever it goes.
    pub(super) fn end_install(&mut self, name: &Name, install: Install) {
        let own = Install {
            epoch: self.installs.next_epoch(),
            deployment: name.clone(),
            former: Arc::default(),
            ..install.clone()
        };
        let is_shared = install.deployment != *name;
        self.put_install(install);
        if is_shared {
            self.put_install(own);
        }
    }

    /// Records an installation in the place of the deployment's earlier ones on the machine.
    pub fn record_new(&mut self, install: Install) {
        self.installs.supersede(install.clone());
        let merged = self.installs.on(&install.machine).iter().find(|one| one.epoch == install.epoch);
        let merged = merged.cloned().unwrap_or(install);
        self.record(merged);
    }
}

/// The machines of deployments that are all pinned, as those of the revision before were: only
/// what differs is looked at. `None` where labels choose, or nothing was adopted yet.
fn pinned(base: &Table, desired: &Desired) -> Option<imbl::OrdMap<Name, Name>> {
    let before = &base.desired;
    if before.revision.is_empty() || before.selects + desired.selects > 0 {
        return None;
    }
    let mut next = base.assignments.clone();
    for one in differences(&before.deployments, &desired.deployments) {
        match one.after.map(|deployment| &deployment.place) {
            Some(Place::Machine(machine)) if next.get(one.name) == Some(machine) => {}
            Some(Place::Machine(machine)) => drop(next.insert(one.name.clone(), machine.clone())),
            Some(Place::Select(_)) | None => drop(next.remove(one.name)),
        }
    }
    Some(next)
}

/// Gives every deployment its machine: pins first, then choices made earlier, then what a former
/// name had, then, in order of names, any free machine that matches. A choice stays until its machine
/// is gone or pinned: one that matches no more is drift.
fn assign(desired: &Desired, base: &Table) -> imbl::OrdMap<Name, Name> {
    let before = &base.assignments;
    let mut chosen = BTreeMap::new();
    let mut open = Vec::new();
    for (name, deployment) in &desired.deployments {
        match &deployment.place {
            Place::Machine(machine) => drop(chosen.insert(name.clone(), machine.clone())),
            Place::Select(labels) => open.push((name, labels)),
        }
    }
    if open.is_empty() {
        return patched(before, &chosen);
    }
    let mut taken: BTreeSet<Name> = chosen.values().cloned().collect();
    let mut keep = |open: &mut Vec<(&Name, _)>, former: &dyn Fn(&Name) -> Option<Name>| {
        open.retain(|(name, _)| match former(name).filter(|one| desired.machines.contains_key(one)) {
            Some(machine) if taken.insert(machine.clone()) => {
                chosen.insert((*name).clone(), machine);
                false
            }
            _ => true,
        });
    };
    keep(&mut open, &|name| before.get(name).cloned());
    let last = |name: &Name| {
        let own = base.installs.named(name).filter(|one| one.deployment == *name && !one.closed);
        own.max_by_key(|install| install.epoch).map(|install| install.machine.clone())
    };
    let may_have = |name: &Name, machine: &Name| {
        let place = desired.deployments.get(name).map(|deployment| &deployment.place);
        let machine = desired.machines.get(machine);
        matches!((place, machine), (Some(Place::Select(labels)), Some(machine)) if carries(machine, labels))
    };
    keep(&mut open, &|name| last(name).filter(|machine| may_have(name, machine)));
    let new = open.iter().map(|(name, _)| *name);
    for (name, former) in lineage::renamed_choices(base, desired, new, may_have) {
        keep(&mut open, &|one| (*one == name).then(|| former.clone()));
    }
    let mut choices = Choices::new(desired, &open);
    for (name, labels) in open {
        if let Some(machine) = choices.next(labels, &taken) {
            taken.insert(machine.clone());
            chosen.insert(name.clone(), machine.clone());
        }
    }
    patched(before, &chosen)
}

/// `before` with what is different in `now`: most of a large table stays shared with the one
/// before.
fn patched(before: &imbl::OrdMap<Name, Name>, now: &BTreeMap<Name, Name>) -> imbl::OrdMap<Name, Name> {
    let mut next = before.clone();
    let mut former = before.iter().peekable();
    for (name, machine) in now {
        while let Some((gone, _)) = former.next_if(|(known, _)| *known < name) {
            next.remove(gone);
        }
        match former.next_if(|(known, _)| *known == name) {
            Some((_, was)) if was == machine => {}
            _ => drop(next.insert(name.clone(), machine.clone())),
        }
    }
    former.for_each(|(gone, _)| drop(next.remove(gone)));
    next
}

/// The assignments the other way round, made of what they were before.
fn turned(
    tenants: &imbl::OrdMap<Name, Name>,
    before: &imbl::OrdMap<Name, Name>,
    after: &imbl::OrdMap<Name, Name>,
) -> imbl::OrdMap<Name, Name> {
    let mut next = tenants.clone();
    let mut given = Vec::new();
    for change in before.diff(after) {
        match change {
            DiffItem::Add(deployment, machine) => given.push((deployment, machine)),
            DiffItem::Remove(_, machine) => drop(next.remove(machine)),
            DiffItem::Update { old: (_, former), new: (deployment, machine) } => {
                next.remove(former);
                given.push((deployment, machine));
            }
        }
    }
    // A machine may be taken from one and given to another.
    for (deployment, machine) in given {
        next.insert(machine.clone(), deployment.clone());
    }
    next
}

type Labels = BTreeMap<String, String>;

/// Machines by what selectors ask for. Each selector looks at each machine once, however many
/// deployments have it.
struct Choices<'a> {
    all: Vec<&'a Machine>,
    /// In order of names.
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Machine>>,
    /// How many machines of its list a selector has behind it.
    passed: HashMap<&'a Labels, usize>,
}

impl<'a> Choices<'a> {
    fn new(desired: &'a Desired, open: &[(&Name, &'a Labels)]) -> Choices<'a> {
        let mut choices = Choices { all: Vec::new(), by_label: HashMap::new(), passed: HashMap::new() };
        if open.is_empty() {
            return choices;
        }
        for machine in desired.machines.values() {
            choices.all.push(machine);
            for (key, value) in &machine.labels {
                choices.by_label.entry((key, value)).or_default().push(machine);
            }
        }
        choices
    }

    /// The next free machine that carries the labels. What is taken stays taken.
    fn next(&mut self, labels: &'a Labels, taken: &BTreeSet<Name>) -> Option<&'a Name> {
        let lists = labels.iter().map(|(key, value)| {
            self.by_label.get(&(key.as_str(), value.as_str())).map_or(&[][..], Vec::as_slice)
        });
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or(&self.all);
        let passed = self.passed.entry(labels).or_default();
        while let Some(machine) = rarest.get(*passed) {
            *passed += 1;
            if !taken.contains(&machine.name) && carries(machine, labels) {
                return Some(&machine.name);
            }
        }
        None
    }
}

fn carries(machine: &Machine, labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| machine.labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> BTreeMap<Name, Name> {
        let name = |word: &str| word.parse::<Name>().unwrap();
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(a, b)| (name(a), name(b)))
            .collect()
    }

    #[test]
    fn what_changes_is_changed_and_turned() {
        let cases = [
            ("", "a=m1 b=m2"),
            ("a=m1 b=m2", ""),
            ("a=m1 b=m2 c=m3", "a=m1 b=m2 c=m3"),
            ("a=m1 b=m2", "a=m2 b=m1"),
            ("a=m1 b=m2 c=m3", "b=m1 d=m2 e=m9"),
            ("b=m1", "a=m2 c=m1"),
        ];
        for (before, after) in cases {
            let former: imbl::OrdMap<Name, Name> = pairs(before).into_iter().collect();
            let tenants = former.iter().map(|(name, machine)| (machine.clone(), name.clone())).collect();
            let next = patched(&former, &pairs(after));
            assert_eq!(next, pairs(after).into_iter().collect(), "{before} -> {after}");
            let other_way: imbl::OrdMap<Name, Name> =
                next.iter().map(|(name, machine)| (machine.clone(), name.clone())).collect();
            assert_eq!(turned(&tenants, &former, &next), other_way, "{before} -> {after}");
            assert!(before != after || next.ptr_eq(&former), "nothing is copied for nothing");
        }
    }

    #[test]
    fn ever_new_strangers_push_out_each_other_and_nobody_else() {
        let mac = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            Mac::new([0x52, 0x54, a, b, c, d]).unwrap()
        };
        let mut table = Table::new(crate::table::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
        let own = mac(0);
        let macs = [(own, "m".parse().unwrap())].into_iter().collect();
        table.desired = Arc::new(Desired { macs, ..Desired::default() });
        for number in 0..200_000 {
            table.fold(&Event { mac: Some(mac(number)), ..Event::new(Time(1), Stage::Silence, "") });
            assert!(table.seen.len() <= STRANGERS_MAX + LEARNED_MAX + 1);
        }
        assert!(table.seen.contains_key(&own) && table.seen.contains_key(&mac(199_999)));
    }
}
