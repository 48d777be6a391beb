//! `voldemort plan --against`: from one revision of a repository to a working tree, without a
//! daemon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::daemon::load::{Depth, Loaded, load};
use crate::daemon::preview::preview;
use crate::desired::{Desired, Media, Options};
use crate::manifest::Environment;
use crate::media::Shelf;
use crate::model::Time;
use crate::plan::{Consent, hold, schema::Report};
use crate::secret;
use crate::source::git::revision;
use crate::source::{Snapshot, directory};
use crate::table::{Install, InstallStage, Table};
use crate::walk;

/// The plan from `against` (a revision, or `empty`) to the inventory as it lies in `root`.
/// Every machine of the former is taken to be installed: nobody can tell otherwise.
pub fn plan(root: &Path, against: &str, environment: Option<&str>) -> Result<Report, String> {
    let fail = |error: crate::source::SourceError| error.to_string();
    let after = read(root, &directory::read(root).map_err(fail)?, environment, "")?;
    let before = match against {
        "empty" => Loaded::default(),
        _ => {
            let copies = Copies::new();
            let snapshot = revision::at(root, against, &copies.0).map_err(fail)?;
            read(root, &snapshot, environment, &format!("{against}: "))?
        }
    };
    let table = table(&before, &after);
    let plan = preview(&after.desired, &table, &changed_secrets(&before, &after), Time(0));
    let holds = match plan.from.is_empty() {
        true => Vec::new(),
        false => hold(&plan, &after.desired.safety, &Consent::default()),
    };
    Ok(Report { plan, holds })
}

fn read(root: &Path, snapshot: &Snapshot, environment: Option<&str>, prefix: &str) -> Result<Loaded, String> {
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.to_path_buf());
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let files = snapshot.inline();
    let environment = Environment::choose(&files, environment).map_err(|error| format!("{prefix}{error}"))?;
    let loaded = load(snapshot.revision.clone(), &files, &environment, &shelf, &options, Depth::OneFirmware);
    if loaded.errors() > 0 {
        let report = loaded.report();
        return Err(format!("{prefix}the inventory has errors, so there is no plan\n{report}"));
    }
    Ok(loaded)
}

/// A table on which `before` was adopted and every machine of it installed.
fn table(before: &Loaded, after: &Loaded) -> Table {
    let subnet = |desired: &Desired| desired.deployments.values().next().map(|one| one.subnet.clone());
    let subnet = subnet(&after.desired).or_else(|| subnet(&before.desired));
    let server = match subnet {
        Some(subnet) => walk::rehearsal(after.desired.clone(), &subnet).server,
        None => crate::table::Server::stand_in(std::net::Ipv4Addr::LOCALHOST).into(),
    };
    let empty = Table { server, ..Table::new(crate::table::Server::stand_in(std::net::Ipv4Addr::LOCALHOST)) };
    if before.desired.revision.is_empty() {
        return empty;
    }
    let mut table = empty.adopt(before.desired.clone());
    for deployment in before.desired.deployments.values().filter(|one| one.installs()) {
        if let Some(machine) = table.assignments.get(&deployment.name).cloned() {
            let install = Install {
                machine,
                redeploy: deployment.redeploy,
                stage: InstallStage::Installed,
                since: Time(0),
                digest: deployment.digest.clone(),
                again: false,
            };
            table.installs.insert(deployment.name.clone(), install);
        }
    }
    table
}

/// Without keys only the encrypted bytes can be compared.
fn changed_secrets(before: &Loaded, after: &Loaded) -> BTreeSet<String> {
    let bytes = |loaded: &Loaded, path: &str| {
        let sources = &loaded.documents.sources;
        sources.find(path).map(|file| sources.get(file).bytes.clone())
    };
    let differs = |path: &str| bytes(before, path).is_some_and(|old| Some(old) != bytes(after, path));
    let names = after.desired.secrets.iter().filter(|name| differs(&secret::path(name)));
    names.map(ToString::to_string).collect()
}

/// A folder for files that are too large for memory; gone at the end.
struct Copies(PathBuf);

impl Copies {
    fn new() -> Copies {
        Copies(std::env::temp_dir().join(format!("voldemort-against-{}", std::process::id())))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
