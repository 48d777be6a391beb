//! A revision becomes what is desired. It was judged beside the keeper, over a state that may have moved
//! on meanwhile: what machines did since is kept where the revision says nothing of them, and otherwise the
//! revision has to be judged again.

mod again;
mod claims;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::super::command::Outcome;
use super::super::record::Record;
use super::super::rename::Renamed;
use super::super::{
    Event, Install, InstallStage, Installs, Revision, Secrets, Serials, Served, Stage, State, guard, lineage,
    longest, rename, trust,
};
use super::assign::{assigned, turned};
use super::{Applied, boot_once, host, loader, observe};
use crate::desired::{Boot, Desired, Machine, differences};
use crate::model::{Name, Power, Time};

pub use again::Part;
use claims::follow_claims;

/// Saved plans that were applied and are remembered at most.
const USED_MAX: usize = 256;

/// A revision that was judged and may be adopted.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The state that it was judged over.
    base: State,
    /// That state under the revision.
    next: State,
    /// What the revision was made of, to be kept for the next start; `None` if that is where it comes from.
    kept: Option<Arc<Revision>>,
    /// The saved plan that it carries out, which is good once.
    plan: Option<Arc<str>>,
    /// The new names of machines, by the former ones.
    renamed: Arc<BTreeMap<Name, Name>>,
    /// Machines whose installations went from one to the other with their boxes, both ways.
    followed: Arc<BTreeMap<Name, BTreeSet<Name>>>,
    /// Whether any machine has other network cards, so that installations follow the boxes.
    follows: bool,
    /// Whether installations may have become doubtful.
    doubts: bool,
}

impl Adoption {
    /// `base` under another revision.
    pub fn new(base: &State, desired: Arc<Desired>, secrets: Arc<Secrets>) -> Adoption {
        let follows = rename::have_other_cards(&base.desired, &desired);
        let doubts = base.has_doubts(&desired);
        let renamed = base.renamed(&desired, follows);
        let assignments = assigned(&renamed.state, &desired);
        let next = State { secrets, ..base.adopted(&renamed, assignments, desired) };
        let (followed, renamed) = (again::linked(&renamed.followed).into(), renamed.machines.into());
        Adoption { base: base.clone(), next, kept: None, plan: None, renamed, followed, follows, doubts }
    }

    /// Notes what the revision was made of.
    pub fn keeping(self, kept: Option<Arc<Revision>>) -> Adoption {
        Adoption { kept, ..self }
    }

    /// Notes the saved plan that it carries out.
    pub fn of_plan(self, plan: Option<Arc<str>>) -> Adoption {
        Adoption { plan, ..self }
    }

    /// The state that it was judged over.
    pub fn base(&self) -> &State {
        &self.base
    }

    /// The state under the revision, as it was judged.
    pub fn next(&self) -> &State {
        &self.next
    }
}

pub(super) fn apply(state: &mut State, adoption: Adoption, now: Time, out: &mut Applied) -> Outcome {
    if state.lasting.serials.desired != adoption.base.lasting.serials.desired {
        return Outcome::Moved;
    }
    let since = adoption.base.lasting.installs.differences(&state.lasting.installs);
    if !adoption.stands_beside(&since) {
        return Outcome::Moved;
    }
    if !adoption.keeps_placements(state) || !adoption.next.stands_beside_claims(state) {
        return Outcome::Moved;
    }
    let Adoption { base, next, kept, plan, renamed, followed, .. } = adoption;
    let former = std::mem::replace(state, next);
    state.go_on_from(&former, &base, &renamed);
    state.lasting.installs.count_from(&former.lasting.installs);
    if !since.is_empty() {
        let tenants = since.iter().filter_map(|(machine, _)| state.derived.tenants.get(machine)).cloned();
        let tenants: BTreeSet<Name> = tenants.collect();
        since.into_iter().for_each(|(machine, list)| state.lasting.installs.replace(&machine, &list));
        state.gather_gate_of(&tenants);
    }
    state.go_on_with_claims(&former, &renamed);
    state.renew_tenancies(&former, &renamed, &followed, now);
    follow_claims(state, &former, &renamed, now, out);
    state.tick(now);
    limit_leases(state, &former, now, out);
    out.contests(&former.lasting.contested, state);
    host::warn_of_clashes(state, now, out);
    state.date_doubts(now);
    out.installs(&former.lasting.installs, state);
    settle_source(state, kept.as_deref(), now, out);
    tell_doubts(state, &former, now, out);
    out.cards(&former.lasting.learned, state);
    loader::forget_gone(state, out);
    boot_once::follow(state, &former, out);
    lists(&former, state, out);
    thresholds(&former, state, now, out);
    if let Some(kept) = kept {
        out.records.extend(kept.records(&state.lasting.kept));
        state.lasting.kept = kept;
    }
    out.records.push(Record::Serial(state.serial()));
    if let Some(id) = plan {
        use_up(state, id, former.serial(), out);
    }
    Outcome::Done
}

