//! Trees that somebody sends: planned, or applied in the place of a source's latest revision.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Adopted, Invalid, Ready, Reconciler, listed, lock, part, same};
use crate::api::types::{Apply, Outcome, Tree};
use crate::daemon::parts::Piece;
use crate::daemon::{now, preview};
use crate::desired::Media;
use crate::model::Name;
use crate::plan::{self, Consent};
use crate::store::Kept;

impl Reconciler {
    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        let (name, _, kept) = self.kept(tree)?;
        match self.load_sent(kept, &name).await {
            Ok(Ready { desired, secrets }) => {
                let table = self.keeper.table();
                let changed = preview::changed_secrets(&table.secrets, &secrets, &desired);
                let work = move || {
                    let plan = preview::preview(&desired, &table, &changed, now());
                    let holds = plan::hold(&plan, &desired.safety, &Consent::default());
                    Outcome::Planned { plan, holds }
                };
                tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
            }
            Err(Invalid(problems)) => Ok(Outcome::Invalid { problems }),
        }
    }

    /// `POST /v1/apply`.
    pub async fn apply(&self, request: Apply) -> Result<Outcome, String> {
        let _turn = self.turn.lock().await;
        let Apply { tree, consent, expected, ticket } = request;
        if let Some(problems) = self.foreign(&tree) {
            return Ok(Outcome::Invalid { problems });
        }
        let moved = ticket.as_ref().map(|ticket| self.moved(ticket, &tree)).unwrap_or_default();
        if !moved.is_empty() {
            return Ok(Outcome::Moved { reasons: moved });
        }
        let expected = expected.or(ticket.as_ref().map(|ticket| (ticket.lineage.clone(), ticket.serial)));
        let (name, piece, kept) = self.kept(tree)?;
        let ready = match self.load_sent(kept.clone(), &name).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        if let Some(pinned) = self.pinned() {
            let plan = plan::diff(&ready.desired, &self.keeper.table());
            return Ok(Outcome::Held { plan, holds: vec![pinned] });
        }
        Ok(match self.propose(ready, Some(kept.clone()), consent, expected).await? {
            Adopted::Applied(plan) => {
                let summary = plan::report::summary(&plan);
                let shown = if lock(&self.parts).are_several() { &piece.revision } else { &kept.revision };
                self.tell(&name, format!("{shown} was applied by hand: {summary}"));
                lock(&self.used).extend(ticket.map(|ticket| ticket.id));
                let stands_for = self.attempted(&name);
                self.adopted(&name, piece, stands_for, kept).await;
                self.paused();
                self.retry().await;
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    /// Loads a tree that was sent. Its files are those that are served already where they are the same.
    async fn load_sent(&self, kept: Arc<Kept>, name: &Name) -> Result<Ready, Invalid> {
        let ready = self.load(kept, Some(name), Media::Required).await?;
        let table = self.keeper.table();
        let Ready { desired, secrets } = ready;
        let settled = tokio::task::spawn_blocking(move || same::settled(desired, &table.desired)).await;
        let desired =
            settled.map_err(|error| Invalid(format!("comparing files ended unexpectedly: {error}")))?;
        Ok(Ready { desired, secrets })
    }

    /// Why a tree can't be applied here: the next commit would put the daemon's own environment back.
    fn foreign(&self, tree: &Tree) -> Option<String> {
        let (wanted, own) = (tree.environment.as_deref()?, self.environment.as_deref());
        let serves = match own {
            Some(own) if own == wanted => return None,
            Some(own) => format!("serves environment `{own}`"),
            None => "serves no environment".to_owned(),
        };
        Some(format!(
            "this daemon {serves}, not `{wanted}`; `environment` in [inventory] of its settings chooses"
        ))
    }

    /// The source of this name; without a name the only one.
    pub(super) fn named(&self, wanted: Option<&str>) -> Result<Name, String> {
        let found = match wanted {
            Some(wanted) => self.sources.keys().find(|name| name.as_str() == wanted),
            None if self.sources.len() == 1 => self.sources.keys().next(),
            None => None,
        };
        found.cloned().ok_or_else(|| {
            let all: Vec<Name> = self.sources.keys().cloned().collect();
            format!("this daemon follows {}: say with --source which one the directory is", listed(&all))
        })
    }

    /// A tree that was sent, which from now on stands for the latest revision of the source it
    /// names: that, its part, and everything with it.
    fn kept(&self, tree: Tree) -> Result<(Name, Piece, Arc<Kept>), String> {
        let files = tree.bytes();
        let Tree { revision, root, source, environment, files: _, sealed: _, selection } = tree;
        let name = self.named(source.as_deref())?;
        let piece = Piece {
            revision: revision.into(),
            root: root.map(PathBuf::from),
            files,
            copies: BTreeMap::new(),
        };
        let piece = match selection.is_all() {
            true => piece,
            false => {
                let (base, environment) = self.base(&name)?;
                part::join(piece, &base, environment.as_ref(), selection)?
            }
        };
        let put_together = lock(&self.parts).with(&name, &piece, &self.attempted(&name));
        let kept = put_together
            .map_err(|missing| format!("nothing moves before these were read: {}", listed(&missing)))?;
        if part::depth(&kept) > part::DEEPEST {
            return Err("too many partial applies in a row: apply everything first".into());
        }
        let environment = environment.map(Arc::from).or(self.environment.clone());
        Ok((name, piece, Arc::new(Kept { environment, ..kept })))
    }

    /// What is served of a source, for part of a revision to be put on top; with its environment.
    fn base(&self, name: &Name) -> Result<(Piece, Option<Arc<str>>), String> {
        let nothing = |what: &str| format!("nothing {what}is served yet: apply everything first");
        if self.sources.len() > 1 {
            let served = lock(&self.parts).good(name);
            return Ok((served.ok_or_else(|| nothing(&format!("of {name} ")))?, self.environment.clone()));
        }
        let applied = self.keeper.table().desired.revision.clone();
        let base = self.history.find(&applied).ok_or_else(|| nothing(""))?;
        let environment = base.environment.clone();
        Ok((Piece::of_kept(base), environment))
    }
}
