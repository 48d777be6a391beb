//! Sources as verbs read and write them.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::{Reconciler, lock};
use crate::daemon::now;
use crate::model::{Name, Span, Time};
use crate::source::SourceError;
use crate::source::write::{Draft, Reading, WriteError};

/// Serialises the changes of one source. A lock order: `edits`, the turn, `place`; a holder of `place`
/// waits for neither of the others.
#[derive(Default)]
pub(in crate::daemon) struct Gate {
    /// Edits, from the read to the end: two of one commit would be in each other's way.
    pub edits: Arc<tokio::sync::Mutex<()>>,
    /// Reads and writes of the source by verbs: a repository has one copy for them.
    place: tokio::sync::Mutex<()>,
    /// Since when a write to the source is under way.
    writing: Mutex<Option<Time>>,
    /// How many more threads may be in calls into its file system, which may never end.
    threads: Threads,
}

struct Threads(Arc<Semaphore>);

impl Default for Threads {
    fn default() -> Threads {
        Threads(Arc::new(Semaphore::new(THREADS)))
    }
}

/// Most threads that verbs leave in the file system of one source.
const THREADS: usize = 4;

/// Why a source is neither read nor written.
const HANGS: &str = "earlier reads and writes of its files have not ended: its file system does not answer; mount it anew, or bring \
                     its server back";

/// How long a write may take before status reports it.
const LONG: Span = Span::seconds(5);

impl Reconciler {
    pub(in crate::daemon) fn gate(&self, name: &Name) -> &Gate {
        &self.gates[name]
    }

    /// Reads a source as it is now.
    pub(in crate::daemon) async fn read_now(&self, name: &Name) -> Result<Reading, SourceError> {
        let gate = &self.gates[name];
        let _place = gate.place.lock().await;
        let busy = || SourceError::Git(format!("source {name}: {HANGS}"));
        let thread = gate.threads.0.clone().try_acquire_owned().map_err(|_| busy())?;
        self.sources[name].place.read(thread).await
    }

    /// Writes a draft to a source; a commit on a new branch of that name, if there is one.
    pub(in crate::daemon) async fn write(
        &self,
        name: &Name,
        reading: &Reading,
        draft: &Draft,
        branch: Option<&str>,
    ) -> Result<Option<String>, WriteError> {
        let gate = &self.gates[name];
        let _place = gate.place.lock().await;
        let _writing = Writing::begin(&gate.writing);
        let busy = |_| WriteError::Failed(HANGS.into());
        let thread = gate.threads.0.clone().try_acquire_owned().map_err(busy)?;
        self.sources[name].place.write(reading, draft, branch, thread).await
    }

    /// The writes that take long, a sentence each.
    pub(in crate::daemon) fn slow_writes(&self) -> Vec<String> {
        let slow = |(name, gate): (&Name, &Gate)| {
            let since = (*lock(&gate.writing)).filter(|since| now().since(*since).0 >= LONG.0)?;
            Some(format!(
                "the commit of an edit to source {name} is under way since {since}: where it is sent to does not end \
                 it; further edits of this source wait, at most for the source's `timeout`"
            ))
        };
        self.gates.iter().filter_map(slow).collect()
    }
}

/// A write that is under way, also until whoever waits for it gives up.
struct Writing<'a>(&'a Mutex<Option<Time>>);

impl Writing<'_> {
    fn begin(place: &Mutex<Option<Time>>) -> Writing<'_> {
        *lock(place) = Some(now());
        Writing(place)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}
