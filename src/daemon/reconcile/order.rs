//! Orders to a running daemon about revisions.

use std::sync::Arc;

use super::control::Pause;
use super::waiting::Waiting;
use super::{Media, Reconciler, listed, lock, to_its_end};
use crate::api::resource::{self, Order, Outcome};
use crate::daemon::commands::Adopted;
use crate::daemon::now;
use crate::model::{Name, Span, Time};
use crate::plan::{self, Consent, Hold, Plan, Proposal};
use crate::state::{Composition, Doubts, Verdict};
use crate::store::history::Note;

impl Reconciler {
    /// `POST /v1/orders`.
    pub async fn order(self: &Arc<Self>, order: Order) -> Result<Outcome, String> {
        let (turn, own) = (self.turn.clone().lock_owned().await, self.clone());
        let work = async move {
            let outcome = own.carry_out(order).await;
            drop(turn);
            outcome
        };
        to_its_end(work).await
    }

    /// The caller holds the turn.
    async fn carry_out(&self, order: Order) -> Result<Outcome, String> {
        match order {
            Order::Approve { plan, consent } => self.approve(&plan, consent).await,
            Order::Reject { plan, reason } => self.reject(&plan, reason).await,
            Order::Suspend { reason, seconds } => {
                let length = seconds.map(Span::seconds);
                lock(&self.control).suspend(reason, length, now());
                self.remember().await?;
                self.paused();
                self.steered.notify_one();
                Ok(done("suspended: no revision is adopted until `voldemortctl resume`"))
            }
            Order::Resume => {
                if !lock(&self.control).resume() {
                    return Err("the daemon is not suspended".into());
                }
                self.remember().await?;
                self.go_on().await;
                Ok(done("resumed"))
            }
            Order::Pin { revision, reason, consent } => self.pin(&revision, reason, consent).await,
            Order::ApproveInstalls(doubts) => self.settle_doubts(doubts, Verdict::Install).await,
            Order::KeepSystems(doubts) => self.settle_doubts(doubts, Verdict::Keep).await,
            Order::Unpin => {
                if !lock(&self.control).unpin() {
                    return Err("no revision is pinned".into());
                }
                self.remember().await?;
                self.go_on().await;
                Ok(done("unpinned: the source is followed again"))
            }
        }
    }

    /// What waits, each with its plan against the present state.
    fn asked(&self) -> Result<Vec<(Arc<Waiting>, Plan)>, String> {
        let waiting: Vec<Arc<Waiting>> = lock(&self.waiting).values().cloned().collect();
        if waiting.is_empty() {
            return Err("no plan waits".into());
        }
        let state = self.keeper.state();
        let planned = |one: Arc<Waiting>| {
            let plan = plan::diff(&one.ready.desired, &state);
            (one, plan)
        };
        Ok(waiting.into_iter().map(planned).collect())
    }

