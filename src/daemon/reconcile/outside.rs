//! Everything outside the sources that decides what is served: images, loose files, the key. It is
//! looked at twice a second, in a thread that a file system which does not answer can't take along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::media::Sight;

/// Shortest time between two looks, and how much of the time they may take: one part in so many.
const PAUSE: Duration = Duration::from_millis(500);
const PART: u32 = 20;
/// A path that takes longer is left out until its file system answers.
const STUCK: Duration = Duration::from_secs(5);
/// A file that was written to during this time may be half a copy: it is taken when it rests.
const RESTS: Duration = Duration::from_secs(2);
/// What looked the same for this long is taken before.
const STEADY: Duration = Duration::from_millis(900);

/// What is watched: paths, and what was found there when something was loaded from them.
pub(super) type Watched = Vec<(PathBuf, Option<Sight>)>;
/// The paths at which something else is found now.
pub(super) type Changed = BTreeMap<PathBuf, Option<Sight>>;

/// Looks for changes.
#[derive(Debug)]
pub(super) struct Outside {
    /// When the next look begins.
    next: Instant,
    look: Option<Look>,
    /// What the last look found, and since when that is so.
    last: BTreeMap<PathBuf, (Option<Sight>, Instant)>,
    stuck: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    started: Instant,
    /// The path that is being looked at.
    at: Arc<Mutex<Option<PathBuf>>>,
    /// When that is compared with what it was at the last comparison.
    check: Instant,
    was_at: Option<PathBuf>,
    found: oneshot::Receiver<Changed>,
}

impl Outside {
    pub(super) fn new() -> Outside {
        Outside { next: Instant::now() + PAUSE, look: None, last: BTreeMap::new(), stuck: Arc::default() }
    }

    /// Resolves when something of what `watched` names is other than it was, and rests. Can be dropped and called
    /// again at any time.
    pub(super) async fn changed(&mut self, watched: impl Fn() -> Watched) -> Changed {
        loop {
            let Some(look) = &mut self.look else {
                tokio::time::sleep_until(self.next).await;
                self.look = self.begin(watched());
                continue;
            };
            match tokio::time::timeout_at(look.check, &mut look.found).await {
                Ok(found) => {
                    let took = look.started.elapsed();
                    self.look = None;
                    self.next = Instant::now() + PAUSE.max(took * PART);
                    let settled = self.settled(found.unwrap_or_default(), Instant::now());
                    if !settled.is_empty() {
                        return settled;
                    }
                }
                Err(_) => {
                    let at = look.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if at != look.was_at {
                        (look.was_at, look.check) = (at, Instant::now() + STUCK);
                        continue;
                    }
                    tracing::warn!(path = ?at, "the file system does not answer; its files are as they were");
                    self.stuck.lock().unwrap_or_else(PoisonError::into_inner).extend(at);
                    self.look = None;
                    self.next = Instant::now();
                }
            }
        }
    }

    /// `None` if there is no thread for it now.
    fn begin(&mut self, mut watched: Watched) -> Option<Look> {
        self.next = Instant::now() + PAUSE;
        let stuck = self.stuck.clone();
        {
            let stuck = stuck.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|(path, _)| !stuck.contains(path));
        }
        let (answer, found) = oneshot::channel();
        let at: Arc<Mutex<Option<PathBuf>>> = Arc::default();
        let here = at.clone();
        let work = move || {
            let mut changed = Changed::new();
            for (path, before) in watched {
                *here.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.clone());
                let now = Sight::at(&path);
                if answer.is_closed() {
                    // It took too long, and answers again: it is part of the next look.
                    stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                    return;
                }
                if now != before {
                    changed.insert(path, now);
                }
            }
            let _ = answer.send(changed);
        };
        crate::thread::start("outside", work).ok()?;
        let started = Instant::now();
        Some(Look { started, at, check: started + STUCK, was_at: None, found })
    }

    /// What of all that was found is to be acted upon now: a file that changes all the time must not hold
    /// up the others.
    fn settled(&mut self, found: Changed, now: Instant) -> Changed {
        let known = std::mem::take(&mut self.last);
        let dated = |(path, sight): (PathBuf, Option<Sight>)| {
            let same = known.get(&path).filter(|(before, _)| *before == sight);
            let since = same.map_or(now, |(_, since)| *since);
            (path, (sight, since))
        };
        self.last = found.into_iter().map(dated).collect();
        let settled = |(path, (sight, since)): (&PathBuf, &(Option<Sight>, Instant))| {
            let is_settled = now - *since >= STEADY || rests(sight.as_ref());
            is_settled.then(|| (path.clone(), *sight))
        };
        self.last.iter().filter_map(settled).collect()
    }
}

/// Whether the file is no longer being written to, judged by its time.
fn rests(found: Option<&Sight>) -> bool {
    let Some(Sight { id, .. }) = found else { return false };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let is_old = |changed| i128::try_from(now).is_ok_and(|now| changed + RESTS.as_nanos() as i128 <= now);
    id.changed_at().is_none_or(is_old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::FileId;

    #[tokio::test]
    async fn a_change_is_noticed_when_it_rests_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        let before = Instant::now();
        let mut outside = Outside::new();
        let absent = || vec![(path.clone(), None)];
        let write = || std::fs::write(&path, "1").unwrap();
        let changed = async {
            outside.changed(absent).await;
            before.elapsed()
        };
        let (took, ()) = tokio::join!(changed, async {
            tokio::time::sleep(PAUSE / 2).await;
            write();
        });
        assert!(took >= PAUSE * 2 && took < STUCK, "{took:?}");
        let present = || vec![(path.clone(), Sight::at(&path))];
        assert!(tokio::time::timeout(PAUSE * 2, outside.changed(present)).await.is_err());
    }

    #[test]
    fn a_file_that_never_rests_holds_up_no_other() {
        let id = |inode| {
            let id = FileId { inode, modified: i128::MAX / 2, ..FileId::default() };
            Some(Sight { id, changed: 0 })
        };
        let found = |restless| Changed::from([("log".into(), id(restless)), ("x.iso".into(), id(7))]);
        let mut outside =
            Outside { next: Instant::now(), look: None, last: BTreeMap::new(), stuck: Arc::default() };
        let now = Instant::now();
        assert!(outside.settled(found(1), now).is_empty());
        assert!(outside.settled(found(2), now + STEADY / 2).is_empty(), "it may be half a copy");
        assert_eq!(outside.settled(found(3), now + STEADY), [("x.iso".into(), id(7))].into());
    }
}
