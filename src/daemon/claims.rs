//! What is stored of what claims run, so that they run the same after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::keeper::{Keeper, KeeperError};
use crate::desired::Pool;
use crate::edit::prune::prune;
use crate::manifest::Kind;
use crate::model::Caller;
use crate::secret;
use crate::state::claim::Wanted;
use crate::state::command::Outcome;
use crate::state::prototype::{self, Prototype};
use crate::state::{Command, Revision, SourceRevision, State, Verb};

/// How often a claim is made anew because its pool changed meanwhile.
const ROUNDS: u8 = 5;

impl Keeper {
    /// Makes a claim, and has stored what its machine will run.
    pub(super) async fn claim(&self, wanted: Wanted, by: Caller) -> Result<Outcome, KeeperError> {
        for _ in 0..ROUNDS {
            let (state, pool) = (self.state(), wanted.pool.clone());
            // Manifests are read: not on a serving thread.
            let prototype = tokio::task::spawn_blocking(move || offered(&state, &pool)).await;
            let prototype = prototype.map_err(|_| KeeperError::Busy)?;
            let verb = Verb::Claim(Wanted { prototype, ..wanted.clone() }.into());
            match self.ask(Command { by: by.clone(), verb }).await? {
                Outcome::Moved => {}
                outcome => return Ok(outcome),
            }
        }
        Err(KeeperError::Busy)
    }
}

/// What is to be stored of what a claim of this pool runs; `None` where it is stored already, or where there is no pool.
fn offered(state: &State, pool: &crate::model::Name) -> Option<(Arc<str>, Arc<Prototype>)> {
    let pool = state.desired().pools.get(pool)?;
    let key = prototype::key(pool);
    let is_known = state.prototypes().contains_key(&key);
    (!is_known).then(|| (key, Arc::new(prototype_of(state.kept(), pool))))
}

/// As much of a revision as a pool needs: all manifests but for machines and deployments, the files that they name, and
/// the places of the pool's media.
fn prototype_of(kept: &Revision, pool: &Pool) -> Prototype {
    let media: BTreeSet<PathBuf> = prototype::media(&pool.prototype.boot).collect();
    let revision = kept.of_pools();
    let mut named = BTreeSet::new();
    let manifests =
        revision.map(|source| SourceRevision { files: manifests(source, &mut named), ..source.clone() });
    let mut sources =
        manifests.sources().map(|(_, manifests)| manifests.clone()).collect::<Vec<_>>().into_iter();
    let revision = revision.map(|source| {
        let is_named = |path: &str| {
            let secret = secret::name_in(path);
            secret::RECIPIENTS == path
                || named.contains(path)
                || secret.is_some_and(|name| named.contains(name))
        };
        let others = source.files.iter().filter(|(path, _)| !is_manifest(path) && is_named(path));
        let others = others.map(|(path, bytes)| (path.clone(), bytes.clone()));
        let files: BTreeMap<Arc<str>, Bytes> =
            sources.next().into_iter().flat_map(|manifests| manifests.files).chain(others).collect();
        // What is stored itself need not lie anywhere else.
        let copies =
            source.copies.iter().filter(|(path, copy)| media.contains(*copy) && !files.contains_key(*path));
        let copies = copies.map(|(path, copy)| (path.clone(), copy.clone())).collect();
        SourceRevision { files, copies, ..source.clone() }
    });
    Prototype { pool: pool.name.clone(), revision }
}

fn is_manifest(path: &str) -> bool {
    path.ends_with(".toml")
}

/// The manifests of a source; adds the texts in them to `named`.
fn manifests(source: &SourceRevision, named: &mut BTreeSet<String>) -> BTreeMap<Arc<str>, Bytes> {
    let mut left = BTreeMap::new();
    for (path, bytes) in source.files.iter().filter(|(path, _)| is_manifest(path)) {
        let pruned = std::str::from_utf8(bytes).ok().and_then(|text| {
            let pruned = prune(text, &[Kind::Machine, Kind::Deployment])?;
            // One that needs nothing taken out shares its bytes with the revision.
            let bytes = if pruned.text.len() == text.len() { bytes.clone() } else { pruned.text.into() };
            Some((bytes, pruned.values))
        });
        let (bytes, values) = pruned.unwrap_or_else(|| (bytes.clone(), Vec::new()));
        // A path may be written with its source, or with a dot.
        let plain = |value: String| {
            let inside = value.split_once(':').map_or(&*value, |(_, inside)| inside);
            inside.strip_prefix("./").unwrap_or(inside).to_owned()
        };
        named.extend(values.into_iter().map(plain));
        if !bytes.is_empty() {
            left.insert(path.clone(), bytes);
        }
    }
    left
}
