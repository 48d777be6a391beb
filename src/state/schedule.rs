//! Whose power is read next. Controllers are asked politely: each at its own time, a few at once, one machine of a
//! chassis after the other, and those that fail less and less often. Nothing of it is stored: after a start every
//! controller is asked.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use super::Secrets;
use super::outbox::EffectId;
use crate::desired::{Machine, differences};
use crate::model::{Name, Power, PowerKind, PowerState, Span, Time};

/// How controllers are asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two readings of one machine, about.
    pub interval: Span,
    /// The same, at most, where the last ones failed.
    pub longest: Span,
    /// The same where the password is wrong: controllers lock users out. A new secret is tried at once.
    pub locked: Span,
    /// The first readings after a start are this far apart.
    pub spread: Span,
    /// After how long a machine is looked at again whose controller is busy with another one.
    pub busy: Span,
    /// Readings at once.
    pub at_once: usize,
    /// Whether there is a driver that can read the power of such machines.
    pub can_read: fn(PowerKind) -> bool,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            interval: Span::seconds(120),
            longest: Span::seconds(15 * 60),
            locked: Span::seconds(3600),
            spread: Span(20),
            busy: Span::seconds(2),
            at_once: 64,
            can_read: PowerKind::can_read,
        }
    }
}

/// Machines that are taken in at a time: the first revision of a large site must not hold up leases.
const TAKEN_IN: usize = 2_048;

/// What came of asking a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerAnswer {
    /// The error says why the power is not known.
    pub state: Result<PowerState, Arc<str>>,
    /// Whether asking again with the same secret may lock the user out.
    pub is_login: bool,
    /// Where the controller has the system: the next reading goes there at once.
    pub system: Option<Arc<str>>,
}

impl PowerAnswer {
    /// That of an attempt without one.
    pub fn none() -> PowerAnswer {
        PowerAnswer { state: Err("it was not read".into()), is_login: false, system: None }
    }
}

/// A machine whose controller can be asked.
#[derive(Clone, Debug)]
struct Entry {
    machine: Arc<Machine>,
    due: Time,
    failures: u32,
    system: Option<Arc<str>>,
    /// The reading that is under way.
    reading: Option<EffectId>,
    /// Whether the secret changed since that began.
    has_new_secret: bool,
}

impl Entry {
    fn power(&self) -> Option<&Power> {
        self.machine.power.as_ref()
    }

    fn controller(&self) -> Option<String> {
        self.power()?.controller()
    }
}

/// When each machine's power is read.
#[derive(Clone, Debug, Default)]
pub struct PowerSchedule {
    pace: Pace,
    /// As far as they are taken in.
    machines: imbl::OrdMap<Name, Arc<Machine>>,
    secrets: Arc<Secrets>,
    /// Machines that are switched on when they are to install.
    switched: imbl::OrdSet<Name>,
    entries: imbl::OrdMap<Name, Entry>,
    /// Those that are not being read.
    due: imbl::OrdSet<(Time, Name)>,
    /// Controllers that are being asked.
    busy: imbl::OrdSet<Arc<str>>,
    readings: usize,
    /// When the machine that was taken in last is read first.
    last_first: Time,
}

