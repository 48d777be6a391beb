//! Reports of the operating system, merged and reduced to a single bell.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer_opt};
use tokio::sync::Notify;

use super::watched::WatchedDirectory;

/// How long a burst of changes must have been quiet.
const QUIET: Duration = Duration::from_millis(100);
/// Most times the places are looked at before they are taken as they are.
const SETTLE: usize = 4;
const TICK: Duration = Duration::from_millis(25);

/// Rings when something changed in the places it is armed for.
#[derive(Default)]
pub(crate) struct Alarm {
    bell: Arc<Notify>,
    /// Set when reports were lost: the watches may be gone with them.
    broken: Arc<AtomicBool>,
    armed: Option<Armed>,
}

struct Armed {
    places: BTreeSet<WatchedDirectory>,
    /// All places are watched; otherwise the caller must look for itself more often.
    complete: bool,
    _debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
}

impl Alarm {
    /// Watches the existing ones of `places`, looking again until they stay the same: a directory may
    /// appear after the one above it was read and before that is watched. Changes of paths that are `noise`
    /// are ignored.
    pub(crate) fn settle(
        &mut self,
        places: impl Fn() -> BTreeSet<WatchedDirectory>,
        noise: fn(&Path) -> bool,
    ) {
        let mut tries = 0..SETTLE;
        while tries.next().is_some() && self.arm(places(), noise) {}
    }

    /// False if `places` are the ones watched already.
    fn arm(&mut self, places: BTreeSet<WatchedDirectory>, noise: fn(&Path) -> bool) -> bool {
        let broken = self.broken.swap(false, Ordering::Relaxed);
        if !broken && self.armed.as_ref().is_some_and(|armed| armed.complete && armed.places == places) {
            return false;
        }
        self.armed = None;
        // Links are not followed: where they lead inside the root is watched anyway, and one
        // that leads to `/` would have the whole host watched.
        let config = Config::default().with_follow_symlinks(false);
        let ring = self.ringer(places.clone(), noise);
        match new_debouncer_opt(QUIET, Some(TICK), ring, RecommendedCache::new(), config) {
            Ok(debouncer) => self.armed = Some(watch(debouncer, places)),
            Err(error) => tracing::warn!(%error, "no change reports from the operating system"),
        }
        true
    }

    fn ringer(
        &self,
        places: BTreeSet<WatchedDirectory>,
        noise: fn(&Path) -> bool,
    ) -> impl Fn(DebounceEventResult) + Send + 'static {
        let (bell, broken) = (self.bell.clone(), self.broken.clone());
        let counts = move |path: &Path| !noise(path) && places.iter().any(|place| place.covers(path));
        move |result| {
            let lost = result.as_ref().map_or(true, |events| events.iter().any(|event| event.need_rescan()));
            if lost {
                broken.store(true, Ordering::Relaxed);
            }
            if lost || result.is_ok_and(|events| events.iter().any(|event| is_change(event, &counts))) {
                bell.notify_one();
            }
        }
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.armed.as_ref().is_some_and(|armed| armed.complete)
    }

    /// Resolves at the next change, or at once if there was one since the last call.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

fn watch(
    mut debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    places: BTreeSet<WatchedDirectory>,
) -> Armed {
    let mut complete = !places.is_empty();
    for place in &places {
        let deep = place.name.is_none();
        let mode = if deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        if let Err(error) = debouncer.watch(&place.path, mode) {
            tracing::warn!(path = %place.path.display(), %error, "changes here are found by looking only");
            complete = false;
        }
    }
    Armed { places, complete, _debouncer: debouncer }
}

/// Opening and reading is reported too, our own included: that is no change.
fn is_change(event: &notify::Event, counts: &impl Fn(&Path) -> bool) -> bool {
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| counts(path))
}
