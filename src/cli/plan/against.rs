//! `voldemort plan --against`: from one revision of a repository to a working tree, without a
//! daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::desired::{Desired, Media, Options};
use crate::inventory::preview::preview;
use crate::inventory::{Depth, Loaded, load};
use crate::manifest::Environment;
use crate::media::Shelf;
use crate::model::{Selection, Time};
use crate::plan::partial::choose;
use crate::plan::{Consent, hold, schema::Report};
use crate::secret;
use crate::source::git::revision;
use crate::source::{Snapshot, directory};
use crate::state::{Install, InstallStage, State};
use crate::walk;

/// The plan from `against` (a revision, or `empty`) to the inventory in the directory `root`. Every machine
/// of the former counts as installed, because its real state is unknown here.
pub(super) fn plan(
    root: &Path,
    against: &str,
    environment: Option<&str>,
    selection: &Selection,
) -> Result<Report, String> {
    let fail = |error: crate::source::SourceError| error.to_string();
    let present = directory::read(root).map_err(fail)?;
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.to_path_buf());
    let after = read(&shelf, &present, environment, "")?;
    let before = match against {
        "empty" => Loaded::default(),
        _ => {
            let copies = Copies::new().map_err(|error| format!("no folder for copies: {error}"))?;
            let snapshot = revision::at(root, against, &copies.0).map_err(fail)?;
            // A file that is the same in both is read from the directory; images are in no repository.
            let shelf = Shelf::new(vec![root.to_path_buf()], None).with_copies(others(&snapshot, &present));
            read(&shelf, &snapshot, environment, &format!("{against}: "))?
        }
    };
    let state = state(&before, &after);
    let desired = match selection.is_all() {
        true => after.desired.clone(),
        false => Arc::new(choose(&before.desired, &after.desired, selection)?),
    };
    let plan = preview(&desired, &state, &changed_secrets(&before, &after), Time(0));
    let holds = match plan.from.is_empty() {
        true => Vec::new(),
        false => hold(&plan, &desired, &state, &Consent::default()),
    };
    Ok(Report { plan, holds })
}

fn read(
    shelf: &Shelf,
    snapshot: &Snapshot,
    environment: Option<&str>,
    prefix: &str,
) -> Result<Loaded, String> {
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let files = snapshot.inline();
    let environment = Environment::choose(files.keys().map(|path| &**path), environment)
        .map_err(|error| format!("{prefix}{error}"))?;
    let loaded = load(snapshot.revision.clone(), &files, &environment, shelf, &options, Depth::OneFirmware);
    if loaded.errors() > 0 {
        let report = loaded.report();
        return Err(format!("{prefix}the inventory has errors, so there is no plan\n{report}"));
    }
    Ok(loaded)
}

/// The files of a revision that differ now, or are gone.
fn others(then: &Snapshot, now: &Snapshot) -> BTreeMap<Arc<str>, PathBuf> {
    let present = now.copies();
    let mut copies = then.copies();
    copies.retain(|name, copy| !present.get(name).is_some_and(|file| is_same(copy, file).unwrap_or(false)));
    copies
}

/// Whether two files hold the same bytes.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 || left[..length] != right[..length] {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(length);
        other.consume(length);
    }
}

/// A state in which `before` was adopted and every machine of it is installed.
fn state(before: &Loaded, after: &Loaded) -> State {
    let subnet = |desired: &Desired| desired.deployments.values().next().map(|one| one.subnet.clone());
    let subnet = subnet(&after.desired).or_else(|| subnet(&before.desired));
    let server = match subnet {
        Some(subnet) => walk::initial_state(after.desired.clone(), &subnet).server().clone(),
        None => crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST).into(),
    };
    let stand_in = crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST);
    let empty = State::new(stand_in).with_server(server);
    if before.desired.revision.is_empty() {
        return empty;
    }
    let state = empty.adopt(before.desired.clone());
    let mut installs = state.installs().clone();
    for deployment in before.desired.deployments.values().filter(|one| one.installs()) {
        let machine = state.assignments().get(&deployment.name);
        if let Some(machine) = machine.and_then(|machine| state.desired().machines.get(machine)) {
            let install = Install::new(machine, deployment, InstallStage::Installed, Time(0));
            installs.supersede(Install { epoch: installs.next_epoch(), ..install });
        }
    }
    state.with_lasting(|lasting| lasting.installs = installs)
}

/// Without keys only the encrypted bytes can be compared.
fn changed_secrets(before: &Loaded, after: &Loaded) -> BTreeSet<String> {
    let bytes = |loaded: &Loaded, path: &str| {
        let sources = &loaded.documents.sources;
        sources.find(path).map(|file| sources.get(file).bytes.clone())
    };
    let differs = |path: &str| bytes(before, path).is_some_and(|old| Some(old) != bytes(after, path));
    let names = after.desired.secrets.keys().filter(|name| differs(&secret::path(name)));
    names.map(ToString::to_string).collect()
}

/// A folder for files that are too large for memory; gone at the end.
struct Copies(PathBuf);

impl Copies {
    /// The name is unpredictable, and only this user may enter.
    fn new() -> io::Result<Copies> {
        Ok(Copies(nix::unistd::mkdtemp(&std::env::temp_dir().join("voldemort-against-XXXXXX"))?))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
