//! The status of each source.

use std::sync::Arc;

use super::{Reconciler, lock};
use crate::daemon::keeper::KeeperError;
use crate::daemon::now;
use crate::media::Seen;
use crate::model::{Name, SourceCondition, printable};
use crate::source::Snapshot;
use crate::state::{Event, SourceStatus, Stage};

/// What begins the part of a reason that is about something else than the source's own revision.
const LACKS: &str = "\nwhat is served lacks something:\n";

/// Why something that is served can't be served as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub condition: SourceCondition,
    pub reason: String,
}

impl Lack {
    /// From the problems of a load, and what it found.
    pub(super) fn of(seen: &Seen, problems: String) -> Lack {
        let busy = seen.busy();
        let lines = busy.iter().map(|(path, why)| format!("waiting for {}: {why}\n", path.display()));
        let condition = if busy.is_empty() { SourceCondition::Invalid } else { SourceCondition::Waiting };
        Lack { condition, reason: lines.collect::<String>() + &problems }
    }

    /// Its first line.
    pub(super) fn first(&self) -> &str {
        self.reason.lines().next().unwrap_or_default()
    }
}

impl Reconciler {
    /// The revision of the source that was seen last.
    pub(super) fn attempted(&self, name: &Name) -> Arc<str> {
        let statuses = self.statuses.borrow();
        statuses.get(name).map_or_else(|| "".into(), |status| status.attempted.as_str().into())
    }

    /// The source is as it is served, unless something outside it is missing.
    pub(super) fn settle(&self, name: &Name, revision: &str) {
        let lack = lock(&self.degraded).get(name).cloned();
        let state = self.keeper.state().desired().revision.to_string();
        let (served, in_part) = {
            let set = lock(&self.set);
            let own = if set.are_several() { set.served_name(name).to_string() } else { state };
            (own, set.is_in_part(name))
        };
        let (condition, reason) = match lack {
            Some(Lack { condition, reason }) => (condition, printable::lines(&reason).into_owned()),
            None if in_part => (
                SourceCondition::Ready,
                "applied in part: the rest is as before until everything is applied".into(),
            ),
            None if *served != *revision && !served.is_empty() => (
                SourceCondition::Ready,
                format!(
                    "{served} was applied by hand and is served in place of {revision}: the next revision of the source undoes \
                     it; commit what it changes"
                ),
            ),
            None => (SourceCondition::Ready, String::new()),
        };
        self.change(name, |status| {
            if status.condition != condition {
                status.since = now();
            }
            status.condition = condition;
            status.reason = reason;
            status.applied = served;
            status.attempted = revision.into();
        });
    }

    /// The last good state stays served; the status shows the reason.
    pub(super) fn set_condition(
        &self,
        name: &Name,
        condition: SourceCondition,
        revision: Option<&str>,
        reason: String,
    ) {
        // File names and a server's words are in it.
        let reason = printable::lines(&reason).into_owned() + &self.lack_of(name, &reason);
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
        // The event itself is logged with the others; this logs only what it has no room for.
        self.tell(name, format!("{shown}{condition}: {first}"));
        if !rest.is_empty() {
            tracing::warn!(%name, %condition, revision, "{rest}");
        }
        self.change(name, |status| {
            if status.condition != condition {
                status.since = now();
            }
            status.condition = condition;
            status.reason = reason;
            if let Some(revision) = revision {
                status.attempted = revision.into();
            }
        });
    }

    /// Nothing is wrong with the revision, but the state directory does not take it.
    pub(super) fn not_stored(&self, name: &Name, revision: &str, error: &KeeperError) {
        let reason =
            format!("{error}; what was served before is still served, and this revision is tried again");
        self.set_condition(name, SourceCondition::NotStored, Some(revision), reason);
    }

    /// What is added to a reason that is about something else than what is missing of what is served.
    fn lack_of(&self, name: &Name, reason: &str) -> String {
        let lack = lock(&self.degraded).get(name).filter(|lack| lack.reason != reason).cloned();
        lack.map(|lack| format!("{LACKS}{}", printable::lines(&lack.reason))).unwrap_or_default()
    }

    /// Shows what is missing of what is served now, if anything is, beside what the source has to show.
    pub(super) fn show_lack(&self, name: &Name) {
        self.change(name, |status| {
            let own = status.reason.split_once(LACKS).map_or(&*status.reason, |(own, _)| own).to_owned();
            status.reason = self.lack_of(name, &own);
            status.reason.insert_str(0, &own);
        });
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
        let state = self.keeper.state().desired().revision.to_string();
        let set = lock(&self.set);
        self.statuses.send_modify(|statuses| {
            for (name, status) in statuses {
                status.applied =
                    if set.are_several() { set.served_name(name).to_string() } else { state.clone() };
            }
        });
    }

    pub(super) fn change(&self, name: &Name, change: impl FnOnce(&mut SourceStatus)) {
        self.statuses.send_modify(|statuses| statuses.get_mut(name).map_or((), change));
    }

    /// An event; it names the source where there are several.
    pub(super) fn tell(&self, name: &Name, text: String) {
        let several = lock(&self.set).are_several();
        self.note(if several { format!("{name}: {text}") } else { text });
    }

    pub(super) fn note(&self, text: String) {
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}