impl Adoption {
    /// Whether deployments that got a machine since the revision was judged, having waited for one, have it in the
    /// revision too.
    fn keeps_placements(&self, now: &State) -> bool {
        let (before, after) = (&self.base.lasting.unplaced, &now.lasting.unplaced);
        before.ptr_eq(after)
            || before.keys().filter(|name| !after.contains_key(*name)).all(|name| {
                let next = &self.next;
                !next.desired.deployments.contains_key(name)
                    || next.lasting.assignments.get(name) == now.lasting.assignments.get(name)
            })
    }

    /// Whether the revision changes nothing for machines that did something since it was judged.
    fn stands_beside(&self, since: &[(Name, Arc<[Install]>)]) -> bool {
        let Adoption { base, next, .. } = self;
        if since.is_empty() {
            return true;
        }
        let judged: BTreeSet<Name> = base
            .lasting
            .installs
            .differences(&next.lasting.installs)
            .into_iter()
            .map(|(machine, _)| machine)
            .collect();
        // Two installations must not get one number.
        if next.lasting.installs.next_epoch() != base.lasting.installs.next_epoch() {
            return false;
        }
        let tenant = |of: &State, machine: &Name| of.tenant(machine).cloned();
        let same_tenant = |machine: &Name| match (tenant(base, machine), tenant(next, machine)) {
            (Some(was), Some(is)) => {
                (&was.name, &was.digest, was.redeploy) == (&is.name, &is.digest, is.redeploy)
            }
            (None, None) => true,
            _ => false,
        };
        // Of a machine in neither revision, the box may be another machine's by its installation.
        let same_box = |machine: &Name| {
            let is = next.desired.machines.get(machine);
            is.is_some() && base.desired.machines.get(machine) == is
        };
        since
            .iter()
            .all(|(machine, _)| !judged.contains(machine) && same_tenant(machine) && same_box(machine))
    }
}

impl State {
    /// The state under another revision: machines are assigned, protections remembered,
    /// installations kept (a renamed deployment or machine takes its installation along).
    pub fn adopt(&self, desired: Arc<Desired>) -> State {
        let Adoption { mut next, renamed, followed, .. } = Adoption::new(self, desired, self.secrets.clone());
        next.go_on_with_claims(self, &renamed);
        next.renew_tenancies(self, &renamed, &followed, Time::default());
        next
    }

