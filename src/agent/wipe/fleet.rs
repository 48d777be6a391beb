//! Wipes several disks at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::device::{Bench, Seen};
use super::work::{Failure, Job};
use super::{Hears, places};
use crate::api::agent::{Certificate, DiskCertificate, DiskProgress, OrderResult};
use crate::model::WipeLevel;

/// Most disks that are wiped at once: each has a buffer of a few MiB, and writes as fast as it can.
const MOST: usize = 16;
/// Longest time without a report.
const REPORT: Duration = Duration::from_secs(20);

/// Wipes these disks; the result names every one that could not be.
pub(super) fn wipe(level: WipeLevel, disks: &[&Seen], bench: &dyn Bench, hears: Hears<'_>) -> OrderResult {
    let started = bench.now();
    let waiting = |disk: &&Seen| progress(&disk.facts.id, "waiting", 0);
    let states = Mutex::new(disks.iter().map(waiting).collect::<Vec<DiskProgress>>());
    let groups = Mutex::new(groups(disks));
    let outcomes: Mutex<Vec<Option<Result<DiskCertificate, Failure>>>> =
        Mutex::new(disks.iter().map(|_| None).collect());
    let workers = lock(&groups).len().min(MOST);
    let stop = AtomicBool::new(hears(lock(&states).clone()).is_break());
    std::thread::scope(|scope| {
        let (ended, endings) = channel::<()>();
        for _ in 0..workers {
            let ended = ended.clone();
            let (groups, states, outcomes, stop) = (&groups, &states, &outcomes, &stop);
            scope.spawn(move || {
                // Dropped when the thread ends, however it ends.
                let _ended = ended;
                while let Some(group) = next(groups) {
                    let ordered: BTreeSet<u32> =
                        group.iter().filter_map(|at| Some(disks[*at].namespace.as_ref()?.1)).collect();
                    for at in group {
                        let step = |step: &str, percent: u8| {
                            lock(states)[at] = progress(&disks[at].facts.id, step, percent);
                        };
                        let seed = places::seed(started, &disks[at].facts.id);
                        let disk = disks[at];
                        let job = Job { disk, level, seed, bench, ordered: &ordered, step: &step, stop };
                        // A fault of this program at one disk must not keep the others from being wiped.
                        let outcome = catch_unwind(AssertUnwindSafe(|| job.run())).ok();
                        let is_wiped = matches!(outcome, Some(Ok(_)));
                        step(if is_wiped { "done" } else { "failed" }, 100);
                        lock(outcomes)[at] = outcome;
                    }
                }
            });
        }
        drop(ended);
        while let Err(RecvTimeoutError::Timeout) = endings.recv_timeout(REPORT) {
            if hears(lock(&states).clone()).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    result(disks, outcomes, |disks| Certificate {
        agent: env!("CARGO_PKG_VERSION").into(),
        kernel: bench.kernel(),
        started,
        finished: bench.now(),
        disks,
    })
}

/// The disks that have to be wiped one after the other: namespaces of one NVMe subsystem, for what wipes one may
/// keep the others from answering.
fn groups(disks: &[&Seen]) -> VecDeque<Vec<usize>> {
    let mut shared: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut groups = VecDeque::new();
    for (at, disk) in disks.iter().enumerate() {
        match &disk.namespace {
            Some((subsystem, _)) => shared.entry(subsystem).or_default().push(at),
            None => groups.push_back(vec![at]),
        }
    }
    groups.extend(shared.into_values());
    groups
}

fn next(groups: &Mutex<VecDeque<Vec<usize>>>) -> Option<Vec<usize>> {
    lock(groups).pop_front()
}

fn result(
    disks: &[&Seen],
    outcomes: Vec<Option<Result<DiskCertificate, Failure>>>,
    certificate: impl FnOnce(Vec<DiskCertificate>) -> Certificate,
) -> OrderResult {
    let (mut wiped, mut failed) = (Vec::new(), Vec::new());
    for (disk, outcome) in disks.iter().zip(outcomes) {
        match outcome {
            Some(Ok(one)) => wiped.push(one),
            Some(Err(Failure { why, tried })) => {
                let tried: Vec<String> =
                    tried.iter().map(|one| format!("{}: {}", one.method, one.status)).collect();
                let tried =
                    if tried.is_empty() { String::new() } else { format!(" (tried {})", tried.join("; ")) };
                failed.push(format!("{} is not wiped: {why}{tried}", disk.name()));
            }
            None => failed.push(format!("{} is not wiped: the work ended unexpectedly", disk.name())),
        }
    }
    match failed.is_empty() {
        true => OrderResult::Done { certificate: Some(certificate(wiped)) },
        false => {
            let certificate = (!wiped.is_empty()).then(|| certificate(wiped));
            OrderResult::Failed { why: failed.join("; "), certificate }
        }
    }
}

fn progress(id: &str, step: &str, percent: u8) -> DiskProgress {
    DiskProgress { id: id.into(), step: step.into(), percent }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
