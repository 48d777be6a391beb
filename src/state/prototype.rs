//! What claims run is the prototype that their pool had when they were made. A claim that is open over a restart runs the
//! same, whatever became of its pool and its profile: the manifests that the prototype was made of are stored, once for
//! all claims that run it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::revision::Revision;
use super::{Claim, Secrets, State};
use crate::desired::{Boot, Deployment, Place, Pool};
use crate::model::Name;
use crate::model::hex::hex;
use crate::render::Value;

/// A pool's prototype as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    pub pool: Name,
    /// As much of the revision as the pool needs.
    pub revision: Revision,
}

/// Prototypes that were loaded after a start, by their keys, and the secrets that they name.
#[derive(Clone, Debug, Default)]
pub struct LoadedPrototypes {
    pub prototypes: Vec<(Arc<str>, Arc<Deployment>)>,
    pub secrets: Secrets,
}

/// What a pool's prototype is stored under: SHA-256 of the pool's name, of the digest of what its machines are served and
/// of the places of its media, in hexadecimal. Equal keys mean equal machines.
pub fn key(pool: &Pool) -> Arc<str> {
    let mut sum = Sha256::new();
    let mut add = |bytes: &[u8]| {
        sum.update((bytes.len() as u64).to_be_bytes());
        sum.update(bytes);
    };
    add(pool.name.as_str().as_bytes());
    add(pool.prototype.digest.as_bytes());
    media(&pool.prototype.boot).for_each(|path| add(path.as_os_str().as_encoded_bytes()));
    hex(&sum.finalize()).into()
}

/// The files on disk that a boot is served from.
pub fn media(boot: &Boot) -> impl Iterator<Item = PathBuf> {
    boot.files().filter_map(|file| Some(file.entry.as_ref()?.path.to_path_buf()))
}

/// The first file of a boot that is not there.
pub fn missing_file(boot: &Boot) -> Option<&str> {
    let mut served = std::iter::once(&boot.kernel).chain(&boot.initrd);
    served.find(|file| file.entry.is_none()).map(|file| &*file.path)
}

impl State {
    /// What is stored of the prototypes that claims run, by their keys.
    pub fn prototypes(&self) -> &imbl::OrdMap<Arc<str>, Arc<Prototype>> {
        &self.lasting.prototypes
    }

    /// What open claims run, as far as it is loaded.
    pub fn claimed_boots(&self) -> impl Iterator<Item = &Arc<Boot>> {
        self.derived.prototypes.values().map(|prototype| &prototype.boot)
    }

    /// The boot that is served below a prefix: the inventory's, else that of an open claim.
    pub fn boot_at(&self, prefix: &str) -> Option<&Arc<Boot>> {
        match self.derived.prefixes.get(prefix) {
            Some(name) => self.desired.boots.get(name),
            None => self.claimed_boots().find(|boot| *boot.prefix == *prefix),
        }
    }

    /// What claims run and what is not loaded, or lacks a file of its boot.
    pub fn missing_prototypes(&self) -> Vec<(Arc<str>, Arc<Prototype>)> {
        let lacks = |key: &Arc<str>| {
            let loaded = self.derived.prototypes.get(key);
            loaded.is_none_or(|prototype| missing_file(&prototype.boot).is_some())
        };
        let stored = self.lasting.prototypes.iter().filter(|(key, _)| lacks(key));
        stored.map(|(key, one)| (key.clone(), one.clone())).collect()
    }

    /// What a claim runs; `None` where that is not loaded, or where it was made by a version that did not store it and its
    /// pool is gone.
    pub(super) fn runs(&self, claim: &Claim) -> Option<&Arc<Deployment>> {
        match &claim.prototype {
            Some(key) => self.derived.prototypes.get(key),
            None => self.desired.pools.get(&claim.pool).map(|pool| &pool.prototype),
        }
    }

    /// The deployment that stands for a claim on its machine. Networks are as they are now, whatever they were.
    pub(super) fn claimed(&self, claim: &Claim, machine: &Name) -> Option<Arc<Deployment>> {
        let prototype = self.runs(claim)?;
        let subnet = self.desired.subnets.get(&prototype.subnet.name).unwrap_or(&prototype.subnet).clone();
        let (name, place) = (claim.name.clone(), Place::Machine(machine.clone()));
        Some(Arc::new(Deployment { name, place, subnet, redeploy: 0, ..Deployment::clone(prototype) }))
    }

    /// After an adoption: what claims run that the revision's pools have as well. What is loaded stays.
    pub(super) fn find_prototypes(&mut self) {
        if self.lasting.prototypes.len() == self.derived.prototypes.len() {
            return;
        }
        for pool in self.desired.clone().pools.values() {
            let key = key(pool);
            let is_run = self.lasting.prototypes.contains_key(&key);
            if is_run && !self.derived.prototypes.contains_key(&key) {
                self.derived.prototypes.insert(key, pool.prototype.clone());
            }
        }
    }

    /// What claims run was loaded: those that lacked it run it from now on.
    pub(super) fn load_prototypes(&mut self, loaded: LoadedPrototypes) {
        let LoadedPrototypes { prototypes, secrets } = loaded;
        let mut fresh = BTreeSet::new();
        for (key, prototype) in prototypes {
            if self.lasting.prototypes.contains_key(&key) {
                fresh.insert(key.clone());
                self.derived.prototypes.insert(key, prototype);
            }
        }
        for claim in self.lasting.claims.clone().values() {
            let Some(machine) = claim.machine() else { continue };
            if claim.prototype.as_ref().is_some_and(|key| fresh.contains(key))
                && let Some(own) = self.claimed(claim, machine)
            {
                self.derived.claimed.insert(claim.name.clone(), own);
            }
        }
        self.keep_secrets(&secrets);
    }

    /// Secrets that open claims name and that the inventory has no more stay known.
    pub(super) fn keep_secrets(&mut self, known: &Secrets) {
        let mut names = BTreeSet::new();
        for prototype in self.derived.prototypes.values() {
            prototype.values.values().for_each(|value| secrets_in(value, &mut names));
        }
        let Secrets::Known(own) = &*self.secrets else { return };
        names.retain(|name| !own.contains_key(name));
        let kept: Vec<_> =
            names.into_iter().filter_map(|name| Some((name.clone(), known.get(&name)?))).collect();
        if !kept.is_empty() {
            let all = own.iter().map(|(name, text)| (name.clone(), text.clone())).chain(kept);
            self.secrets = Arc::new(Secrets::Known(all.collect()));
        }
    }
}

fn secrets_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Secret(name) => drop(names.insert(name.clone())),
        Value::List(list) => list.iter().for_each(|value| secrets_in(value, names)),
        Value::Table(table) => table.values().for_each(|value| secrets_in(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let secret = |name: &str| Value::Secret(name.into());
        let table = Value::Table([("a".to_owned(), secret("b"))].into_iter().collect());
        let mut names = BTreeSet::new();
        secrets_in(&Value::List(vec![secret("a"), table, Value::Boolean(true)]), &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
