//! A library that never waits long. A file system of another host may not answer for hours, and the digest
//! of a large image takes minutes: such work continues in threads of its own, and the caller gets its
//! progress.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::seen::Seen;
use super::shelf::Work;
use super::{Entry, Index, Library, MediaError, Parts, Shelf};

/// Most threads that wait for disks at once.
const MOST_JOBS: usize = 16;
/// What is known already is answered within this time, also where others have used up the time of a load.
const GRACE: Duration = Duration::from_millis(250);
/// A digest that was not requested for this time is aborted: the manifest names another image by now.
const ABANDONED: Duration = Duration::from_secs(60);

/// A shelf that answers within a time limit.
pub struct Patient {
    shelf: Shelf,
    seen: Arc<Seen>,
    until: Instant,
}

/// What is being read, by a text that identifies the request.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Mutex<HashMap<String, Arc<Job>>>,
}

/// One request that is being worked on.
#[derive(Debug)]
pub(super) struct Job {
    started: Instant,
    asked: Mutex<Instant>,
    /// Whether an initrd is made: that is no wait for a file system.
    packs: AtomicBool,
    /// Whether the file is on its way from a web server.
    fetches: AtomicBool,
    /// Bytes that came, or whose digest was computed, and how many there are; 0 of 0 before.
    done: AtomicU64,
    total: AtomicU64,
    ended: Mutex<bool>,
    rings: Condvar,
}

impl Patient {
    /// The same library; all its answers together take about `patience` at most. What it looks at is
    /// noted in `seen`.
    pub fn new(shelf: &Shelf, seen: Arc<Seen>, patience: Duration) -> Patient {
        Patient { shelf: shelf.noting(seen.clone()), seen, until: Instant::now() + patience }
    }

    /// What `work` reads from the file at `path`.
    pub fn read<T: Send + 'static>(
        &self,
        path: &Path,
        work: fn(&Path) -> Result<T, MediaError>,
    ) -> Result<T, MediaError> {
        let (place, seen) = (path.to_owned(), self.seen.clone());
        let key = format!("\0{}", path.display());
        let answer = self.shelf.jobs().run(key, path, self.until, move |_| {
            seen.look(&place);
            work(&place)
        });
        self.noted(answer)
    }

    /// The answer to a question about the file at `path`, which may touch each folder of media. One is asked
    /// at a time: where a file system does not answer, the others would wait for it, too.
    pub fn beside<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, MediaError> {
        self.noted(self.shelf.jobs().run("\0beside".to_owned(), path, self.until, move |_| Ok(work())))
    }

    fn noted<T>(&self, answer: Result<T, MediaError>) -> Result<T, MediaError> {
        if let Err(error) = &answer {
            self.seen.note_error(error);
        }
        answer
    }

    fn ask<T: Send + 'static>(
        &self,
        name: &str,
        sha256: Option<&str>,
        work: impl FnOnce(&Shelf, &Job) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        let shelf = self.shelf.clone();
        let sha256 = sha256.unwrap_or_default().to_ascii_lowercase();
        let key = format!("{}\0{sha256}", self.shelf.meaning(name));
        self.noted(self.shelf.jobs().run(key, Path::new(name), self.until, move |job| work(&shelf, job)))
    }
}

impl Library for Patient {
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        let (name, wanted) = (file.to_owned(), sha256.map(str::to_owned));
        self.ask(file, sha256, move |shelf, job| {
            shelf.image_watched(&name, wanted.as_deref(), &|work, done, total| {
                job.fetches.store(work == Work::Fetch, Ordering::Relaxed);
                job.goes_on(done, total)
            })
        })
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        let name = path.to_owned();
        self.ask(path, None, move |shelf, _| shelf.file(&name))
    }

    fn agent(&self, parts: &Parts, thorough: bool) -> Result<Option<Entry>, MediaError> {
        let (shelf, own) = (self.shelf.clone(), parts.clone());
        let key = format!("\0agent\0{thorough}\0{parts:?}");
        let work = move |job: &Job| shelf.agent_watched(&own, thorough, &|| job.packs_on());
        self.noted(self.shelf.jobs().run(key, Path::new(&*parts.boot), self.until, work))
    }
}

impl Jobs {
    /// Does `work` in a thread and waits for it until `until`.
    fn run<T: Send + 'static>(
        self: &Arc<Self>,
        key: String,
        name: &Path,
        until: Instant,
        work: impl FnOnce(&Job) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        let job = loop {
            let mut running = self.lock();
            if let Some(job) = running.get(&key).cloned() {
                drop(running);
                // What it found is known then, so that asking again is quick.
                if !job.ends_before(until) {
                    return Err(job.busy(name));
                }
                continue;
            }
            if running.len() >= MOST_JOBS {
                let why = "too many other files are waited for".to_owned();
                return Err(MediaError::Busy { path: name.into(), why });
            }
            let job = Arc::new(Job::new());
            running.insert(key.clone(), job.clone());
            break job;
        };
        let (answer, found) = sync_channel(1);
        let (jobs, own) = (self.clone(), job.clone());
        let ends = RemoveOnEnd { jobs, key, job: own };
        let thread = crate::thread::start("media", move || {
            // The caller may have stopped waiting.
            let _ = answer.send(work(&ends.job));
        });
        thread.map_err(|error| MediaError::Io { path: name.into(), why: error.to_string() })?;
        match found.recv_timeout(until.saturating_duration_since(Instant::now()).max(GRACE)) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => Err(job.busy(name)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(MediaError::Io { path: name.into(), why: "reading it ended unexpectedly".into() })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a job off the list when its thread ends, however that ends.
struct RemoveOnEnd {
    jobs: Arc<Jobs>,
    key: String,
    job: Arc<Job>,
}

impl Drop for RemoveOnEnd {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.key);
        *self.job.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.job.rings.notify_all();
    }
}

