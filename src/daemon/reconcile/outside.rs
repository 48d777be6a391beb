//! Everything outside the sources that decides what is served: images, loose files, the key. It is
//! looked at twice a second, in a thread that a file system which does not answer can't take along.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::media::Sight;

/// Shortest time between two looks, and how much of the time they may take: one part in so many.
const PAUSE: Duration = Duration::from_millis(500);
const PART: u32 = 20;
/// A path that takes longer is left out until its file system answers, with all others on its device: each
/// look at one of them would cost a thread.
const STUCK: Duration = Duration::from_secs(5);
/// A file that was written to during this time may be half a copy: it is taken when it rests.
const RESTS: Duration = Duration::from_secs(2);
/// What looked the same for this long is taken before.
const STEADY: Duration = Duration::from_millis(900);

/// What is watched: paths, and what was found there when something was loaded from them.
pub(super) type Watched = Vec<(PathBuf, Option<Sight>)>;
/// The paths at which something else is found now.
pub(super) type Changed = BTreeMap<PathBuf, Option<Sight>>;

/// Paths at which threads hang, each with its device if there was a file.
type Stuck = BTreeMap<PathBuf, Option<u64>>;

/// Looks for changes.
#[derive(Debug)]
pub(super) struct Outside {
    /// What is at a path.
    sight: fn(&Path) -> Option<Sight>,
    /// When the next look begins.
    next: Instant,
    look: Option<Look>,
    /// What the last look found, and since when that is so.
    last: BTreeMap<PathBuf, (Option<Sight>, Instant)>,
    stuck: Arc<Mutex<Stuck>>,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    started: Instant,
    progress: Arc<Mutex<Progress>>,
    /// When that is looked at next.
    check: Instant,
    found: oneshot::Receiver<Changed>,
}

/// How far a look is.
#[derive(Debug)]
struct Progress {
    /// The path that is being looked at, with its device if there was a file.
    at: Option<(PathBuf, Option<u64>)>,
    since: Instant,
}

