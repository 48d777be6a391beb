//! What people tell a running daemon to do about revisions.

use std::sync::Arc;

use super::control::Pause;
use super::waiting::plan_id;
use super::{Adopted, Invalid, Media, Reconciler, lock};
use crate::api::types::{Order, Outcome};
use crate::daemon::now;
use crate::model::Span;
use crate::plan::{self, Consent, Hold};
use crate::store::Kept;

impl Reconciler {
    /// `POST /v1/orders`.
    pub async fn order(&self, order: Order) -> Result<Outcome, String> {
        let _turn = self.turn.lock().await;
        match order {
            Order::Approve { plan, consent } => self.approve(&plan, consent).await,
            Order::Reject { plan, reason } => self.reject(&plan, reason).await,
            Order::Suspend { reason, seconds } => {
                let length = seconds.map(Span::seconds);
                lock(&self.control).suspend(reason, length, now());
                self.remember().await?;
                self.paused();
                self.steered.notify_one();
                Ok(done("suspended: revisions of the source wait"))
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

    async fn approve(&self, wanted: &str, consent: Consent) -> Result<Outcome, String> {
        let waiting = lock(&self.waiting).clone().ok_or("no plan waits")?;
        let plan = plan::diff(&waiting.ready.desired, &self.keeper.table());
        let id = plan_id(&plan);
        if id != wanted {
            let reason = format!("the plan that waits is now {id} ({})", plan::report::summary(&plan));
            return Ok(Outcome::Moved { reasons: vec![reason] });
        }
        let expected = Some((plan.lineage.clone(), plan.serial));
        let kept = waiting.kept.clone();
        Ok(match self.propose(waiting.ready.clone(), Some(kept.clone()), consent, expected).await? {
            Adopted::Applied(plan) => {
                self.tell(format!("{} was approved: {}", plan.to, plan::report::summary(&plan)));
                self.adopted(kept).await;
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    async fn reject(&self, wanted: &str, reason: String) -> Result<Outcome, String> {
        let waiting = lock(&self.waiting).clone().ok_or("no plan waits")?;
        let id = plan_id(&plan::diff(&waiting.ready.desired, &self.keeper.table()));
        if id != wanted && *waiting.kept.revision != *wanted {
            return Ok(Outcome::Moved { reasons: vec![format!("the plan that waits is now {id}")] });
        }
        let revision = waiting.kept.revision.clone();
        lock(&self.control).reject(revision.to_string(), reason);
        self.remember().await?;
        *lock(&self.waiting) = None;
        let rejected = lock(&self.control).rejection(&revision);
        if let Some((condition, why)) = rejected {
            self.fell(condition, Some(&revision), why);
        }
        Ok(done(&format!("{revision} is rejected; the next revision is looked at again")))
    }

    async fn pin(&self, name: &str, reason: String, consent: Consent) -> Result<Outcome, String> {
        let kept = self.history.find(name).ok_or_else(|| {
            let known: Vec<String> = self.revisions();
            format!("{name} is not kept; there are: {}", known.join(", "))
        })?;
        // Nothing of the source is settled: its latest revision is adopted when the pin ends.
        let kept = Arc::new(Kept { source: "".into(), ..kept });
        let ready = match self.load(kept.clone(), Media::IfPresent).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        let revision = kept.revision.clone();
        Ok(match self.propose(ready, Some(kept), consent, None).await? {
            Adopted::Applied(plan) => {
                lock(&self.control).pin(revision.to_string(), reason);
                self.remember().await?;
                *lock(&self.settled) = "".into();
                *lock(&self.waiting) = None;
                self.tell(format!("{revision} is pinned: {}", plan::report::summary(&plan)));
                self.paused();
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    /// Names of the revisions that can be pinned, the newest first.
    pub fn revisions(&self) -> Vec<String> {
        self.history.all().into_iter().map(|kept| kept.revision.to_string()).collect()
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

    /// Shows that revisions of the source wait.
    pub fn paused(&self) {
        let pause: Option<Pause> = lock(&self.control).pause(now());
        if let Some((condition, reason)) = pause {
            let applied = self.keeper.table().desired.revision.to_string();
            self.fell(condition, None, reason);
            self.status.send_modify(|status| status.applied = applied);
        }
    }

    /// Looks at the source's latest revision again.
    pub async fn go_on(&self) {
        let attempted = self.status.borrow().attempted.clone();
        let latest = lock(&self.latest).clone();
        match latest.or_else(|| self.history.find(&attempted).map(Arc::new)) {
            Some(latest) => self.consider(latest).await,
            None => self.settle(&attempted),
        }
    }

    async fn remember(&self) -> Result<(), String> {
        let note = serde_json::to_vec(&*lock(&self.control)).map_err(|error| error.to_string())?;
        self.keeper.remember("control", note).await.map_err(|error| error.to_string())
    }
}

fn done(text: &str) -> Outcome {
    Outcome::Done { text: text.into() }
}
