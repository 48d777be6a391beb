//! The connections of one listener. When there are too many, the one that has made no progress for longest makes
//! room, unless the daemon works for it: whoever only holds a connection open blocks nobody. One user of the host, and
//! one address of the network, has a part of them at most, so that work for one does not keep all others out. Streams of events are counted elsewhere
//! (`api::streams`): they take no place here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::api::access::Limited;
use crate::api::busy::Busy;

/// Connections at once.
const CONNECTIONS_MAX: usize = 512;
/// Of them for one user of the host who is not an admin, and for one address of another host.
const USER_MAX: usize = CONNECTIONS_MAX / 4;
/// How long a connection is left alone: of many that come at once, each is to have its request read first.
const GRACE: Duration = Duration::from_millis(500);
/// Between two looks for room while the daemon works for every connection.
const PAUSE: Duration = Duration::from_millis(20);

/// In the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Connections(VecDeque<Connection>);

#[derive(Debug)]
struct Connection {
    busy: Busy,
    task: AbortHandle,
    /// Whose it is, where that one has no more than a part.
    user: Option<Limited>,
}

impl Connection {
    /// Whether it has no place here any more.
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.busy.is_stream()
    }
}

impl Connections {
    /// Returns when one more may come.
    pub(super) async fn room(&mut self) {
        loop {
            if self.0.len() >= CONNECTIONS_MAX {
                self.0.retain(|connection| !connection.is_over());
            }
            let is_idle = |connection: &Connection| connection.busy.is_idle_for(GRACE);
            if self.0.len() < CONNECTIONS_MAX || self.end_idle(is_idle) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a caller may have one more. One that has all that it may have gives up the one that made no progress for
    /// longest; if the daemon works for all of them, it may not.
    pub(super) fn admits(&mut self, user: Option<Limited>) -> bool {
        let is_own = |connection: &Connection| connection.user == user && !connection.busy.is_stream();
        if user.is_none() || self.0.iter().filter(|connection| is_own(connection)).count() < USER_MAX {
            return true;
        }
        self.0.retain(|connection| !connection.is_over());
        self.0.iter().filter(|connection| is_own(connection)).count() < USER_MAX || self.end_idle(is_own)
    }

    /// Ends the connection that made no progress for longest, of those that `may` end; whether there was one.
    fn end_idle(&mut self, may: impl Fn(&Connection) -> bool) -> bool {
        let idle = |(at, connection): (usize, &Connection)| {
            Some((connection.busy.idle_since().filter(|_| may(connection))?, at))
        };
        let longest = self.0.iter().enumerate().filter_map(idle).min();
        let ended = longest.and_then(|(_, at)| self.0.remove(at));
        ended.inspect(|connection| connection.task.abort()).is_some()
    }

    pub(super) fn enter(&mut self, busy: Busy, task: AbortHandle, user: Option<Limited>) {
        self.0.push_back(Connection { busy, task, user });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_one_makes_room() {
        let mut connections = Connections::default();
        let mut tasks = tokio::task::JoinSet::new();
        let busy = Busy::default();
        let _under_way = busy.begin();
        connections.enter(busy, tasks.spawn(std::future::pending::<()>()), None);
        let uploading = Busy::default();
        connections.enter(uploading.clone(), tasks.spawn(std::future::pending()), None);
        let third = tasks.spawn(std::future::pending());
        connections.enter(Busy::default(), third.clone(), None);
        let began = tokio::time::Instant::now();
        while connections.0.len() < CONNECTIONS_MAX {
            connections.enter(Busy::default(), tasks.spawn(std::future::pending()), None);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        uploading.progress();
        connections.room().await;
        assert!(began.elapsed() >= GRACE - PAUSE, "its request might still have come");
        assert_eq!(connections.0.len(), CONNECTIONS_MAX - 1);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(third.is_finished(), "not one that is worked for, nor one whose body is coming");
    }

    #[tokio::test]
    async fn streams_take_no_place() {
        let mut connections = Connections::default();
        let mut tasks = tokio::task::JoinSet::new();
        let mut streams = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            assert!(connections.admits(Some(Limited::User(1000))));
            connections.room().await;
            let busy = Busy::default();
            connections.enter(
                busy.clone(),
                tasks.spawn(std::future::pending::<()>()),
                Some(Limited::User(1000)),
            );
            streams.push(busy.stream());
        }
        assert!(connections.0.len() <= CONNECTIONS_MAX);
        assert!(tasks.try_join_next().is_none(), "none of them made room");
    }

    #[tokio::test]
    async fn one_user_keeps_no_others_out() {
        let mut connections = Connections::default();
        let mut tasks = tokio::task::JoinSet::new();
        let mut work = Vec::new();
        while connections.admits(Some(Limited::User(1000))) {
            let busy = Busy::default();
            work.push(busy.begin());
            connections.enter(busy, tasks.spawn(std::future::pending::<()>()), Some(Limited::User(1000)));
        }
        assert_eq!(connections.0.len(), USER_MAX, "the daemon works for all that it has");
        assert!(
            connections.admits(Some(Limited::User(1001))) && connections.admits(None),
            "there is room for others"
        );
        // What it only holds open, or what ended, makes room for its own.
        drop(work.pop());
        let idle = connections.0.back().unwrap().task.clone();
        assert!(connections.admits(Some(Limited::User(1000))) && connections.0.len() == USER_MAX - 1);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled() && idle.is_finished());
    }
}
