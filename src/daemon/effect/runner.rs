//! Runs the tasks of one executor: those that are in the outbox when it is opened, then each that is caused, until
//! it is done or cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::daemon::keeper::{Keeper, KeeperError};
use crate::model::Name;
use crate::state::outbox::{EffectId, Pending, Progress, TaskKind};
use crate::state::{Command, Verb};

/// Rest after an attempt that failed; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST: Duration = Duration::from_secs(60);
/// After how long a report is made again that could not be stored.
const AGAIN: Duration = Duration::from_secs(1);

/// What carries out the tasks of one kind.
///
/// A task is carried out once, but again after a crash, of the daemon or of the executor, that came between its end
/// and the report of it. If it must not be done twice, [`Pending::begun`] says that it may have been: then the
/// outcome is read back first. For a task that is stored, `begun` is on disk before `carry_out` is called.
pub trait Executor: Send + Sync + 'static {
    /// Which tasks of the outbox are its own: of several kinds where those of one machine are not carried out at once.
    const KINDS: &'static [TaskKind];
    /// Tasks that are carried out at once.
    const AT_ONCE: usize;

    /// Carries a task out and returns the command that reports its end. It is called again, after a rest, when that
    /// is [`Progress::Failed`] and when it panics. It is dropped when the task is cancelled meanwhile.
    fn carry_out(&self, pending: Arc<Pending>) -> impl Future<Output = Verb> + Send;
}

/// A task that is being carried out.
struct Underway {
    subject: Name,
    /// Says that the task was cancelled.
    stop: Arc<Notify>,
}

/// Runs an executor: one task at a time of each source or machine, the oldest first. Never ends but by an error.
pub async fn run<E: Executor>(executor: E, keeper: Keeper) -> Result<(), String> {
    let executor = Arc::new(executor);
    let mut changes = keeper.outbox();
    let mut underway: HashMap<EffectId, Underway> = HashMap::new();
    let mut attempts = JoinSet::new();
    loop {
        changes.mark_unchanged();
        let state = keeper.state();
        // One that has just reported its end is not pending either, and does not listen any more.
        let gone = underway.iter().filter(|(id, _)| state.outbox().get(**id).is_none());
        gone.for_each(|(_, task)| task.stop.notify_one());
        for pending in state.outbox().iter().filter(|pending| E::KINDS.contains(&pending.task.kind())) {
            if underway.len() == E::AT_ONCE {
                break;
            }
            let (id, subject) = (pending.id, pending.task.subject());
            if !underway.contains_key(&id) && !underway.values().any(|other| other.subject == *subject) {
                let stop = Arc::new(Notify::new());
                underway.insert(id, Underway { subject: subject.clone(), stop: stop.clone() });
                attempts.spawn(see_to(executor.clone(), keeper.clone(), pending.clone(), stop));
            }
        }
        drop(state);
        tokio::select! {
            ended = attempts.join_next(), if !attempts.is_empty() => match ended {
                Some(Ok(id)) => drop(underway.remove(&id)),
                Some(Err(error)) => return Err(format!("an attempt ended unexpectedly: {error}")),
                None => {}
            },
            // The keeper's end is the daemon's.
            open = changes.changed() => if open.is_err() { std::future::pending().await },
        }
    }
}

/// Attempts a task until its end is stored, or until it is cancelled.
async fn see_to<E: Executor>(
    executor: Arc<E>,
    keeper: Keeper,
    mut pending: Arc<Pending>,
    stop: Arc<Notify>,
) -> EffectId {
    let id = pending.id;
    let mut rest = FIRST;
    loop {
        if pending.task.kind().is_stored() && !report(&keeper, Verb::Progress(id, Progress::Begun)).await {
            return id;
        }
        let end = tokio::select! {
            biased;
            () = stop.notified() => return id,
            end = attempt(&executor, &pending) => end,
        };
        let has_failed = matches!(end, Verb::Progress(_, Progress::Failed(_) | Progress::NotSent(..)));
        if !report(&keeper, end).await || !has_failed {
            return id;
        }
        tokio::select! {
            () = stop.notified() => return id,
            () = tokio::time::sleep(rest) => {}
        }
        rest = (rest * 2).min(LONGEST);
        match keeper.state().outbox().get(id) {
            Some(current) => pending = current.clone(),
            None => return id,
        }
    }
}

/// A panic is a failure like others.
async fn attempt<E: Executor>(executor: &Arc<E>, pending: &Arc<Pending>) -> Verb {
    // A set of one: its task ends with this one.
    let mut work = JoinSet::new();
    let (executor, own) = (executor.clone(), pending.clone());
    work.spawn(async move { executor.carry_out(own).await });
    match work.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => {
            Verb::Progress(pending.id, Progress::Failed(format!("it ended unexpectedly: {error}").into()))
        }
        None => Verb::Progress(pending.id, Progress::Failed("it was not begun".into())),
    }
}

/// Reports until that is stored. False where the effect is not pending any more.
async fn report(keeper: &Keeper, verb: Verb) -> bool {
    loop {
        match keeper.ask_surely(Command::daemon(verb.clone())).await {
            Ok(_) => return true,
            Err(KeeperError::Refused(_)) => return false,
            Err(KeeperError::Busy | KeeperError::Store(_)) => tokio::time::sleep(AGAIN).await,
        }
    }
}

#[cfg(test)]
mod tests;
