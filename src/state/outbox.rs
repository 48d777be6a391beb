//! Effects that wait for their executors: each has a number, is here from the command that caused it to the command
//! that reports its end, and is a record all that time if it matters. After a crash the executors find it here
//! again, so that they may carry it out more than once.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::power_order::{PowerOrder, Sent};
use crate::model::words::words;
use crate::model::{Caller, Name, PowerAction, Span, Time};

/// The name of the stored note that holds the number of the next effect.
pub const NOTE: &str = "outbox";

/// No lineage has caused so many effects: the next number where the note is damaged.
const BEYOND: u64 = 1 << 40;

/// Number of an effect. In one lineage no two effects that are stored have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// What an executor is to do. It names the state to reach and whom it is about, no step on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// A webhook said that a source has changed: it is read again.
    Fetch { source: Name },
    /// The management controller of a machine is asked for its power.
    ReadPower { machine: Name },
    /// A machine is restarted into our agent, as long as the order of this epoch waits for it.
    Restart { machine: Name, epoch: u64 },
    /// A machine is switched off that was wiped by the order of this epoch, as long as nobody has it.
    PowerOff { machine: Name, epoch: u64 },
    /// A machine is switched because a person, or a rule, ordered it.
    Power { machine: Name, order: PowerOrder },
}

words! {
    /// Which executor a task is for.
    pub enum TaskKind {
        Fetch = "fetch",
        ReadPower = "read-power",
        Restart = "restart",
        PowerOff = "power-off",
        Power = "power",
    }
}

/// A task that is not done yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub id: EffectId,
    pub task: Task,
    /// Who sent the command that caused it; `None` where an earlier version recorded it.
    pub by: Option<Caller>,
    /// When it was caused.
    pub since: Time,
    /// When its executor began with it last. If it is set when an executor gets the task, an earlier attempt may
    /// have come to its end and its report may be lost: work that must not be done twice is read back first.
    pub begun: Option<Time>,
    /// The last request to a controller that was sent for it, or was about to be: it is not sent again.
    pub sent: Option<Sent>,
    /// The last attempt that failed since the start of the daemon; never stored.
    pub trouble: Option<Trouble>,
}

/// Attempts that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub attempts: u32,
    pub at: Time,
    pub why: Arc<str>,
}

/// What an executor reports of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It begins now. Stored before it does, where the task is stored.
    Begun,
    /// A request is about to be sent. Stored before it is.
    Sent(Sent),
    /// It was not sent after all, for certain, and the one before it was the last: the attempt failed.
    NotSent(Arc<str>, Option<Sent>),
    /// An attempt failed; it is tried again.
    Failed(Arc<str>),
    Done,
    /// It can't be done, and is not tried again.
    GivenUp(Arc<str>),
}

impl Task {
    pub fn kind(&self) -> TaskKind {
        match self {
            Task::Fetch { .. } => TaskKind::Fetch,
            Task::ReadPower { .. } => TaskKind::ReadPower,
            Task::Restart { .. } => TaskKind::Restart,
            Task::PowerOff { .. } => TaskKind::PowerOff,
            Task::Power { .. } => TaskKind::Power,
        }
    }

    /// The epoch of the order that it belongs to.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Task::Fetch { .. } | Task::ReadPower { .. } => None,
            Task::Restart { epoch, .. } | Task::PowerOff { epoch, .. } => Some(*epoch),
            Task::Power { order, .. } => Some(order.epoch),
        }
    }

    /// What it is about: a source, a machine.
    pub fn subject(&self) -> &Name {
        match self {
            Task::Fetch { source } => source,
            Task::ReadPower { machine } => machine,
            Task::Restart { machine, .. } | Task::PowerOff { machine, .. } | Task::Power { machine, .. } => {
                machine
            }
        }
    }
}

impl TaskKind {
    /// Whether tasks of this kind are records until they are done. One that is not is caused again by itself after
    /// a restart.
    pub fn is_stored(self) -> bool {
        match self {
            TaskKind::Fetch => true,
            TaskKind::ReadPower => false,
            TaskKind::Restart | TaskKind::PowerOff | TaskKind::Power => true,
        }
    }

    /// Whether tasks of this kind switch a machine.
    pub fn is_power(self) -> bool {
        match self {
            TaskKind::Fetch | TaskKind::ReadPower => false,
            TaskKind::Restart | TaskKind::PowerOff | TaskKind::Power => true,
        }
    }

    /// After how long a person should know that one is not done.
    fn patience(self) -> Span {
        match self {
            TaskKind::Fetch => Span::seconds(300),
            TaskKind::ReadPower => Span::seconds(120),
            TaskKind::Restart | TaskKind::PowerOff | TaskKind::Power => Span::seconds(600),
        }
    }
}