    /// The same where it is known which machine each deployment gets.
    fn adopted(
        &self,
        renamed: &Renamed,
        assignments: imbl::OrdMap<Name, Name>,
        desired: Arc<Desired>,
    ) -> State {
        let base = &renamed.state;
        let mut next = base.clone();
        next.lasting.serials.desired += 1;
        next.lasting.assignments = assignments;
        next.derived.tenants =
            turned(&base.derived.tenants, &base.lasting.assignments, &next.lasting.assignments);
        next.lasting.installs = lineage::carried(self, renamed, &next, &desired);
        let prefix = |boot: &Arc<Boot>| (boot.prefix.clone(), boot.name.clone());
        next.derived.prefixes = Arc::new(desired.boots.values().map(prefix).collect());
        let machines = differences(&base.desired.machines, &desired.machines);
        for machine in machines.filter_map(|one| one.after) {
            match machine.protect {
                Some(true) => next.lasting.protected.insert(machine.name.clone()),
                Some(false) => next.lasting.protected.remove(&machine.name),
                None => None,
            };
        }
        next.forget_power(&base.desired, &desired);
        next.forget_cards(&desired);
        next.forget_settled_contests(&base.desired, &desired);
        next.desired = desired.clone();
        next.doubt(&desired);
        next.lasting.served = next.served_after(self);
        next.lasting.guards =
            Arc::new(self.lasting.guards.with(desired.safety.source(), (&desired.safety).into()));
        next.gather_gate();
        next
    }

    /// What another controller said of a machine's power, or one that is not asked any more.
    fn forget_power(&mut self, before: &Desired, after: &Desired) {
        if self.observed.power.is_empty() {
            return;
        }
        for one in differences(&before.machines, &after.machines) {
            let controller =
                |machine: Option<&Arc<Machine>>| machine.and_then(|machine| machine.power.clone());
            let power = controller(one.after);
            if power.is_none() || (one.before.is_some() && controller(one.before) != power) {
                self.observed.power.remove(one.name);
            }
        }
    }

    /// The cards of machines that no other mark identifies any more.
    fn forget_cards(&mut self, desired: &Desired) {
        self.lasting
            .learned
            .retain(|_, machine| desired.machines.get(machine).is_some_and(|one| !one.ids.is_empty()));
    }

    /// Whoever changed what a machine is known by has settled which cards are its own. Contests are by the machines'
    /// names in `after`.
    fn forget_settled_contests(&mut self, before: &Desired, after: &Desired) {
        if self.lasting.contested.is_empty() {
            return;
        }
        let is_first = before.revision.is_empty();
        let renamed = rename::machines(before, after);
        let former = |name: &Name| {
            let known = renamed.iter().find(|(_, now)| *now == name).map(|(former, _)| former.clone());
            known.unwrap_or_else(|| name.clone())
        };
        let same = |name: &Name| match (after.machines.get(name), before.machines.get(&former(name))) {
            // What was served before the start is not loaded.
            (Some(_), _) if is_first => true,
            (Some(after), Some(before)) => after.macs == before.macs && after.ids == before.ids,
            _ => false,
        };
        self.lasting.contested =
            std::mem::take(&mut self.lasting.contested).into_iter().filter(|(name, _)| same(name)).collect();
    }

    /// Takes over from the state before an adoption what no revision decides: what the host is, what was
    /// seen, leased and learned up to this moment. `base` is what the revision was judged over.
    /// `renamed` has the new names of machines.
    fn go_on_from(&mut self, former: &State, base: &State, renamed: &BTreeMap<Name, Name>) {
        let desired = self.desired.clone();
        self.lasting.serials =
            Serials { desired: former.lasting.serials.desired + 1, ..former.lasting.serials };
        self.server = former.server.clone();
        self.host = former.host.clone();
        self.observed.clock = former.observed.clock;
        self.lasting.longest = former.lasting.longest;
        self.lasting.kept = former.lasting.kept.clone();
        self.derived.clashes = former.derived.clashes.clone();
        self.lasting.trust = former.lasting.trust.clone();
        self.observed.seen = former.observed.seen.clone();
        self.observed.progress = former.observed.progress.clone();
        self.observed.trials = former.observed.trials.clone();
        self.lasting.boots = former.lasting.boots.clone();
        self.lasting.once = former.lasting.once.clone();
        rename::by_new_names(&mut self.lasting.once, renamed);
        self.observed.loops = former.observed.loops.clone();
        self.observed.loops.follow(&former.desired, &desired);
        self.lasting.leases = former.lasting.leases.clone();
        self.lasting.leases6 = former.lasting.leases6.clone();
        self.lasting.used_plans = former.lasting.used_plans.clone();
        self.lasting.damaged = former.lasting.damaged.clone();
        self.derived.memo = former.derived.memo.clone();
        self.lasting.outbox = former.lasting.outbox.clone();
        self.observed.schedule = former.observed.schedule.clone();
        self.observed.power_log = former.observed.power_log.clone();
        if let Some(awaited) = &mut self.observed.power_log.awaited {
            rename::by_new_names(awaited, renamed);
        }
        if !former.lasting.learned.ptr_eq(&base.lasting.learned) {
            self.lasting.learned = rename::cards(&former.lasting.learned, renamed);
            self.forget_cards(&desired);
        }
        if !former.lasting.contested.ptr_eq(&base.lasting.contested) {
            self.lasting.contested = rename::contests(&former.lasting.contested, renamed);
            self.forget_settled_contests(&former.desired, &desired);
        }
        self.go_on_with_power(former, base, renamed);
    }

