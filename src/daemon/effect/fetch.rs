//! Has sources read again that a webhook said have changed.
//!
//! May be carried out as often as one likes: reading a source changes nothing but what is known of it.

use std::sync::Arc;

use super::Executor;
use crate::daemon::hooks::Hooks;
use crate::model::Name;
use crate::state::Verb;
use crate::state::outbox::{Pending, Progress, Task, TaskKind};

/// Reads sources.
pub struct Fetches {
    pub sources: Hooks,
}

impl Executor for Fetches {
    const KINDS: &'static [TaskKind] = &[TaskKind::Fetch];
    /// Each source reads itself, one look after the other: what waits here costs nothing.
    const AT_ONCE: usize = 1024;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        let ended = match &pending.task {
            Task::Fetch { source } => self.fetch(source).await,
            Task::ReadPower { .. } | Task::Restart { .. } | Task::PowerOff { .. } | Task::Power { .. } => {
                Progress::GivenUp("it is no source".into())
            }
        };
        Verb::Progress(pending.id, ended)
    }
}

impl Fetches {
    /// Has a source looked at once. One that is away is tried again by itself, less and less often, and nobody is to
    /// hurry it but the next webhook.
    async fn fetch(&self, source: &Name) -> Progress {
        let Some(handle) = self.sources.source(source) else {
            return Progress::GivenUp(format!("no source called {source} is followed any more").into());
        };
        match handle.look().await {
            Ok(()) => Progress::Done,
            Err(why) => {
                Progress::GivenUp(format!("the source is away and is tried again later: {why}").into())
            }
        }
    }
}
