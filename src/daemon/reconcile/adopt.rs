//! What a source holds becomes what is served, unless something speaks against it.

use std::sync::Arc;

use super::control::Pause;
use super::load::Terms;
use super::waiting::Waiting;
use super::{Invalid, Reconciler, listed, lock};
use crate::daemon::commands::Adopted;
use crate::daemon::keeper::KeeperError;
use crate::daemon::now;
use crate::desired::Media;
use crate::media::Seen;
use crate::model::{Name, SourceCondition};
use crate::plan::{self, Consent, Plan};
use crate::state::{Revision, SourceRevision};
use crate::store::history::Note;

impl Reconciler {
    /// Takes note of what a source holds now, and adopts it if nothing speaks against it.
    /// The caller holds the turn.
    pub(in crate::daemon) async fn consider(&self, name: &Name, source: SourceRevision, consent: Consent) {
        lock(&self.set).wait(name, source);
        self.attempt(name, consent).await;
        self.retry().await;
    }

    /// What did not fit may fit when another source has moved.
    pub(super) async fn retry(&self) {
        if !lock(&self.set).are_several() {
            return;
        }
        loop {
            let mut moved = false;
            let queue = lock(&self.set).queue();
            for name in queue {
                moved |= self.attempt(&name, Consent::default()).await;
            }
            if !moved {
                return;
            }
        }
    }

    /// Tries what the source waits with, beside what is served of the others; true if it is
    /// served from now on.
    pub(super) async fn attempt(&self, name: &Name, consent: Consent) -> bool {
        let asked = lock(&self.waiting).get(name).cloned();
        let moved = Box::pin(self.attempt_beside(name, asked.as_ref(), consent)).await;
        let mut waiting = lock(&self.waiting);
        // Nobody is asked about what was judged anew with another end.
        if let (Some(asked), Some(now)) = (&asked, waiting.get(name))
            && Arc::ptr_eq(asked, now)
        {
            waiting.remove(name);
        }
        moved
    }

    /// `asked` is what waited for a word until now.
    async fn attempt_beside(&self, name: &Name, asked: Option<&Arc<Waiting>>, consent: Consent) -> bool {
        let Some(source) = lock(&self.set).waiting(name).cloned() else { return false };
        let revision = source.name();
        if let Some(Pause { condition, reason }) = self.pause(name, &revision) {
            self.set_condition(name, condition, Some(&revision), reason);
            return false;
        }
        let put_together = self.with(name, &source);
        // Over a restored state the same revision is news once more: until a revision of the source is adopted, each
        // start distrusts what was done since the restore, too.
        let is_served = lock(&self.set).served_name(name) == revision;
        let is_awaited = is_served && self.keeper.state().trust().awaits(self.distinct(name));
        let settled = !is_awaited && lock(&self.set).is_settled(name, &revision);
        if settled && !self.keeper.state().desired().revision.is_empty() {
            lock(&self.set).rest(name);
            self.settle(name, &revision);
            if let Ok(kept) = put_together {
                self.record(Arc::new(kept), Note::default()).await;
            }
            return false;
        }
        let whole = match put_together {
            Ok(whole) => Arc::new(whole),
            Err(reason) => {
                self.set_condition(name, SourceCondition::Waiting, Some(&revision), reason);
                return false;
            }
        };
        let seen = Arc::new(Seen::default());
        let loaded = self.load(&whole, Some(name), Terms::noting(Media::Required, &seen)).await;
        self.tried(name, &whole.name(), seen.clone());
        let ready = match loaded {
            Ok(ready) => ready,
            Err(Invalid { problems, .. }) => {
                self.unusable(name, &revision, &seen, problems);
                return false;
            }
        };
        let since = asked.filter(|asked| asked.source.name() == revision).map(|asked| asked.since);
        let waiting = |condition| {
            let (name, source, revision) = (name.clone(), source.clone(), whole.clone());
            let (ready, since) = (ready.clone(), since.unwrap_or_else(now));
            Waiting { name, source, revision, ready, condition, since }
        };
        if self.sources.get(name).is_some_and(|source| source.manual) {
            let state = self.keeper.state();
            let plan = plan::diff(&ready.desired, &state);
            if !plan.is_empty() {
                let holds = plan::hold(&plan, &ready.desired, &state, &Consent::default());
                self.wait(waiting(SourceCondition::Waiting), holds);
                return false;
            }
        }
        match self.keeper.adopt(ready.clone().proposal(Some(whole.clone()), consent)).await {
            Ok(Adopted::Applied(plan)) => {
                let text = format!("{revision} is live: {}", plan::report::summary(&plan));
                self.enter(name, &revision, &text).await;
                self.tell(name, text);
                self.adopted(name, source, whole, &plan).await;
                return true;
            }
            Ok(Adopted::Held(_, holds)) => self.wait(waiting(SourceCondition::Held), holds),
            Ok(Adopted::Stale(_)) => unreachable!("a proposal without an expected table is never stale"),
            Err(KeeperError::Refused(why)) => {
                self.set_condition(name, SourceCondition::Invalid, Some(&revision), why)
            }
            Err(error) => self.not_stored(name, &revision, &error),
        }
        false
    }

    /// Enters in the audit log what was adopted, with the author of its commit.
    async fn enter(&self, name: &Name, revision: &str, text: &str) {
        let Some(audit) = self.audit.get() else { return };
        let commit = self.commit_of(name, revision);
        audit.adopted(name, commit.as_ref().map(|commit| &*commit.author), text).await;
    }

    /// Something of a source is live, as part of `whole`.
    pub(super) async fn adopted(
        &self,
        name: &Name,
        source: SourceRevision,
        whole: Arc<Revision>,
        plan: &Plan,
    ) {
        lock(&self.waiting).remove(name);
        lock(&self.degraded).remove(name);
        self.serves(whole.clone(), self.take_tried(name, &whole.name()));
        let commit = self.commit_of(name, &source.revision);
        let note = Note {
            since: Some(now().0),
            source: self.distinct(name).map(|name| name.to_string()),
            author: commit.as_ref().map(|commit| commit.author.to_string()),
            subject: commit.as_ref().map(|commit| commit.subject.to_string()),
            committed: commit.map(|commit| commit.at.0),
            effect: Some(plan::report::summary(plan)),
        };
        let settled = source.settled.clone();
        lock(&self.set).adopt(name, source);
        self.settle(name, &settled);
        self.record(whole, note).await;
        self.load_prototypes().await;
    }

    /// Keeps what is live for a later pin.
    async fn record(&self, kept: Arc<Revision>, note: Note) {
        if kept.name() != self.keeper.state().desired().revision {
            return;
        }
        let history = self.history.clone();
        let written = tokio::task::spawn_blocking(move || history.add(&kept, &note)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the revision is live, but can't be saved for a later pin");
        }
    }

    /// What one source holds, with all that is served of the others, as this daemon serves it.
    pub(in crate::daemon) fn with(&self, name: &Name, source: &SourceRevision) -> Result<Revision, String> {
        let put_together = lock(&self.set).with(name, source);
        let missing =
            |missing: Vec<Name>| format!("nothing is adopted before these were read: {}", listed(&missing));
        let environment = self.environment.clone();
        put_together.map(|whole| Revision { environment, ..whole }).map_err(missing)
    }
}