impl PowerSchedule {
    pub fn new(pace: Pace) -> PowerSchedule {
        PowerSchedule { pace, ..PowerSchedule::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The machines that are switched on when they are to install, behind `after` in the order of their names.
    pub(super) fn switched(&self, after: Option<&Name>) -> impl Iterator<Item = &Name> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.switched.range((from, Bound::Unbounded))
    }

    /// Where the controller of a machine had its system at the last reading.
    pub fn system_of(&self, machine: &Name) -> Option<&Arc<str>> {
        self.entries.get(machine)?.system.as_ref()
    }

    /// Whether there are machines or secrets that were not taken in yet.
    pub(super) fn is_behind(
        &self,
        machines: &imbl::OrdMap<Name, Arc<Machine>>,
        secrets: &Arc<Secrets>,
    ) -> bool {
        !machines.ptr_eq(&self.machines) || !Arc::ptr_eq(secrets, &self.secrets)
    }

    /// Takes in what changed; of many machines some at a time. Answers with the readings under way that are
    /// nobody's any more.
    pub(super) fn catch_up(
        &mut self,
        machines: &imbl::OrdMap<Name, Arc<Machine>>,
        secrets: &Arc<Secrets>,
        now: Time,
    ) -> Vec<EffectId> {
        let mut revoked = Vec::new();
        let before = self.machines.clone();
        let mut count = 0;
        for one in differences(&before, machines).take(TAKEN_IN) {
            count += 1;
            self.take_in(one.name, one.after, now, &mut revoked);
        }
        if count < TAKEN_IN {
            self.machines = machines.clone();
        }
        if !Arc::ptr_eq(secrets, &self.secrets) {
            let before = std::mem::replace(&mut self.secrets, secrets.clone());
            if before != self.secrets {
                self.try_new_secrets(&before, now);
            }
        }
        revoked
    }

    fn take_in(
        &mut self,
        name: &Name,
        machine: Option<&Arc<Machine>>,
        now: Time,
        revoked: &mut Vec<EffectId>,
    ) {
        match machine {
            Some(machine) => drop(self.machines.insert(name.clone(), machine.clone())),
            None => drop(self.machines.remove(name)),
        }
        match machine.is_some_and(|machine| machine.power_on && machine.power.is_some()) {
            true => drop(self.switched.insert(name.clone())),
            false => drop(self.switched.remove(name)),
        }
        let can_read = |machine: &&Arc<Machine>| {
            machine.power.as_ref().is_some_and(|power| (self.pace.can_read)(power.kind))
        };
        let machine = machine.filter(can_read);
        let known = self.entries.get(name).and_then(Entry::power);
        if known == machine.and_then(|machine| machine.power.as_ref()) {
            return;
        }
        revoked.extend(self.forget(name));
        if let Some(machine) = machine {
            let due = self.next_first(now);
            let entry = Entry {
                machine: machine.clone(),
                due,
                failures: 0,
                system: None,
                reading: None,
                has_new_secret: false,
            };
            self.due.insert((due, name.clone()));
            self.entries.insert(name.clone(), entry);
        }
    }

    fn next_first(&mut self, now: Time) -> Time {
        self.last_first = now.max(self.last_first + self.pace.spread);
        self.last_first
    }

    fn forget(&mut self, name: &Name) -> Option<EffectId> {
        let entry = self.entries.remove(name)?;
        self.due.remove(&(entry.due, name.clone()));
        if entry.reading.is_some() {
            self.leave(&entry);
        }
        entry.reading
    }

    /// A controller is not asked any more.
    fn leave(&mut self, entry: &Entry) {
        self.readings -= 1;
        if let Some(controller) = entry.controller() {
            self.busy.remove(&*controller);
        }
    }

    /// A secret that was mended is tried at once.
    fn try_new_secrets(&mut self, before: &Secrets, now: Time) {
        let secret = |of: &Secrets, entry: &Entry| of.get(entry.power()?.credentials.as_ref()?.as_str());
        let is_new = |entry: &&Entry| {
            (entry.failures > 0 || entry.reading.is_some())
                && secret(before, entry) != secret(&self.secrets, entry)
        };
        let names: Vec<Name> =
            self.entries.iter().filter(|(_, entry)| is_new(entry)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if entry.reading.is_some() {
                entry.has_new_secret = true;
                continue;
            }
            self.due.remove(&(entry.due, name.clone()));
            entry.due = now;
            self.due.insert((now, name));
        }
    }

    /// Has every machine read soon, as after a start.
    pub(super) fn begin_anew(&mut self, now: Time) {
        self.due = imbl::OrdSet::new();
        self.last_first = now;
        let waiting: Vec<Name> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.reading.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            let due = self.next_first(now);
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.due = due;
                self.due.insert((due, name));
            }
        }
    }

    /// Has a machine whose controller answers read by then at the latest; false where that changes nothing.
    pub(super) fn hasten(&mut self, machine: &Name, by: Time) -> bool {
        let is_late = |entry: &&mut Entry| entry.reading.is_none() && entry.failures == 0 && by < entry.due;
        let Some(entry) = self.entries.get_mut(machine).filter(is_late) else { return false };
        self.due.remove(&(entry.due, machine.clone()));
        entry.due = by;
        self.due.insert((by, machine.clone()));
        true
    }

    /// Whether a machine could be read now.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.readings < self.pace.at_once && self.due.get_min().is_some_and(|(at, _)| *at <= now)
    }

    /// Begins the readings whose turn it is, as many as may be at once. `begin` gives each its number.
    pub(super) fn take_due(&mut self, now: Time, mut begin: impl FnMut(Name) -> EffectId) {
        while self.is_due(now) {
            let Some((at, name)) = self.due.get_min().cloned() else { return };
            self.due.remove(&(at, name.clone()));
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let controller: Option<Arc<str>> = entry.controller().map(Arc::from);
            if controller.as_ref().is_some_and(|controller| self.busy.contains(controller)) {
                // Later than now by a millisecond at least, so that this comes to an end.
                entry.due = now + self.pace.busy.max(Span(1));
                self.due.insert((entry.due, name));
                continue;
            }
            entry.reading = Some(begin(name));
            entry.has_new_secret = false;
            self.busy.extend(controller);
            self.readings += 1;
        }
    }

    /// Takes note of an answer, and when to ask again.
    pub(super) fn hear(&mut self, machine: &Name, id: EffectId, answer: &PowerAnswer, now: Time) {
        let Some(mut entry) = self.entries.get(machine).filter(|entry| entry.reading == Some(id)).cloned()
        else {
            return;
        };
        let failed = answer.state.is_err();
        entry.system = answer.system.clone();
        entry.failures = if failed { entry.failures.saturating_add(1) } else { 0 };
        let pause = match failed && entry.has_new_secret {
            true => Span(0),
            false => self.pace.pause(entry.failures, answer.is_login),
        };
        self.end(entry, now + jittered(pause, machine, id));
    }

    /// A reading is not made: the machine is read when it would have been after this one.
    pub(super) fn skip(&mut self, machine: &Name, id: EffectId, now: Time) {
        let found = self.entries.get(machine).filter(|entry| entry.reading == Some(id));
        if let Some(entry) = found.cloned() {
            let pause = self.pace.pause(entry.failures, false);
            self.end(entry, now + jittered(pause, machine, id));
        }
    }

    /// A reading is over, and the next one is due then.
    fn end(&mut self, entry: Entry, due: Time) {
        self.leave(&entry);
        let name = entry.machine.name.clone();
        self.due.insert((due, name.clone()));
        self.entries.insert(name, Entry { reading: None, due, ..entry });
    }
}

impl Pace {
    /// Until the next reading; doubled by each failure.
    fn pause(&self, failures: u32, is_login: bool) -> Span {
        if is_login {
            return self.locked;
        }
        let doubled = self.interval.0.saturating_mul(1 << failures.saturating_sub(1).min(16));
        Span(doubled.min(self.longest.max(self.interval).0))
    }
}

/// A tenth more or less, so that controllers that were asked together are not for ever.
fn jittered(pause: Span, machine: &Name, id: EffectId) -> Span {
    let mut hasher = DefaultHasher::new();
    (machine, id).hash(&mut hasher);
    Span(pause.0.saturating_mul(900 + hasher.finish() % 200) / 1000)
}

#[cfg(test)]
mod tests;
