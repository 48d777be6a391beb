//! The life of an effect over a ledger, with a crash at each place.

use std::sync::Arc;

use super::*;
use crate::model::{By, Caller, Name, Role};
use crate::state::effect::TaskOutcome;
use crate::state::outbox::{EffectId, Pending, Progress, Task, TaskKind};
use crate::state::{Server, Stage, Verb};
use crate::store::memory::Memory;

/// A ledger in memory that may be full.
#[derive(Clone, Debug, Default)]
struct Disk {
    memory: Memory,
    is_full: bool,
}

impl Ledger for Disk {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        match self.is_full {
            true => Err(LedgerError(std::io::ErrorKind::StorageFull.into())),
            false => self.memory.append(records, next_event),
        }
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}

fn source() -> Name {
    "lab".parse().unwrap()
}

/// A process that begins with what a disk holds.
fn started(disk: Disk) -> Engine<Disk> {
    let state = disk.memory.saved().state(Server::stand_in([10, 0, 0, 1].into()));
    Engine::new(disk, state)
}

fn crashed(engine: Engine<Disk>) -> Engine<Disk> {
    started(engine.into_ledger())
}

fn do_all(engine: &mut Engine<Disk>, verbs: impl IntoIterator<Item = Verb>) -> Vec<Outcome> {
    verbs.into_iter().map(|verb| engine.apply(Command::daemon(verb), Time(7))).collect()
}

fn commit(engine: &mut Engine<Disk>) -> Result<Committed, LedgerError> {
    engine.commit(|events| events.map(|event| (0, event)).collect())
}

/// What executors are given by a batch.
fn handed_out(committed: &Committed) -> Vec<EffectId> {
    let started = |effect: &Effect| match effect {
        Effect::Start(pending) => Some(pending.id),
        Effect::Log(..) | Effect::Count(..) | Effect::Stop(_) => None,
    };
    committed.effects.iter().filter_map(started).collect()
}

fn pending(engine: &Engine<Disk>) -> Vec<Arc<Pending>> {
    engine.state().outbox().iter().cloned().collect()
}

fn ids(engine: &Engine<Disk>) -> Vec<u64> {
    pending(engine).iter().map(|one| one.id.0).collect()
}

fn fetch() -> Verb {
    Verb::Fetch(source())
}

fn report(id: u64, progress: Progress) -> Verb {
    Verb::Progress(EffectId(id), progress)
}

