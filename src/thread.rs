//! Starts threads that nobody waits for.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// The threads that were started and not yet joined.
static STARTED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Runs `work` in a thread of its own, which may end at any time and does not keep the process from ending.
///
/// Its handle is kept, and joined after the thread has ended, when another one is started. To drop the handle would
/// detach the thread: glibc's `pthread_detach` (2.36, and later) reads the descriptor of the thread after it has
/// marked it as detached, and a thread that ends between the two has unmapped it by then. The whole process ended by a
/// segmentation fault at that instruction, once in some hundred thousand threads on a loaded machine.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = Builder::new().name(name.into()).spawn(work)?;
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.push(thread);
    for ended in started.extract_if(.., |thread| thread.is_finished()) {
        // A panic was printed where it happened, and whoever waits for what the thread sends sees it end.
        let _ = ended.join();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    fn are_there(name: &str) -> usize {
        let started = STARTED.lock().unwrap();
        started.iter().filter(|thread| thread.thread().name() == Some(name)).count()
    }

    #[test]
    fn threads_that_ended_are_joined_and_those_that_run_are_not_waited_for() {
        let (go_on, waits) = channel::<()>();
        start("runs", move || assert!(waits.recv().is_err())).unwrap();
        for _ in 0..50 {
            start("ends", || ()).unwrap();
        }
        start("panics", || panic!("it is meant to")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while are_there("ends") + are_there("panics") > 0 {
            assert!(Instant::now() < deadline, "threads that ended are kept");
            std::thread::yield_now();
            start("another", || ()).unwrap();
        }
        assert_eq!(are_there("runs"), 1);
        drop(go_on);
    }
}