    async fn approve(&self, wanted: &str, consent: Consent) -> Result<Outcome, String> {
        let asked = self.asked()?;
        let Some((waiting, plan)) = asked.iter().find(|(_, plan)| plan.id == wanted) else {
            let now = |(_, plan): &(_, Plan)| {
                format!("the plan that waits is now {} ({})", plan.id, plan::report::summary(plan))
            };
            return Ok(Outcome::Moved { reasons: asked.iter().map(now).collect() });
        };
        let expected = Some(plan.id.as_str().into());
        let Waiting { name, source, revision, ready, condition: _, since: _ } = &**waiting;
        let proposal = ready.clone().proposal(Some(revision.clone()), consent);
        let adopted = self.keeper.adopt(Proposal { expected, ..proposal }).await;
        Ok(match adopted.map_err(|error| error.to_string())? {
            Adopted::Applied(plan) => {
                let summary = plan::report::summary(&plan);
                self.tell(name, format!("{} was approved: {summary}", source.name()));
                self.adopted(name, source.clone(), revision.clone(), &plan).await;
                self.retry().await;
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    async fn settle_doubts(&self, doubts: Doubts, verdict: Verdict) -> Result<Outcome, String> {
        let names = self.keeper.settle_doubts(doubts, verdict).await.map_err(|error| error.to_string())?;
        let left = self.keeper.state().doubtful().count();
        let what = match verdict {
            Verdict::Install => "to be installed",
            Verdict::Keep => "kept as installed",
        };
        let listed = if names.is_empty() { String::new() } else { format!(" ({})", listed(&names)) };
        Ok(done(&format!("{} {what}{listed}; {left} doubtful installations are left", names.len())))
    }

    async fn reject(&self, wanted: &str, reason: String) -> Result<Outcome, String> {
        let asked = self.asked()?;
        let meant = |(one, plan): &&(Arc<Waiting>, Plan)| plan.id == wanted || *one.source.name() == *wanted;
        let Some((waiting, _)) = asked.iter().find(meant) else {
            let now = |(_, plan): &(_, Plan)| format!("the plan that waits is now {}", plan.id);
            return Ok(Outcome::Moved { reasons: asked.iter().map(now).collect() });
        };
        let (name, revision) = (&waiting.name, waiting.source.name());
        lock(&self.control).reject(self.distinct(name), revision.to_string(), reason);
        self.remember().await?;
        lock(&self.waiting).remove(name);
        if let Some(Pause { condition, reason }) = self.pause(name, &revision) {
            self.set_condition(name, condition, Some(&revision), reason);
        }
        Ok(done(&format!("{revision} is rejected; the next revision is looked at again")))
    }

    async fn pin(&self, name: &str, reason: String, consent: Consent) -> Result<Outcome, String> {
        let kept = self.history.find(name).ok_or_else(|| {
            let known: Vec<String> = self.revisions().into_iter().map(|known| known.name).collect();
            format!("{name} is not kept; there are: {}", known.join(", "))
        })?;
        // Nothing of a source is settled: its latest revision is adopted when the pin ends.
        let kept = Arc::new(kept.unsettled());
        let ready = match self.load(&kept, None, Media::Lenient).await {
            Ok(ready) => ready,
            Err(invalid) => return Ok(invalid.into()),
        };
        let revision = kept.name();
        let adopted = self.keeper.adopt(ready.proposal(Some(kept.clone()), consent)).await;
        Ok(match adopted.map_err(|error| error.to_string())? {
            Adopted::Applied(plan) => {
                lock(&self.control).pin(revision.to_string(), reason);
                self.remember().await?;
                lock(&self.set).go_back(&kept);
                lock(&self.waiting).clear();
                self.serves(kept.clone(), None);
                self.note(format!("{revision} is pinned: {}", plan::report::summary(&plan)));
                self.paused();
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    /// The revisions that can be pinned, the newest first. It reads them from disk.
    pub fn revisions(&self) -> Vec<resource::Revision> {
        let served = self.keeper.state().desired().revision.clone();
        let row = |(name, note): (Arc<str>, Note)| {
            let Note { since, source, author, subject, committed, effect } = note;
            let time = |at: Option<u64>| at.map(|at| Time(at).to_string());
            resource::Revision {
                name: name.to_string(),
                since: time(since),
                source,
                author,
                subject,
                committed: time(committed),
                effect,
                live: name == served,
            }
        };
        self.history.notes().into_iter().map(row).collect()
    }

    /// Why a tree applied by hand would not last.
    pub fn pinned(&self) -> Option<Hold> {
        let revision = lock(&self.control).pinned()?.to_owned();
        Some(Hold {
            reason: format!("the daemon is pinned to {revision}"),
            names: Vec::new(),
            cure: "end that first: voldemortctl unpin".into(),
        })
    }

    /// Why this revision of a source is not looked at.
    pub(super) fn pause(&self, name: &Name, revision: &str) -> Option<Pause> {
        let control = lock(&self.control);
        control.pause(now()).or_else(|| control.rejection(self.distinct(name), revision))
    }

    /// The name of a source where there are several: two may have revisions of the same name.
    pub(super) fn distinct<'a>(&self, name: &'a Name) -> Option<&'a Name> {
        (self.sources.len() > 1).then_some(name)
    }

    /// Shows that revisions of the sources wait.
    pub(super) fn paused(&self) {
        let pause: Option<Pause> = lock(&self.control).pause(now());
        if let Some(Pause { condition, reason }) = pause {
            for name in self.sources.keys() {
                self.set_condition(name, condition, None, reason.clone());
            }
            self.show_served();
        }
    }

    /// Looks at the sources' latest revisions again.
    async fn go_on(&self) {
        for name in self.sources.keys() {
            if lock(&self.set).waiting(name).is_none() {
                let attempted = self.attempted(name);
                // Revisions of several sources are kept together, which none of them is alone.
                match self.history.find(&attempted).map(|kept| kept.sources) {
                    Some(Composition::One(source)) if self.sources.len() == 1 => {
                        lock(&self.set).wait(name, source.as_itself());
                    }
                    _ => self.settle(name, &attempted),
                }
            }
            self.attempt(name, Consent::default()).await;
        }
        self.retry().await;
    }

    async fn remember(&self) -> Result<(), String> {
        let note = serde_json::to_vec(&*lock(&self.control)).map_err(|error| error.to_string())?;
        self.keeper.remember("control", note).await.map_err(|error| error.to_string())
    }
}

fn done(text: &str) -> Outcome {
    Outcome::Done { text: text.into() }
}