#[test]
fn it_is_caused_once_handed_out_once_and_done() {
    let mut engine = started(Disk::default());
    // Two calls before anybody began are one.
    do_all(&mut engine, [fetch(), fetch()]);
    let caused = commit(&mut engine).unwrap();
    assert_eq!(handed_out(&caused), [EffectId(1)]);
    assert_eq!(pending(&engine)[0].task, Task::Fetch { source: source() });
    do_all(&mut engine, [report(1, Progress::Begun)]);
    assert!(handed_out(&commit(&mut engine).unwrap()).is_empty());
    // A call after that is another one: the executor may have looked already. A third waits with the second.
    do_all(&mut engine, [fetch(), fetch()]);
    assert_eq!(handed_out(&commit(&mut engine).unwrap()), [EffectId(2)]);
    do_all(&mut engine, [report(1, Progress::Done)]);
    let done = commit(&mut engine).unwrap();
    assert!(done.effects.contains(&Effect::Count(TaskKind::Fetch, TaskOutcome::Done)));
    assert_eq!(ids(&engine), [2]);
    // Its number is over, also after a restart.
    let refused = do_all(&mut engine, [report(1, Progress::Begun), report(1, Progress::Done)]);
    assert!(refused.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{refused:?}");
    commit(&mut engine).unwrap();
    assert!(engine.records().is_empty());
    do_all(&mut engine, [report(2, Progress::GivenUp("nobody follows it".into()))]);
    let given_up = commit(&mut engine).unwrap();
    assert!(given_up.effects.contains(&Effect::Count(TaskKind::Fetch, TaskOutcome::GivenUp)));
    let mut engine = crashed(engine);
    assert!(pending(&engine).is_empty());
    do_all(&mut engine, [fetch()]);
    assert_eq!(handed_out(&commit(&mut engine).unwrap()), [EffectId(3)]);
}

#[test]
fn one_that_a_person_cancels_is_over_for_everybody_and_for_good() {
    let mut engine = started(Disk::default());
    let person = Caller { by: By::User(1000), role: Role::Editor };
    let called = Command { by: Caller::WEBHOOK, verb: fetch() };
    let act = |engine: &mut Engine<Disk>, command: Command| engine.apply(command, Time(7));
    assert_eq!(act(&mut engine, called.clone()), Outcome::Done);
    assert_eq!(act(&mut engine, Command { by: person.clone(), verb: fetch() }), Outcome::Done);
    commit(&mut engine).unwrap();
    assert_eq!(pending(&engine)[0].by, Some(Caller::WEBHOOK), "the first of those who wanted it");
    do_all(&mut engine, [report(1, Progress::Begun)]);
    commit(&mut engine).unwrap();
    // It is on record who caused it, also after a crash and behind the record of its begin.
    let mut engine = crashed(engine);
    assert_eq!(pending(&engine)[0].by, Some(Caller::WEBHOOK));
    let cancel = |id| Command { by: person.clone(), verb: Verb::Cancel(EffectId(id)) };
    let before = pending(&engine)[0].clone();
    assert_eq!(act(&mut engine, cancel(1)), Outcome::Cancelled(Some(before)));
    let cancelled = commit(&mut engine).unwrap();
    assert!(cancelled.effects.contains(&Effect::Stop(EffectId(1))));
    assert!(cancelled.effects.contains(&Effect::Count(TaskKind::Fetch, TaskOutcome::Cancelled)));
    let [(_, event)] = &cancelled.events[..] else { panic!("{:?}", cancelled.events) };
    let text = "effect 1, to read the source lab, caused by a webhook, was cancelled by user 1000 (editor)";
    assert_eq!((event.stage, &*event.text), (Stage::Daemon, text));
    // Whatever its executor reports is refused, and nobody can cancel it twice.
    for end in [Progress::Begun, Progress::Failed("no route".into()), Progress::Done] {
        assert!(matches!(&do_all(&mut engine, [report(1, end)])[..], [Outcome::Refused(_)]));
    }
    assert_eq!(act(&mut engine, cancel(1)), Outcome::Cancelled(None));
    commit(&mut engine).unwrap();
    assert!(engine.records().is_empty());
    let mut engine = crashed(engine);
    assert!(pending(&engine).is_empty());
    // A cancellation that can't be stored is none.
    act(&mut engine, called);
    commit(&mut engine).unwrap();
    engine.ledger_mut().is_full = true;
    act(&mut engine, cancel(2));
    assert!(commit(&mut engine).is_err());
    assert_eq!(ids(&engine), [2]);
}

#[test]
fn a_crash_before_the_record_is_a_call_that_nobody_acknowledged() {
    let mut engine = started(Disk::default());
    do_all(&mut engine, [fetch()]);
    assert!(pending(&crashed(engine)).is_empty());
}

#[test]
fn a_crash_between_the_record_and_the_hand_out_loses_nothing() {
    let mut engine = started(Disk::default());
    do_all(&mut engine, [fetch()]);
    drop(commit(&mut engine).unwrap());
    let engine = crashed(engine);
    assert_eq!(ids(&engine), [1]);
    assert_eq!(pending(&engine)[0].begun, None, "nobody can have done anything");
}

#[test]
fn a_crash_between_its_end_and_the_report_shows_that_it_may_have_been_done() {
    let mut engine = started(Disk::default());
    do_all(&mut engine, [fetch(), report(1, Progress::Begun)]);
    commit(&mut engine).unwrap();
    // The executor does it; its report dies with the process, whether or not it was applied.
    do_all(&mut engine, [report(1, Progress::Done)]);
    let mut engine = crashed(engine);
    assert_eq!((ids(&engine), pending(&engine)[0].begun), (vec![1], Some(Time(7))));
    do_all(&mut engine, [report(1, Progress::Begun), report(1, Progress::Done)]);
    commit(&mut engine).unwrap();
    assert!(pending(&crashed(engine)).is_empty());
}

#[test]
fn failures_are_known_until_a_restart_and_change_nothing_on_disk() {
    let mut engine = started(Disk::default());
    do_all(&mut engine, [fetch(), report(1, Progress::Begun)]);
    commit(&mut engine).unwrap();
    for attempts in 1..=3 {
        do_all(&mut engine, [report(1, Progress::Failed("no route".into()))]);
        let failed = commit(&mut engine).unwrap();
        assert!(engine.records().is_empty() && handed_out(&failed).is_empty());
        assert!(failed.effects.contains(&Effect::Count(TaskKind::Fetch, TaskOutcome::Failed)));
        assert_eq!(pending(&engine)[0].trouble.as_ref().unwrap().attempts, attempts);
    }
    assert_eq!(pending(&crashed(engine))[0].trouble, None);
}

#[test]
fn a_full_disk_takes_back_the_effect_with_the_change_that_caused_it() {
    let mut engine = started(Disk::default());
    engine.ledger_mut().is_full = true;
    do_all(&mut engine, [fetch()]);
    assert!(commit(&mut engine).is_err() && pending(&engine).is_empty());
    engine.ledger_mut().is_full = false;
    do_all(&mut engine, [fetch()]);
    assert_eq!(handed_out(&commit(&mut engine).unwrap()), [EffectId(1)]);
    // An end that can't be stored is none: the executor reports it again.
    engine.ledger_mut().is_full = true;
    do_all(&mut engine, [report(1, Progress::Done)]);
    assert!(commit(&mut engine).is_err());
    assert_eq!(ids(&engine), [1]);
}