    /// The power states that controllers reported since `base`, as far as they are asked under this revision as before.
    fn go_on_with_power(&mut self, former: &State, base: &State, renamed: &BTreeMap<Name, Name>) {
        for item in base.observed.power.diff(&former.observed.power) {
            let (name, reading) = match item {
                DiffItem::Add(name, reading) | DiffItem::Update { new: (name, reading), .. } => {
                    (name, Some(reading))
                }
                DiffItem::Remove(name, _) => (name, None),
            };
            let name = renamed.get(name).unwrap_or(name);
            let controller = |desired: &Desired| -> Option<Option<Power>> {
                desired.machines.get(name).map(|machine| machine.power.clone())
            };
            let is = controller(&self.desired).flatten();
            let is_same = is.is_some() && controller(&former.desired).is_none_or(|was| was == is);
            match reading.filter(|_| is_same) {
                Some(reading) => drop(self.observed.power.insert(name.clone(), reading.clone())),
                None => drop(self.observed.power.remove(name)),
            }
        }
    }
}

/// The clock may have been ahead when the leases of a subnet that is new here were stored.
fn limit_leases(state: &mut State, former: &State, now: Time, out: &mut Applied) {
    let is_new = |subnet: &Name| !former.desired.subnets.contains_key(subnet);
    // What an earlier version promised is not known, and stays.
    if state.lasting.longest.is_some() && state.desired.subnets.keys().any(is_new) {
        out.leases(state.limit_leases(now, &is_new));
    }
    if state.note_longest(now)
        && let Some(longest) = state.lasting.longest
    {
        out.records.push(Record::Note(longest::NOTE.into(), longest.note()));
    }
}

/// Records what the revision changed of the lists.
fn lists(before: &State, after: &State, out: &mut Applied) {
    let served = |item: DiffItem<Name, Arc<Served>>| match item {
        DiffItem::Add(name, one) | DiffItem::Update { new: (name, one), .. } => {
            Record::Served(name.clone(), Some(one.clone()))
        }
        DiffItem::Remove(name, _) => Record::Served(name.clone(), None),
    };
    out.tenancies(&before.lasting.tenancies, after);
    out.records.extend(before.lasting.served.diff(&after.lasting.served).map(served));
    let gone = before.lasting.protected.iter().filter(|name| !after.lasting.protected.contains(*name));
    out.records.extend(gone.map(|name| Record::Protection(name.clone(), false)));
    let new = after.lasting.protected.iter().filter(|name| !before.lasting.protected.contains(*name));
    out.records.extend(new.map(|name| Record::Protection(name.clone(), true)));
}

/// Records the thresholds that count from now on, and says so where they allow more than before.
fn thresholds(before: &State, after: &State, now: Time, out: &mut Applied) {
    let (before, guards) = (&before.lasting.guards, &after.lasting.guards);
    if before == guards {
        return;
    }
    out.records.push(Record::Note(guard::NOTE.into(), guards.note()));
    let source = after.desired.safety.source();
    let (Some(was), Some(is)) = (before.of(source), guards.of(source)) else { return };
    let loosened = is.loosened(was).join(", ");
    if !loosened.is_empty() {
        let of = source.map(|source| format!(" of source {source}")).unwrap_or_default();
        let revision = &after.desired.revision;
        let text = format!("[safety]{of} allows more from revision {revision} on: {loosened}");
        out.events.push(Event::new(now, Stage::Daemon, text));
    }
}

