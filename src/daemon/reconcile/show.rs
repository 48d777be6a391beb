//! How each source stands, for everybody to see.

use std::sync::Arc;

use super::{Reconciler, lock};
use crate::api::types::SourceStatus;
use crate::daemon::keeper::KeeperError;
use crate::daemon::now;
use crate::model::{Name, printable};
use crate::source::Snapshot;
use crate::table::{Event, Stage};

impl Reconciler {
    /// The revision of the source that was seen last.
    pub(super) fn attempted(&self, name: &Name) -> Arc<str> {
        let statuses = self.statuses.borrow();
        statuses.get(name).map_or_else(|| "".into(), |status| status.attempted.as_str().into())
    }

    pub(super) fn settle(&self, name: &Name, revision: &str) {
        let table = self.keeper.table().desired.revision.to_string();
        let served = {
            let parts = lock(&self.parts);
            if parts.are_several() { parts.served(name).to_owned() } else { table }
        };
        self.change(name, |status| {
            if status.condition != "Ready" {
                status.since = now().to_string();
            }
            status.condition = "Ready".into();
            status.reason = match served.ends_with(')') {
                true => "applied in part: the rest is as before until everything is applied".into(),
                false => String::new(),
            };
            status.applied = served;
            status.attempted = revision.into();
        });
    }

    /// The last good state goes on being served; everybody can see why.
    pub(super) fn fell(&self, name: &Name, condition: &str, revision: Option<&str>, reason: String) {
        // File names and a server's words are in it.
        let reason = printable::lines(&reason).into_owned();
        // Tried again with another source, and the same came of it.
        let same = self.statuses.borrow().get(name).is_some_and(|status| {
            status.condition == condition
                && status.reason == reason
                && revision.is_none_or(|revision| status.attempted == revision)
        });
        if same {
            return;
        }
        let shown = revision.map(|revision| format!("{revision}: ")).unwrap_or_default();
        let (first, rest) = reason.split_once('\n').unwrap_or((&reason, ""));
        // The event is logged where events are: only what it has no room for is left.
        self.tell(name, format!("{shown}{condition}: {first}"));
        if !rest.is_empty() {
            tracing::warn!(%name, condition, revision, "{rest}");
        }
        self.change(name, |status| {
            if status.condition != condition {
                status.since = now().to_string();
            }
            status.condition = condition.into();
            status.reason = reason;
            if let Some(revision) = revision {
                status.attempted = revision.into();
            }
        });
    }

    /// Nothing is wrong with the revision, but the state directory does not take it.
    pub(super) fn not_stored(&self, name: &Name, revision: &str, error: &KeeperError) {
        let reason =
            format!("{error}; what was served before still is, and this revision is tried again by itself");
        self.fell(name, "NotStored", Some(revision), reason);
    }

    /// Logs what of a revision was left out: of no concern while no manifest names it.
    pub(super) fn warn_of(&self, name: &Name, snapshot: &Snapshot) {
        const MOST: usize = 20;
        let mut warnings = snapshot.warnings();
        for warning in warnings.by_ref().take(MOST) {
            tracing::warn!(%name, "{warning}");
        }
        match warnings.count() {
            0 => {}
            more => tracing::warn!(%name, "{more} more are left out"),
        }
    }

    /// Shows what of each source is served.
    pub(super) fn show_served(&self) {
        let table = self.keeper.table().desired.revision.to_string();
        let parts = lock(&self.parts);
        self.statuses.send_modify(|statuses| {
            for (name, status) in statuses {
                let served = if parts.are_several() { parts.served(name) } else { &table };
                status.applied = served.to_owned();
            }
        });
    }

    pub(super) fn change(&self, name: &Name, change: impl FnOnce(&mut SourceStatus)) {
        self.statuses.send_modify(|statuses| statuses.get_mut(name).map_or((), change));
    }

    /// An event; it names the source where there are several.
    pub(super) fn tell(&self, name: &Name, text: String) {
        let several = lock(&self.parts).are_several();
        self.note(if several { format!("{name}: {text}") } else { text });
    }

    pub(super) fn note(&self, text: String) {
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}
