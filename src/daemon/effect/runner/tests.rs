use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use super::*;
use crate::model::{Caller, Name};
use crate::state::Server;
use crate::store::Store;

/// What an executor of the test's own does at each attempt.
enum Deed {
    Report(Progress),
    Panic,
    Hang,
}

#[derive(Clone, Default)]
struct Fake {
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    /// What it was given.
    given: Arc<Mutex<Vec<Arc<Pending>>>>,
}

impl Fake {
    fn new(deeds: impl IntoIterator<Item = Deed>) -> Fake {
        Fake { deeds: Arc::new(Mutex::new(deeds.into_iter().collect())), given: Arc::default() }
    }

    fn given(&self) -> Vec<Arc<Pending>> {
        self.given.lock().unwrap().clone()
    }
}

impl Executor for Fake {
    const KINDS: &'static [TaskKind] = &[TaskKind::Fetch];
    const AT_ONCE: usize = 2;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        self.given.lock().unwrap().push(pending.clone());
        let deed = self.deeds.lock().unwrap().pop_front();
        match deed {
            Some(Deed::Report(progress)) => Verb::Progress(pending.id, progress),
            Some(Deed::Panic) => panic!("by chance"),
            Some(Deed::Hang) => std::future::pending().await,
            None => Verb::Progress(pending.id, Progress::Done),
        }
    }
}

fn keeper(state: &Path) -> Keeper {
    let (store, saved) = Store::open(state, || [7; 48]).unwrap();
    Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into())).0
}

async fn fetch(keeper: &Keeper, source: &str) {
    keeper.fetch(source.parse::<Name>().unwrap()).await.unwrap();
}

async fn until(what: &str, right: impl Fn() -> bool) {
    let began = Instant::now();
    while !right() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn failures_and_panics_are_tried_again_and_what_hangs_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    let fake = Fake::new([Deed::Hang, Deed::Report(Progress::Failed("no route".into())), Deed::Panic]);
    let running = tokio::spawn(run(fake.clone(), keeper.clone()));
    fetch(&keeper, "one").await;
    until("the first hangs", || fake.given().len() == 1).await;
    fetch(&keeper, "two").await;
    let is_done = || keeper.state().outbox().iter().all(|pending| pending.task.subject().as_str() == "one");
    until("the second is done at the third attempt", || fake.given().len() == 4 && is_done()).await;
    let begun: Vec<bool> = fake.given().iter().map(|pending| pending.begun.is_some()).collect();
    assert_eq!(begun, [false, false, true, true], "a later attempt knows of the one before");
    let stuck = keeper.state().outbox().iter().next().unwrap().stuck(crate::model::Time(u64::MAX)).unwrap();
    assert!(stuck.contains("to read the source one") && stuck.contains("has not ended"), "{stuck}");
    running.abort();
}

#[tokio::test]
async fn an_executor_that_is_opened_again_begins_with_what_is_pending() {
    let folder = tempfile::tempdir().unwrap();
    let first = keeper(folder.path());
    for source in ["one", "two", "three"] {
        fetch(&first, source).await;
    }
    // It was begun, and the daemon ended before it reported.
    let id = first.state().outbox().iter().next().unwrap().id;
    first.ask(Command::daemon(Verb::Progress(id, Progress::Begun))).await.unwrap();
    first.close().await;
    first.ended().await;
    drop(first);
    let second = reopened(folder.path()).await;
    assert_eq!(second.state().outbox().iter().count(), 3);
    let hanging = Fake::new([Deed::Hang, Deed::Hang]);
    let running = tokio::spawn(run(hanging.clone(), second.clone()));
    until("as many as may be at once", || hanging.given().len() == 2).await;
    let begun = hanging.given().iter().filter(|pending| pending.begun.is_some()).count();
    assert_eq!(begun, 1, "only of the first it is not known whether it was done");
    running.abort();
    assert!(running.await.is_err());
    // Opened again after a failure it finds all three.
    let fake = Fake::default();
    let running = tokio::spawn(run(fake.clone(), second.clone()));
    until("all are done", || second.state().outbox().iter().count() == 0).await;
    assert_eq!(fake.given().len(), 3);
    running.abort();
}

/// Counts what a hanging executor was stopped at.
#[derive(Clone, Default)]
struct Stopped(Arc<Mutex<u32>>);

impl Drop for Stopped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[derive(Clone, Default)]
struct Hanging {
    fake: Fake,
    stopped: Arc<Mutex<u32>>,
}

impl Executor for Hanging {
    const KINDS: &'static [TaskKind] = &[TaskKind::Fetch];
    const AT_ONCE: usize = 1;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        let _stopped = Stopped(self.stopped.clone());
        self.fake.carry_out(pending).await
    }
}

#[tokio::test]
async fn one_that_is_cancelled_is_stopped_and_one_that_waits_is_never_begun() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    // The first hangs at work, the second waits for it and is cancelled, the third fails and rests for a minute.
    let failures = (0..20).map(|_| Deed::Report(Progress::Failed("no route".into())));
    let hanging = Hanging { fake: Fake::new([Deed::Hang].into_iter().chain(failures)), ..Hanging::default() };
    let running = tokio::spawn(run(hanging.clone(), keeper.clone()));
    for source in ["one", "two", "three", "four"] {
        fetch(&keeper, source).await;
    }
    let given = || -> Vec<String> {
        hanging.fake.given().iter().map(|pending| pending.task.subject().to_string()).collect()
    };
    until("the first hangs", || given() == ["one"]).await;
    let ids: Vec<EffectId> = keeper.state().outbox().iter().map(|pending| pending.id).collect();
    let cancel = async |id| keeper.cancel(id, Caller::DAEMON).await.unwrap().map(|pending| pending.id);
    assert_eq!(cancel(ids[1]).await, Some(ids[1]));
    assert_eq!(*hanging.stopped.lock().unwrap(), 0);
    assert_eq!(cancel(ids[0]).await, Some(ids[0]));
    until("the third is begun", || given() == ["one", "three"]).await;
    let stopped = || *hanging.stopped.lock().unwrap();
    until("the one that hung and the attempt that failed have ended", || stopped() == 2).await;
    assert_eq!((cancel(ids[0]).await, cancel(ids[2]).await), (None, Some(ids[2])));
    until("the fourth does not wait for the rest of the third", || given().contains(&"four".into())).await;
    assert!(!given().contains(&"two".into()));
    running.abort();
}

/// The directory is free when the keeper's thread has ended.
async fn reopened(state: &Path) -> Keeper {
    let began = Instant::now();
    loop {
        match Store::open(state, || [7; 48]) {
            Ok((store, saved)) => {
                return Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into())).0;
            }
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