impl Job {
    fn new() -> Job {
        let now = Instant::now();
        Job {
            started: now,
            asked: Mutex::new(now),
            packs: AtomicBool::new(false),
            fetches: AtomicBool::new(false),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            ended: Mutex::new(false),
            rings: Condvar::new(),
        }
    }

    fn ends_before(&self, until: Instant) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.rings.wait_timeout_while(ended, left, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Records that an initrd is being made; false when no caller wants it any more.
    fn packs_on(&self) -> bool {
        self.packs.store(true, Ordering::Relaxed);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < ABANDONED
    }

    /// Records the progress of a digest or a download; false when no caller wants it any more.
    fn goes_on(&self, done: u64, total: u64) -> bool {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < ABANDONED
    }

    fn busy(&self, name: &Path) -> MediaError {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let fetches = self.fetches.load(Ordering::Relaxed);
        let why = match done.saturating_mul(100).checked_div(total) {
            Some(percent) if fetches => format!("it is being fetched: {percent} % of {} MiB", total >> 20),
            None if fetches => format!("it is being fetched: {} MiB so far", done >> 20),
            Some(percent) => format!("its sha256 is being computed: {percent} % of {} MiB", total >> 20),
            None if self.packs.load(Ordering::Relaxed) => {
                format!("the initrd of its agent is being made for {} s", self.started.elapsed().as_secs())
            }
            None => {
                let waited = self.started.elapsed().as_secs();
                format!("its file system has not answered for {waited} s")
            }
        };
        MediaError::Busy { path: PathBuf::from(name), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(jobs: &Arc<Jobs>, wait: u64, work: impl FnOnce(&Job) + Send + 'static) -> Result<u8, MediaError> {
        let until = Instant::now() + Duration::from_millis(wait);
        jobs.run("x".into(), Path::new("x.iso"), until, move |job| {
            work(job);
            Ok(7)
        })
    }

    #[test]
    fn what_takes_long_goes_on_beside_whoever_asked() {
        let jobs = Arc::new(Jobs::default());
        assert_eq!(ask(&jobs, 10_000, |_| {}), Ok(7));
        let (go, wait) = sync_channel::<()>(0);
        let (reached, there) = sync_channel(1);
        let slow = ask(&jobs, 1, move |job| {
            job.goes_on(50, 200);
            reached.send(()).unwrap();
            let _ = wait.recv();
        });
        assert!(matches!(&slow, Err(MediaError::Busy { .. })), "{slow:?}");
        there.recv().unwrap();
        // The second one is not started.
        let again = ask(&jobs, 0, |_| panic!("it runs already")).unwrap_err().to_string();
        assert_eq!(again, "x.iso: its sha256 is being computed: 25 % of 0 MiB");
        drop(go);
        assert_eq!(ask(&jobs, 10_000, |_| {}), Ok(7));
    }

    #[test]
    fn questions_beside_one_that_hangs_are_not_started() {
        let shelf = Shelf::new(Vec::new(), None);
        let patient = Patient::new(&shelf, Arc::default(), Duration::ZERO);
        let (go, wait) = sync_channel::<()>(0);
        let slow = patient.beside(Path::new("/nfs/x.iso"), move || {
            let _ = wait.recv();
        });
        assert!(matches!(&slow, Err(MediaError::Busy { .. })), "{slow:?}");
        let other = patient.beside(Path::new("/srv/y.iso"), || 7);
        assert!(matches!(&other, Err(MediaError::Busy { .. })), "{other:?}");
        drop(go);
        let later = Patient::new(&shelf, Arc::default(), Duration::from_secs(10));
        assert_eq!(later.beside(Path::new("/srv/y.iso"), || 7), Ok(7));
    }

    #[test]
    fn what_is_known_is_answered_when_others_have_used_up_the_time() {
        assert_eq!(ask(&Arc::new(Jobs::default()), 0, |_| {}), Ok(7));
    }

    #[test]
    fn a_panic_ends_one_question_only() {
        let jobs = Arc::new(Jobs::default());
        let error = ask(&jobs, 10_000, |_| panic!("the parser gave up")).unwrap_err();
        assert!(error.to_string().contains("ended unexpectedly"), "{error}");
        assert_eq!(ask(&jobs, 10_000, |_| {}), Ok(7));
    }
}