impl Pending {
    /// Why a person should look at it; `None` while it takes no longer than usual.
    pub fn stuck(&self, now: Time) -> Option<String> {
        let Pending { id, task, by: _, since, begun, sent, trouble } = self;
        // An order waits for the turns of those before it.
        let waits = matches!(task, Task::Power { order, .. } if trouble.is_none() && now < order.end(*sent));
        if waits || now.since(*since) < task.kind().patience() {
            return None;
        }
        let why = match (trouble, begun) {
            (Some(Trouble { attempts, why, .. }), _) => format!("it failed {attempts} times, at last: {why}"),
            (None, Some(at)) => format!("its executor began at {at} and has not ended"),
            (None, None) => "its executor has not begun".to_owned(),
        };
        Some(format!("effect {id}, to {task}, is not done since {since}: {why}"))
    }

    /// Who caused it, for people.
    pub fn cause(&self) -> String {
        self.by.as_ref().map_or("a caller that is not on record".to_owned(), Caller::to_string)
    }
}

/// All effects that wait for their executors.
#[derive(Clone, Debug)]
pub struct Outbox {
    pending: imbl::OrdMap<EffectId, Arc<Pending>>,
    next: u64,
    /// How many of them switch a machine.
    switching: usize,
    /// The numbers of them, by what they are about.
    about: imbl::OrdSet<(Name, EffectId)>,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox { pending: imbl::OrdMap::new(), next: 1, switching: 0, about: imbl::OrdSet::new() }
    }
}

impl Outbox {
    /// What was stored, and the note of the next number.
    pub fn restore(stored: impl IntoIterator<Item = Arc<Pending>>, note: Option<&[u8]>) -> Outbox {
        let pending: imbl::OrdMap<EffectId, _> = stored.into_iter().map(|one| (one.id, one)).collect();
        let after = pending.get_max().map_or(1, |(id, _)| id.0.saturating_add(1));
        let noted = note.map_or(1, |note| note.try_into().map_or(BEYOND, u64::from_le_bytes));
        let switching = pending.values().filter(|one: &&Arc<Pending>| one.task.kind().is_power()).count();
        let about = pending
            .iter()
            .map(|(id, one): (&EffectId, &Arc<Pending>)| (one.task.subject().clone(), *id))
            .collect();
        Outbox { pending, next: noted.max(after), switching, about }
    }

    /// The note of the next number.
    pub(super) fn note(&self) -> Vec<u8> {
        self.next.to_le_bytes().to_vec()
    }

    pub fn get(&self, id: EffectId) -> Option<&Arc<Pending>> {
        self.pending.get(&id)
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pending>> {
        self.pending.values()
    }

    /// Those of one executor, the oldest first.
    pub fn of(&self, kind: TaskKind) -> impl Iterator<Item = &Arc<Pending>> {
        self.iter().filter(move |pending| pending.task.kind() == kind)
    }

    /// Those about a source or a machine, the oldest first. The others are not looked at.
    pub fn about<'a>(&'a self, subject: &Name) -> impl Iterator<Item = &'a Arc<Pending>> + use<'a> {
        let own = (subject.clone(), EffectId(0))..=(subject.clone(), EffectId(u64::MAX));
        self.about.range(own).filter_map(move |(_, id)| self.pending.get(id))
    }

    /// How many tasks that switch a machine are not done.
    pub(super) fn switching(&self) -> usize {
        self.switching
    }

    pub(super) fn add(&mut self, task: Task, by: Caller, now: Time) -> Arc<Pending> {
        let id = EffectId(self.next);
        self.next += 1;
        self.switching += usize::from(task.kind().is_power());
        let pending =
            Arc::new(Pending { id, task, by: Some(by), since: now, begun: None, sent: None, trouble: None });
        self.about.insert((pending.task.subject().clone(), id));
        self.pending.insert(id, pending.clone());
        pending
    }

    /// Puts an entry in the place of the one with its number.
    pub(super) fn put(&mut self, pending: Arc<Pending>) {
        self.pending.insert(pending.id, pending);
    }

