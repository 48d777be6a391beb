//! Files with the same bytes in another place: a tree that a client sends lies elsewhere than the copies
//! that are served, and that alone is no change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::desired::{Boot, Deployment, Desired};
use crate::media::{Entry, regular};
use crate::model::Name;
use crate::state::Secrets;

/// Longest files that are compared, in bytes: as long as those of a repository may be.
const LONGEST: u64 = 256 << 20;
/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// `desired` with the files as `served` has them, where they hold the same bytes. Reads files.
pub(super) fn settled(desired: Arc<Desired>, served: &Desired) -> Arc<Desired> {
    let boot = |(name, boot): (&Name, &Arc<Boot>)| {
        let now = served.boots.get(name)?;
        let mut settled = (**boot).clone();
        let mut moved = false;
        for file in
            std::iter::once(&mut settled.kernel).chain(&mut settled.initrd).chain(&mut settled.modules)
        {
            let same = now.files().find(|one| one.path == file.path);
            let (Some(new), Some(old)) = (&file.entry, same.and_then(|same| same.entry.as_ref())) else {
                continue;
            };
            if new != old && is_same(new, old).unwrap_or(false) {
                file.entry = Some(old.clone());
                moved = true;
            }
        }
        moved.then(|| (name.clone(), Arc::new(settled)))
    };
    let boots = desired.boots.iter().filter_map(boot).collect();
    with_boots(desired, boots)
}

/// `desired` with these boots in place of its own with the same names.
pub(super) fn with_boots(mut desired: Arc<Desired>, boots: BTreeMap<Name, Arc<Boot>>) -> Arc<Desired> {
    if boots.is_empty() {
        return desired;
    }
    let own = Arc::make_mut(&mut desired);
    let moved = |(name, deployment): (&Name, &Arc<Deployment>)| {
        let boot = boots.get(&deployment.boot.name)?.clone();
        Some((name.clone(), Arc::new(Deployment { boot, ..(**deployment).clone() })))
    };
    let moved: Vec<(Name, Arc<Deployment>)> = own.deployments.iter().filter_map(moved).collect();
    own.deployments.extend(moved);
    own.boots.extend(boots);
    own.agent.follow(&own.boots);
    desired
}

/// These secrets, with those that are `known` already where they have none of the name: a key that went
/// away takes nothing out of memory.
pub(super) fn with_known(secrets: Arc<Secrets>, known: &Secrets) -> Arc<Secrets> {
    match (&*secrets, known) {
        (Secrets::Known(new), Secrets::Known(old)) => {
            let both = old.iter().chain(new).map(|(name, text)| (name.clone(), text.clone()));
            Arc::new(Secrets::Known(both.collect()))
        }
        _ => secrets,
    }
}

/// Whether two whole files hold the same bytes.
fn is_same(one: &Entry, other: &Entry) -> io::Result<bool> {
    let whole = |entry: &Entry| entry.extents.len() == 1 && entry.extents[0].offset == 0;
    if one.len() != other.len() || one.len() > LONGEST || !whole(one) || !whole(other) {
        return Ok(false);
    }
    let open =
        |entry: &Entry| regular::open(&entry.path).map_err(|error| io::Error::other(error.to_string()));
    let ((one, _), (other, _)) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (from_one, from_other) = (fill(&one, &mut left)?, fill(&other, &mut right)?);
        if left[..from_one] != right[..from_other] {
            return Ok(false);
        }
        if from_one == 0 {
            return Ok(true);
        }
    }
}

fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
