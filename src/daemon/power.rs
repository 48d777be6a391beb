//! Asks the management controllers of machines for their power, politely: each at its own time,
//! a few at once, and those that fail less and less often. What they tell is an event like others;
//! nothing waits for it, and nothing is ever switched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::keeper::Keeper;
use super::{Stop, stopped};
use crate::desired::{Machine, differences};
use crate::model::{Name, Power};
use crate::power::{self, Fault, Limits, Login, Place, Read, Trust};
use crate::state::{Secrets, State};

/// How controllers are asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two questions to one controller, about.
    pub interval: Duration,
    /// The same, at most, where the last ones failed.
    pub longest: Duration,
    /// The same where the password is wrong: controllers lock users out. A new secret is tried at once.
    pub locked: Duration,
    /// The first questions after a start go out one after the other, this far apart.
    pub spread: Duration,
    /// Controllers asked at once.
    pub at_once: usize,
    /// How often the table is looked at.
    pub look: Duration,
    pub limits: Limits,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            interval: Duration::from_secs(120),
            longest: Duration::from_secs(15 * 60),
            locked: Duration::from_secs(3600),
            spread: Duration::from_millis(20),
            at_once: 64,
            look: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }
}

/// Runs until it is time to stop.
pub async fn watch(keeper: Keeper, trust: Trust, pace: Pace, mut stop: Stop) {
    let mut watch = Watch {
        keeper,
        trust,
        pace,
        machines: imbl::OrdMap::new(),
        secrets: Arc::default(),
        entries: BTreeMap::new(),
        due: BTreeSet::new(),
        asking: HashMap::new(),
        busy: HashSet::new(),
        tasks: JoinSet::new(),
        dice: RandomState::new(),
        thrown: 0,
    };
    loop {
        watch.catch_up();
        watch.ask_those_due();
        let next = watch.next();
        tokio::select! {
            done = watch.tasks.join_next_with_id(), if !watch.tasks.is_empty() => {
                done.into_iter().for_each(|done| watch.hear(done));
            }
            () = tokio::time::sleep_until(next) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// A machine whose controller can be asked.
struct Entry {
    power: Power,
    at: Instant,
    failures: u32,
    /// Where the controller has the system.
    system: Option<Arc<str>>,
    /// The secret that failed last.
    failed_with: Option<String>,
}

struct Watch {
    keeper: Keeper,
    trust: Trust,
    pace: Pace,
    /// As they were when the table was last looked at.
    machines: imbl::OrdMap<Name, Arc<Machine>>,
    secrets: Arc<Secrets>,
    entries: BTreeMap<Name, Entry>,
    /// Those that are not being asked.
    due: BTreeSet<(Instant, Name)>,
    asking: HashMap<Id, Asking>,
    /// Controllers that are being asked; one may have several machines.
    busy: HashSet<Place>,
    tasks: JoinSet<Result<Read, Fault>>,
    dice: RandomState,
    thrown: u64,
}

struct Asking {
    name: Name,
    power: Power,
    place: Option<Place>,
    secret: Option<String>,
}

impl Watch {
    /// Takes over what changed in the table.
    fn catch_up(&mut self) {
        let table = self.keeper.table();
        if !table.desired().machines.ptr_eq(&self.machines) {
            let before = std::mem::replace(&mut self.machines, table.desired().machines.clone());
            let machines = self.machines.clone();
            let mut first = Instant::now();
            for one in differences(&before, &machines) {
                let power = one.after.and_then(|machine| machine.power.as_ref());
                let power = power.filter(|power| power::driver(power.kind).capabilities().read);
                if self.entries.get(one.name).map(|entry| &entry.power) == power {
                    continue;
                }
                self.forget(one.name);
                if let Some(power) = power {
                    self.add(one.name, power, first);
                    first += self.pace.spread;
                }
            }
        }
        if !Arc::ptr_eq(table.secrets(), &self.secrets) {
            self.secrets = table.secrets().clone();
            self.try_new_secrets();
        }
    }

    fn add(&mut self, name: &Name, power: &Power, at: Instant) {
        let power = power.clone();
        let entry = Entry { power, at, failures: 0, system: None, failed_with: None };
        self.due.insert((at, name.clone()));
        self.entries.insert(name.clone(), entry);
    }

    fn forget(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.due.remove(&(entry.at, name.clone()));
        }
    }

    /// A secret that was mended is tried at once.
    fn try_new_secrets(&mut self) {
        let now = Instant::now();
        for (name, entry) in &mut self.entries {
            let secret = secret_of(&self.secrets, &entry.power);
            if entry.failures > 0 && secret != entry.failed_with && self.due.remove(&(entry.at, name.clone()))
            {
                entry.at = now;
                self.due.insert((now, name.clone()));
            }
        }
    }

    /// When to look again if nothing happens before.
    fn next(&self) -> Instant {
        let look = Instant::now() + self.pace.look;
        let full = self.tasks.len() >= self.pace.at_once;
        let due = self.due.first().filter(|_| !full).map(|(at, _)| *at);
        due.map_or(look, |at| at.min(look))
    }

    fn ask_those_due(&mut self) {
        let now = Instant::now();
        while self.tasks.len() < self.pace.at_once {
            let Some((at, name)) = self.due.pop_first() else { return };
            if at > now {
                self.due.insert((at, name));
                return;
            }
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let place = entry.power.url.as_ref().and_then(|url| Some(Place::parse(url).ok()?.0));
            if place.as_ref().is_some_and(|place| self.busy.contains(place)) {
                entry.at = now + self.pace.look;
                self.due.insert((entry.at, name));
                continue;
            }
            self.busy.extend(place.clone());
            let secret = secret_of(&self.secrets, &entry.power);
            let (power, system) = (entry.power.clone(), entry.system.clone());
            let asking = Asking { name, power: power.clone(), place, secret: secret.clone() };
            let (trust, limits) = (self.trust.clone(), self.pace.limits);
            let task = self.tasks.spawn(ask(power, secret, system, trust, limits));
            self.asking.insert(task.id(), asking);
        }
    }

    fn hear(&mut self, done: Result<(Id, Result<Read, Fault>), JoinError>) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(Asking { name, power, place, secret }) = self.asking.remove(&id) else { return };
        if let Some(place) = place {
            self.busy.remove(&place);
        }
        let table = self.keeper.table();
        // Who is in the manifests no more, or otherwise, was asked in vain.
        let known = table.desired().machines.get(&name).and_then(|machine| machine.power.as_ref());
        let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.power == power) else { return };
        let (state, login, system) = match done {
            Ok((_, Ok(Read { state, system }))) => (Ok(state), false, Some(system)),
            Ok((_, Err(fault))) => (Err(fault.to_string().into()), fault.is_login(), entry.system.take()),
            Err(error) => (Err(format!("asking ended unexpectedly: {error}").into()), false, None),
        };
        self.keeper.tally().power(state.is_ok());
        entry.system = system;
        entry.failures = if state.is_ok() { 0 } else { entry.failures.saturating_add(1) };
        // A secret that was mended while the old one was tried is tried at once.
        let mended = state.is_err() && secret_of(&self.secrets, &power) != secret;
        entry.failed_with = secret.filter(|_| state.is_err());
        let pause = if mended { Duration::ZERO } else { self.pace.pause(entry.failures, login) };
        self.thrown += 1;
        let jitter = self.dice.hash_one(self.thrown) % 200;
        entry.at = Instant::now() + pause * (900 + jitter as u32) / 1000;
        self.due.insert((entry.at, name.clone()));
        if known == Some(&power) && is_news(&table, &name, &state) {
            self.keeper.power(name, state);
        }
    }
}

