//! The connections of one listener. When there are too many, the one that has made no progress for longest
//! is closed, unless the daemon works for it: idle connections keep no other client out.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::api::busy::Busy;

/// Connections at once.
const MOST: usize = 512;
/// Between two looks for room while the daemon works for every connection.
const PAUSE: Duration = Duration::from_millis(20);

/// In the order in which they came.
#[derive(Debug, Default)]
pub struct Crowd(VecDeque<(Busy, AbortHandle)>);

impl Crowd {
    /// Returns when one more may come.
    pub async fn room(&mut self) {
        loop {
            if self.0.len() >= MOST {
                self.0.retain(|(_, task)| !task.is_finished());
            }
            if self.0.len() < MOST {
                return;
            }
            let idle = |(at, (busy, _)): (usize, &(Busy, AbortHandle))| Some((busy.idle_since()?, at));
            if let Some((_, at)) = self.0.iter().enumerate().filter_map(idle).min() {
                if let Some((_, task)) = self.0.remove(at) {
                    task.abort();
                }
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn enter(&mut self, busy: Busy, task: AbortHandle) {
        self.0.push_back((busy, task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_one_makes_room() {
        let mut crowd = Crowd::default();
        let mut tasks = tokio::task::JoinSet::new();
        let busy = Busy::default();
        let _under_way = busy.begin();
        crowd.enter(busy, tasks.spawn(std::future::pending::<()>()));
        let uploading = Busy::default();
        crowd.enter(uploading.clone(), tasks.spawn(std::future::pending()));
        let third = tasks.spawn(std::future::pending());
        crowd.enter(Busy::default(), third.clone());
        while crowd.0.len() < MOST {
            crowd.enter(Busy::default(), tasks.spawn(std::future::pending()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        uploading.progress();
        crowd.room().await;
        assert_eq!(crowd.0.len(), MOST - 1);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(third.is_finished(), "not one that is worked for, nor one whose body is coming");
    }
}
