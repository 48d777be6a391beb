//! The reducer: the one place where the state changes. A command and the time go in; the new state, what
//! has to last, what people should see and what has to be done elsewhere come out. The daemon, the
//! simulation and the simulated boots all run this very function.

pub mod adopt;
mod agent;
mod api_token;
mod assign;
mod boot_once;
mod claim;
mod claim_start;
mod cycle;
mod effect;
mod free;
mod hold;
mod host;
mod lease;
mod loader;
mod observe;
mod permit;
mod power;
mod power_order;
mod report;
mod season;
mod settle;
mod tick;
mod wipe;

use imbl::ordmap::DiffItem;

use super::command::{Command, Outcome, Verb};
use super::effect::{Effect, Level, TaskOutcome};
use super::outbox::TaskKind;
use super::record::Record;
use super::{Contest, Event, Installs, State, Tenancy, contest, tenancy};
use crate::model::{Mac, Name, Time};
use cycle::Cycle;

pub use permit::Stale;

/// What a command brought about besides the new state; a buffer of the caller's, which it is added to.
#[derive(Debug, Default)]
pub struct Applied {
    /// To be durable before the new state is published.
    pub records: Vec<Record>,
    /// For the timeline.
    pub events: Vec<Event>,
    /// To be handed out when the records are durable.
    pub effects: Vec<Effect>,
}

/// Carries a command out. After [`Outcome::Refused`] and [`Outcome::Moved`] the state is what it was.
pub fn apply(state: &mut State, command: Command, now: Time, out: &mut Applied) -> Outcome {
    match command.verb {
        Verb::Nothing => Outcome::Done,
        Verb::Adopt(adoption) => adopt::apply(state, *adoption, now, out),
        Verb::Lease(requests) => lease::apply(state, &requests, out),
        Verb::Lease6(request) => lease::apply6(state, &request, out),
        Verb::Permit(permit) => permit::apply(state, &permit, now, out),
        Verb::Report(report) => report::apply(state, &report, now, out),
        Verb::Reboot { deployment, epoch, at } => report::reboot(state, &deployment, epoch, at, out),
        Verb::Installed(install) => permit::installed(state, *install, out),
        Verb::Settle(doubts, verdict) => settle::apply(state, &doubts, verdict, now, out),
        Verb::Observe(events) => observe::apply(state, events, out),
        Verb::Fetch(source) => effect::fetch(state, source, command.by, now, out),
        Verb::Progress(id, progress) => effect::progress(state, id, progress, now, out),
        Verb::Cancel(id) => effect::cancel(state, id, command.by, now, out),
        Verb::Power(id, answer) => power::apply(state, id, answer, now, out),
        Verb::PowerSeen(machine, is) => power::seen(state, &machine, is, now, out),
        Verb::PowerOrder(machine, action, reason) => {
            power_order::order(state, machine, action, reason, command.by, now, out)
        }
        Verb::Remember(name, note) => {
            out.records.push(Record::Note(name, note));
            Outcome::Done
        }
        Verb::CreateToken(token) => api_token::create(state, *token, now, out),
        Verb::RevokeToken(name) => api_token::revoke(state, &name, &command.by, now, out),
        Verb::UsedToken(name, id) => api_token::used(state, &name, id, now, out),
        Verb::Claim(wanted) => claim::claim(Cycle { state, by: &command.by, now, out }, *wanted),
        Verb::Prototypes(loaded) => {
            state.load_prototypes(*loaded);
            Cycle { state, by: &command.by, now, out }.serve_queue();
            Outcome::Done
        }
        Verb::Extend(name, ttl) => claim::extend(Cycle { state, by: &command.by, now, out }, &name, ttl),
        Verb::Keep(name) => claim::keep(Cycle { state, by: &command.by, now, out }, &name),
        Verb::Release(name) => claim::release(Cycle { state, by: &command.by, now, out }, &name),
        Verb::Hold(machine, reason, until) => {
            hold::hold(Cycle { state, by: &command.by, now, out }, &machine, reason, until)
        }
        Verb::Unhold(machine) => hold::unhold(Cycle { state, by: &command.by, now, out }, &machine),
        Verb::Wipe(machine, disks, level) => {
            wipe::wipe(Cycle { state, by: &command.by, now, out }, &machine, &disks, level)
        }
        Verb::Withdraw(machine) => wipe::withdraw(Cycle { state, by: &command.by, now, out }, &machine),
        Verb::Retry(machine) => hold::retry(Cycle { state, by: &command.by, now, out }, &machine),
        Verb::BootOnce(machine, boot, until) => {
            boot_once::order(Cycle { state, by: &command.by, now, out }, &machine, &boot, until)
        }
        Verb::CancelBootOnce(machine) => {
            boot_once::cancel(Cycle { state, by: &command.by, now, out }, &machine)
        }
        Verb::BeginBoot(machine) => boot_once::begin(Cycle { state, by: &command.by, now, out }, &machine),
        Verb::ForgetLoaders(machine) => {
            loader::forget_by(Cycle { state, by: &command.by, now, out }, &machine)
        }
        Verb::Agent(report) => agent::apply(Cycle { state, by: &command.by, now, out }, &report),
        Verb::Free(address) => free::apply(state, address, now, out),
        Verb::Host(addresses) => host::addresses(state, addresses, now, out),
        Verb::Networks(others) => host::networks(state, others),
        Verb::Loaders(loaders) => host::loaders(state, loaders, now, out),
        Verb::Tick => tick::apply(state, now, out),
    }
}