impl Outside {
    pub(super) fn new() -> Outside {
        Outside {
            sight: Sight::at,
            next: Instant::now() + PAUSE,
            look: None,
            last: BTreeMap::new(),
            stuck: Arc::default(),
        }
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
                Err(_) if look.hangs(&self.stuck) => {
                    self.look = None;
                    self.next = Instant::now();
                }
                Err(_) => {}
            }
        }
    }

    /// `None` if there is no thread for it now.
    fn begin(&mut self, mut watched: Watched) -> Option<Look> {
        self.next = Instant::now() + PAUSE;
        {
            let stuck = lock(&self.stuck);
            watched.retain(|(path, before)| !is_stuck(&stuck, path, before.as_ref()));
        }
        let (answer, found) = oneshot::channel();
        let started = Instant::now();
        let progress = Arc::new(Mutex::new(Progress { at: None, since: started }));
        let (sight, stuck, shared) = (self.sight, self.stuck.clone(), progress.clone());
        let work = move || {
            let mut changed = Changed::new();
            let mut own = lock(&shared);
            for (path, before) in watched {
                own.at = Some((path.clone(), before.as_ref().and_then(device)));
                own.since = Instant::now();
                drop(own);
                let now = sight(&path);
                own = lock(&shared);
                if answer.is_closed() {
                    // It took too long, and answers again: it is part of the next look.
                    lock(&stuck).remove(&path);
                    return;
                }
                if now != before {
                    changed.insert(path, now);
                }
            }
            own.at = None;
            drop(own);
            let _ = answer.send(changed);
        };
        crate::thread::start("outside", work).ok()?;
        Some(Look { started, progress, check: started + STUCK, found })
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

impl Look {
    /// Ends it if it hangs: the path is one of `stuck` until its thread comes back.
    fn hangs(&mut self, stuck: &Mutex<Stuck>) -> bool {
        let mut progress = lock(&self.progress);
        if progress.since.elapsed() < STUCK {
            self.check = progress.since + STUCK;
            return false;
        }
        // The thread takes the path off the list again when it finds this closed.
        self.found.close();
        if let Some((path, device)) = progress.at.take() {
            tracing::warn!(
                path = %path.display(),
                "the file system does not answer; its files are as they were"
            );
            lock(stuck).insert(path, device);
        }
        true
    }
}

/// Whether a look at `path`, where `before` was found, would hang as well: what is on the same device, and
/// of what was absent, whose device is not known, all that is in the same folder or below it.
fn is_stuck(stuck: &Stuck, path: &Path, before: Option<&Sight>) -> bool {
    let own = before.and_then(device);
    let beside = |one: &Path| {
        let folder = one.parent().filter(|folder| folder.parent().is_some());
        path.starts_with(folder.unwrap_or(one))
    };
    stuck.iter().any(|(one, device)| match before {
        Some(_) => one == path || own.is_some() && own == *device,
        None => beside(one),
    })
}

/// The device of a file; `None` for a copy that is known by its content.
fn device(found: &Sight) -> Option<u64> {
    found.id.changed_at().map(|_| found.id.device)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::content::FileId;

    static AWAY: AtomicBool = AtomicBool::new(true);

    /// A file with the number `inode` on one of two devices.
    fn file(device: u64, inode: u64) -> Option<Sight> {
        Some(Sight { id: FileId { device, inode, ..FileId::default() }, changed: 0 })
    }

    /// Every file has another number now; those of `/nfs` are on a file server.
    fn answered(path: &Path) -> Option<Sight> {
        let is_remote = path.starts_with("/nfs");
        while is_remote && AWAY.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        file(u64::from(is_remote), 2)
    }

    #[tokio::test]
    async fn a_file_server_that_does_not_answer_costs_one_thread_and_holds_up_no_other_file() {
        let remote = || {
            let mut all: Watched = vec![("/nfs/tree/absent".into(), None)];
            all.extend((0..200).map(|number| (format!("/nfs/tree/{number}").into(), file(1, 1))));
            all
        };
        let mut outside = Outside { sight: answered, ..Outside::new() };
        let all = || {
            let mut all = remote();
            all.rotate_left(1);
            all.push(("/srv/x.iso".into(), file(0, 1)));
            all
        };
        let changed = tokio::time::timeout(STUCK * 2, outside.changed(all)).await.unwrap();
        assert_eq!(changed, [("/srv/x.iso".into(), file(0, 2))].into());
        assert_eq!(lock(&outside.stuck).len(), 1);
        AWAY.store(false, Ordering::Relaxed);
        let changed = tokio::time::timeout(STUCK * 2, outside.changed(remote)).await.unwrap();
        assert_eq!(changed.len(), 201, "it answers again");
    }

    #[test]
    fn what_was_absent_is_left_out_with_its_folder() {
        let stuck: Stuck = [("/mnt/nfs/a.iso".into(), None), ("/pxe".into(), Some(7))].into();
        let is_stuck = |path: &str, before: Option<Sight>| is_stuck(&stuck, Path::new(path), before.as_ref());
        for path in ["/mnt/nfs/a.iso", "/mnt/nfs/b/c.iso", "/pxe/linux"] {
            assert!(is_stuck(path, None), "{path}");
        }
        assert!(is_stuck("/srv/link", file(7, 1)) && is_stuck("/pxe", file(7, 1)));
        for path in ["/mnt/ssd/a.iso", "/srv/a.iso"] {
            assert!(!is_stuck(path, None) && !is_stuck(path, file(8, 1)), "{path}");
        }
        assert!(!is_stuck("/mnt/nfs/b.iso", file(8, 1)), "its device answers");
        let copy = Sight { id: FileId::of_content(&"a".repeat(40), 1).unwrap(), changed: 0 };
        assert!(!is_stuck("/var/lib/copy", Some(copy)));
    }

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
        let mut outside = Outside::new();
        let now = Instant::now();
        assert!(outside.settled(found(1), now).is_empty());
        assert!(outside.settled(found(2), now + STEADY / 2).is_empty(), "it may be half a copy");
        assert_eq!(outside.settled(found(3), now + STEADY), [("x.iso".into(), id(7))].into());
    }
}