/// The first revision of a source was adopted: what it asks for later is not doubtful.
fn settle_source(state: &mut State, kept: Option<&Revision>, now: Time, out: &mut Applied) {
    let source = state.desired.safety.source.clone();
    // A tree that was applied by hand before the source was read is none of its revisions.
    let read = kept.is_some_and(|kept| {
        let mut sources = kept.sources().filter(|(_, one)| !one.settled.is_empty());
        sources.any(|(name, _)| source.is_none() || name == source.as_ref())
    });
    if read && state.lasting.trust.settle(source.as_ref()) {
        out.records.push(Record::Note(trust::NOTE.into(), state.lasting.trust.note()));
        // What `begin_restored` changed must last before the flag goes.
        out.installs(&Installs::default(), state);
        keep_distrust(state, now, out);
        out.records.push(Record::Restored(false));
    }
}

/// Records what a restore changed of lives, claims and effects, and says which claims wait for a person since.
fn keep_distrust(state: &mut State, now: Time, out: &mut Applied) {
    let lives = state.lasting.lives.iter();
    out.records.extend(lives.map(|(machine, life)| Record::Life(machine.clone(), Some(life.clone()))));
    let cancelled = std::mem::take(&mut state.lasting.trust.cancelled);
    out.records.extend(cancelled.into_iter().map(|id| Record::Effect(id, None)));
    let endless = std::mem::take(&mut state.lasting.trust.endless);
    let claims = endless.iter().filter_map(|name| state.lasting.claims.get(name));
    out.records.extend(claims.map(|claim| Record::Claim(claim.name.clone(), Some(claim.clone()))));
    if !endless.is_empty() {
        let names = endless.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!(
            "the state was restored from a backup: claims {names} do not end by themselves, for their machines may be \
             somebody else's by now; look, then release or extend them"
        );
        observe::observe(state, Event::new(now, Stage::Daemon, text), out);
    }
}

/// An event for the installations that became doubtful.
fn tell_doubts(state: &mut State, former: &State, now: Time, out: &mut Applied) {
    let is_doubtful = |install: &Install| install.stage == InstallStage::Doubtful;
    let changed = former.lasting.installs.differences(&state.lasting.installs);
    if !changed.iter().any(|(_, list)| list.iter().any(is_doubtful)) {
        return;
    }
    let known: BTreeSet<&Name> = former.doubtful().collect();
    let new: Vec<String> =
        state.doubtful().filter(|name| !known.contains(name)).map(ToString::to_string).collect();
    if new.is_empty() {
        return;
    }
    let shown = new.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
    let more = if new.len() > 20 { format!(" and {} more", new.len() - 20) } else { String::new() };
    let (what, them) = match new.len() {
        1 => ("1 installation is doubtful, its machine boots its disk".to_owned(), "it"),
        many => (format!("{many} installations are doubtful, their machines boot their disks"), "them"),
    };
    let text = format!(
        "{what}: {shown}{more}; settle {them} with `voldemortctl approve installs` or `voldemortctl adopt`"
    );
    observe::observe(state, Event::new(now, Stage::Daemon, text), out);
}

/// A saved plan is good once. The oldest are forgotten: the serial has left them behind.
fn use_up(state: &mut State, id: Arc<str>, serial: u64, out: &mut Applied) {
    out.records.push(Record::UsedPlan(id.clone(), Some(serial)));
    state.lasting.used_plans.insert(id, serial);
    if state.lasting.used_plans.len() > USED_MAX
        && let Some(oldest) = state.lasting.used_plans.iter().min_by_key(|(_, serial)| **serial)
    {
        let oldest = oldest.0.clone();
        state.lasting.used_plans.remove(&oldest);
        out.records.push(Record::UsedPlan(oldest, None));
    }
}
