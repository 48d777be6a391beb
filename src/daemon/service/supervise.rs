//! Opens a service again whenever it failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::Row;
use crate::daemon::link::Followed;

/// Rest after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(50);
/// The longest rest: what is there again is served within two seconds.
const LONGEST: Duration = Duration::from_secs(1);
/// Who served for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(30);

/// Runs `attempt` again and again until one ends without an error: the daemon stops. An attempt opens
/// the service, says on its row that it serves, and runs it. A panic is a failure like others.
pub async fn supervise<F, A>(rows: Arc<[Row]>, mut attempt: F)
where
    F: FnMut() -> A,
    A: Future<Output = Result<(), String>> + Send + 'static,
{
    let mut rest = FIRST;
    loop {
        let began = Instant::now();
        let mut task = Aborting(tokio::spawn(attempt()));
        let reason = match (&mut task.0).await {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(ended) => panicked(ended),
        };
        rows.iter().for_each(|row| row.failed(&reason));
        if began.elapsed() > RECOVERED {
            rest = FIRST;
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(LONGEST);
    }
}

/// Shows on `row` whether the interface is there, while a service runs that needs it. Never ends.
pub async fn mirror(row: &Row, mut network: Followed) {
    loop {
        match network.now() {
            Ok(_) => row.serving(),
            Err(lack) => row.waiting(lack.to_string()),
        }
        network.changed().await;
    }
}

/// A task that ends with its supervisor.
struct Aborting(JoinHandle<Result<(), String>>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(ended: JoinError) -> String {
    let Ok(panic) = ended.try_into_panic() else { return "it was aborted".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::daemon::service::{Part, StatusBoard};
    use crate::model::ServiceState;

    #[tokio::test]
    async fn failures_and_panics_are_opened_again_and_shown() {
        let (sender, events) = std::sync::mpsc::channel();
        let board = StatusBoard::new(move |event| drop(sender.send(event.text.to_string())));
        let row: Arc<[Row]> = [board.row("http", Part::Machines)].into();
        let (tries, mine) = (Arc::new(AtomicU32::new(0)), row.clone());
        let attempt = || {
            let (tries, row, board) = (tries.clone(), mine.clone(), board.clone());
            async move {
                match tries.fetch_add(1, Ordering::Relaxed) {
                    0 => return Err("the port is in use".to_owned()),
                    1 => panic!("by chance"),
                    _ => {}
                }
                let before = &board.conditions()["http"];
                assert_eq!((before.state, &*before.reason), (ServiceState::Failed, "it panicked: by chance"));
                row[0].serving();
                Ok(())
            }
        };
        supervise(row, attempt).await;
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert_eq!(board.conditions()["http"].state, ServiceState::Serving);
        let noted: Vec<String> = events.try_iter().collect();
        assert_eq!(
            noted,
            [
                "http failed and is opened again: the port is in use",
                "http failed and is opened again: it panicked: by chance",
                "http is served again"
            ]
        );
        drop(mine);
        assert!(board.conditions().is_empty(), "what is no more is not shown");
    }
}
