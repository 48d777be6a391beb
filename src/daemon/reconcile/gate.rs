//! Sources as verbs read and write them.

use super::Reconciler;
use crate::model::Name;
use crate::source::SourceError;
use crate::source::write::{Draft, Reading, WriteError};

/// Serialises the changes of one source. A lock order: `edits`, the turn, `place`; a holder of `place`
/// waits for neither of the others.
#[derive(Default)]
pub(in crate::daemon) struct Gate {
    /// Edits, from the read to the end: two of one commit would be in each other's way.
    pub edits: tokio::sync::Mutex<()>,
    /// Reads and writes of the source by verbs: a repository has one copy for them.
    place: tokio::sync::Mutex<()>,
}

impl Reconciler {
    pub(in crate::daemon) fn gate(&self, name: &Name) -> &Gate {
        &self.gates[name]
    }

    /// Reads a source as it is now.
    pub(in crate::daemon) async fn read_now(&self, name: &Name) -> Result<Reading, SourceError> {
        let _place = self.gates[name].place.lock().await;
        self.sources[name].place.read().await
    }

    /// Writes a draft to a source; a commit on a new branch of that name, if there is one.
    pub(in crate::daemon) async fn write(
        &self,
        name: &Name,
        reading: &Reading,
        draft: &Draft,
        branch: Option<&str>,
    ) -> Result<Option<String>, WriteError> {
        let _place = self.gates[name].place.lock().await;
        self.sources[name].place.write(reading, draft, branch).await
    }
}