impl Pace {
    /// Until the next question; doubled by each failure.
    fn pause(&self, failures: u32, login: bool) -> Duration {
        if login {
            return self.locked;
        }
        let doubled = self.interval.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest.max(self.interval))
    }
}

/// The keeper has better to do than to hear that all is as it was.
fn is_news(table: &State, name: &Name, state: &Result<crate::model::PowerState, Arc<str>>) -> bool {
    table.power().get(name).is_none_or(|reading| reading.state != *state)
}

fn secret_of(secrets: &Secrets, power: &Power) -> Option<String> {
    secrets.get(power.credentials.as_ref()?.as_str())
}

async fn ask(
    power: Power,
    secret: Option<String>,
    system: Option<Arc<str>>,
    trust: Trust,
    limits: Limits,
) -> Result<Read, Fault> {
    let login = match (&power.credentials, secret) {
        (None, _) => None,
        (Some(name), None) => return Err(Fault::BadLogin(name.clone(), "is not known here")),
        (Some(name), Some(text)) => {
            let login = Login::parse(&text);
            Some(login.ok_or_else(|| Fault::BadLogin(name.clone(), "is not one line with user:password"))?)
        }
    };
    power::read(&power, login.as_ref(), system, &trust, &limits).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_double_the_pause_to_a_quarter_of_an_hour() {
        let pace = Pace::default();
        let pauses: Vec<u64> = (0..7).map(|failures| pace.pause(failures, false).as_secs()).collect();
        assert_eq!(pauses, [120, 120, 240, 480, 900, 900, 900]);
        assert_eq!(pace.pause(u32::MAX, false).as_secs(), 900);
        assert_eq!(pace.pause(1, true).as_secs(), 3600);
    }
}