impl State {
    /// Carries a verb out where nothing has to last: in simulated boots, replayed captures and tests.
    pub fn act(&mut self, verb: Verb, now: Time) -> Outcome {
        apply(self, Command::machine(verb), now, &mut Applied::default())
    }

    /// The state after a verb, where nothing has to last; or why it does not allow it.
    pub fn after(&self, verb: Verb, now: Time) -> Result<State, String> {
        let mut next = self.clone();
        match next.act(verb, now) {
            Outcome::Refused(why) => Err(why),
            _ => Ok(next),
        }
    }
}

impl Applied {
    /// Empties it, to be filled anew. A buffer with room for more than `room` is given back.
    pub fn clear(&mut self, room: usize) {
        fn clear<T>(buffer: &mut Vec<T>, room: usize) {
            buffer.clear();
            buffer.shrink_to(room);
        }
        clear(&mut self.records, room);
        clear(&mut self.events, room);
        clear(&mut self.effects, room);
    }

    /// Records what differs between the installations of before and now; true if anything does.
    fn installs(&mut self, before: &Installs, state: &State) -> bool {
        let changed = before.differences(&state.lasting.installs);
        let is_changed = !changed.is_empty();
        self.records.extend(changed.into_iter().map(|(machine, list)| Record::Installs(machine, list)));
        is_changed
    }

    /// The same where machines, or a person, changed them. The serial is raised with that record and not
    /// without one: after a restart it would be lower.
    fn steps(&mut self, before: &Installs, state: &mut State) {
        if self.installs(before, state) {
            state.lasting.serials.machines += 1;
            self.records.push(Record::Serial(state.serial()));
        }
    }

    /// Records what differs between the tenancies of before and now, and the highest epoch that was given.
    fn tenancies(&mut self, before: &imbl::OrdMap<Name, Tenancy>, state: &State) {
        let now = &state.lasting.tenancies;
        if now.ptr_eq(before) {
            return;
        }
        let known = self.records.len();
        self.records.extend(before.diff(now).map(|item| match item {
            DiffItem::Add(machine, one) | DiffItem::Update { new: (machine, one), .. } => {
                Record::Tenancy(machine.clone(), Some(one.clone()))
            }
            DiffItem::Remove(machine, _) => Record::Tenancy(machine.clone(), None),
        }));
        // A damaged record of an earlier version is no longer needed where the machine is known.
        let damaged = state.lasting.damaged.iter().filter(|name| state.epoch_of(name).is_some());
        self.records.extend(damaged.map(|name| Record::Assignment(name.clone(), None)));
        if self.records.len() > known {
            let note = tenancy::note(state.lasting.installs.newest());
            self.records.push(Record::Note(tenancy::NOTE.into(), note));
        }
    }

    /// Records which cards were learned, moved or forgotten since.
    fn cards(&mut self, before: &imbl::HashMap<Mac, Name>, state: &State) {
        let now = &state.lasting.learned;
        if now.ptr_eq(before) {
            return;
        }
        let forgotten = before.keys().filter(|mac| !now.contains_key(*mac));
        self.records.extend(forgotten.map(|mac| Record::Card(*mac, None)));
        let new = now.iter().filter(|(mac, machine)| before.get(*mac) != Some(*machine));
        self.records.extend(new.map(|(mac, machine)| Record::Card(*mac, Some(machine.clone()))));
    }

    /// Records which identities are contested, where that has changed.
    fn contests(&mut self, before: &imbl::OrdMap<Name, Contest>, state: &State) {
        if !state.lasting.contested.ptr_eq(before) && state.lasting.contested != *before {
            self.records.push(Record::Note(contest::NOTE.into(), contest::note(&state.lasting.contested)));
        }
    }

    fn leases(&mut self, changed: super::upkeep::Changed) {
        self.records.extend(changed.leases.into_iter().map(Record::Lease4));
        self.records.extend(changed.leases6.into_iter().map(Record::Lease6));
    }

    fn log(&mut self, level: Level, text: impl Into<crate::model::Line>) {
        self.effects.push(Effect::Log(level, text.into()));
    }

    fn count(&mut self, kind: TaskKind, outcome: TaskOutcome) {
        self.effects.push(Effect::Count(kind, outcome));
    }
}
