//! The connections of one listener. When there are too many, the one that has been there for longest
//! without an admitted request makes room: whoever only holds a connection open blocks nobody.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::api::access::Busy;

/// Connections at once.
const MOST: usize = 512;
/// Between two looks for room while every connection has a request under way.
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
            if let Some(at) = self.0.iter().position(|(busy, _)| !busy.is_busy()) {
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
    async fn the_oldest_idle_one_makes_room() {
        let mut crowd = Crowd::default();
        let mut tasks = tokio::task::JoinSet::new();
        let busy = Busy::default();
        let _under_way = busy.begin();
        crowd.enter(busy, tasks.spawn(std::future::pending::<()>()));
        let second = tasks.spawn(std::future::pending());
        crowd.enter(Busy::default(), second.clone());
        while crowd.0.len() < MOST {
            crowd.enter(Busy::default(), tasks.spawn(std::future::pending()));
        }
        crowd.room().await;
        assert_eq!(crowd.0.len(), MOST - 1);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(second.is_finished(), "not the first, which is being served");
    }
}