    pub(super) fn remove(&mut self, id: EffectId) -> Option<Arc<Pending>> {
        let removed = self.pending.remove(&id)?;
        self.switching -= usize::from(removed.task.kind().is_power());
        self.about.remove(&(removed.task.subject().clone(), id));
        Some(removed)
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EffectId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<EffectId, Self::Err> {
        text.parse().map(EffectId)
    }
}

/// Completes "is to …".
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Fetch { source } => write!(f, "read the source {source}"),
            Task::ReadPower { machine } => write!(f, "read the power of machine {machine}"),
            Task::Restart { machine, epoch } => {
                write!(f, "restart machine {machine} for the order of epoch {epoch}")
            }
            Task::PowerOff { machine, epoch } => {
                write!(f, "switch off machine {machine} after the order of epoch {epoch}")
            }
            Task::Power { machine, order: PowerOrder { action, reason, .. } } => {
                match action {
                    PowerAction::On => write!(f, "switch on machine {machine}"),
                    PowerAction::Off => write!(f, "switch off machine {machine}"),
                    PowerAction::Cycle => write!(f, "switch machine {machine} off and on"),
                    PowerAction::BootOnce => {
                        write!(f, "have the next boot of machine {machine} come from the network")
                    }
                    PowerAction::Install => {
                        write!(f, "switch on machine {machine} with a boot from the network")
                    }
                }?;
                if reason.is_empty() { Ok(()) } else { write!(f, " ({reason})") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fetch() -> Task {
        Task::Fetch { source: "lab".parse().unwrap() }
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut outbox = Outbox::default();
        let first = outbox.add(fetch(), Caller::WEBHOOK, Time(1));
        let second = outbox.add(fetch(), Caller::WEBHOOK, Time(1));
        assert_eq!((first.id, second.id), (EffectId(1), EffectId(2)));
        let note = outbox.note();
        // Both are done; what is stored is the note alone.
        let mut later = Outbox::restore([], Some(&note));
        assert_eq!(later.add(fetch(), Caller::WEBHOOK, Time(2)).id, EffectId(3));
        // Without the note the numbers that are known count; with a damaged one none is near.
        assert_eq!(
            Outbox::restore([second.clone()], None).add(fetch(), Caller::WEBHOOK, Time(2)).id,
            EffectId(3)
        );
        assert_eq!(
            Outbox::restore([second], Some(b"")).add(fetch(), Caller::WEBHOOK, Time(2)).id,
            EffectId(BEYOND)
        );
        assert_eq!(Outbox::restore([], None).add(fetch(), Caller::WEBHOOK, Time(2)).id, EffectId(1));
    }

    #[test]
    fn tasks_that_switch_a_machine_are_counted() {
        let mut outbox = Outbox::default();
        outbox.add(fetch(), Caller::WEBHOOK, Time(1));
        let off = Task::PowerOff { machine: "m1".parse().unwrap(), epoch: 1 };
        let off = outbox.add(off, Caller::DAEMON, Time(1));
        outbox.put(off.clone());
        assert_eq!(outbox.switching(), 1);
        assert_eq!(Outbox::restore([off.clone()], None).switching(), 1);
        assert_eq!(outbox.remove(off.id), Some(off.clone()));
        assert_eq!((outbox.remove(off.id), outbox.switching()), (None, 0));
    }

    #[test]
    fn what_takes_too_long_is_said_with_its_reason() {
        let pending = Outbox::default().add(fetch(), Caller::WEBHOOK, Time(0));
        assert_eq!(pending.stuck(Time(299_999)), None);
        let late = Time(300_000);
        let said = |pending: &Pending| pending.stuck(late).unwrap();
        assert_eq!(
            said(&pending),
            "effect 1, to read the source lab, is not done since 1970-01-01T00:00:00.000Z: its executor has not begun"
        );
        let begun = Pending { begun: Some(Time(1000)), ..(*pending).clone() };
        assert!(said(&begun).ends_with("its executor began at 1970-01-01T00:00:01.000Z and has not ended"));
        let trouble = Some(Trouble { attempts: 3, at: Time(7), why: "no route".into() });
        assert!(said(&Pending { trouble, ..begun }).ends_with("it failed 3 times, at last: no route"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Whatever is added, put again, removed and read again after a start.
        #[test]
        fn those_about_a_machine_are_found_as_by_looking_at_all(
            steps in prop::collection::vec((0u8..4, 0u8..3, 1u64..20), 0..60),
        ) {
            let machine = |at: u8| format!("m{at}").parse::<Name>().unwrap();
            let mut outbox = Outbox::default();
            for (what, at, id) in steps {
                match (what, outbox.get(EffectId(id)).cloned()) {
                    (0, Some(one)) => outbox.put(Arc::new(Pending { begun: Some(Time(2)), ..(*one).clone() })),
                    (1, Some(one)) => drop(outbox.remove(one.id)),
                    (2, Some(_)) => outbox = Outbox::restore(outbox.iter().cloned().collect::<Vec<_>>(), None),
                    _ => drop(outbox.add(Task::ReadPower { machine: machine(at) }, Caller::DAEMON, Time(1))),
                }
                for machine in (0..4).map(machine) {
                    let all = outbox.iter().filter(|one| *one.task.subject() == machine);
                    let all: Vec<Arc<Pending>> = all.cloned().collect();
                    let found: Vec<Arc<Pending>> = outbox.about(&machine).cloned().collect();
                    prop_assert_eq!(found, all);
                }
                prop_assert_eq!(outbox.about.len(), outbox.pending.len());
            }
        }
    }
}
