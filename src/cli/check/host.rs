//! What the daemon's host has: images, networks and a key, as its settings name them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::several::Several;
use super::{Arguments, Scope};
use crate::cli::Exit;
use crate::cli::exit::talk;
use crate::config::Config;
use crate::daemon::{fallback_networks, secrets};
use crate::desired::{Desired, Subnet};
use crate::media::{Programs, Shelf};
use crate::source::{self, Snapshot};

/// The host that an inventory is checked for; nothing is known of it without `--media` and `--config`.
#[derive(Default)]
pub(super) struct Host {
    /// Directories with images.
    media: Vec<PathBuf>,
    /// The networks of the settings, for inventories that declare none.
    pub networks: Vec<Arc<Subnet>>,
    config: Option<Config>,
    /// Where there are several sources, all of them.
    pub several: Option<Several>,
    /// What was checked, for its secrets.
    desired: RefCell<Option<Arc<Desired>>>,
}

impl Host {
    /// The error says which file or folder is not as it should be.
    pub(super) fn of(arguments: &Arguments) -> Result<Host, String> {
        let mut host = Host { media: arguments.media.clone(), ..Host::default() };
        if let Some(path) = &arguments.config {
            let config = Config::read(path).map_err(|error| error.to_string())?;
            host.media.extend(config.media.paths.iter().cloned());
            host.media.push(config.state.directory.join("media"));
            host.networks = fallback_networks(&config);
            for folder in config.media.paths.iter().filter(|folder| !folder.is_dir()) {
                talk(&format!("warning: [media] paths names {}, which is no folder here", folder.display()));
            }
            host.config = Some(config);
        }
        host.several = Several::of(arguments, host.config.as_ref())?;
        match arguments.media.iter().find(|folder| !folder.is_dir()) {
            Some(folder) => Err(format!("--media {}: there is no such folder", folder.display())),
            None => Ok(host),
        }
    }

    /// Where images and files are found, with the inventory in the directory `root`.
    pub(super) fn shelf(&self, root: &Path) -> Shelf {
        let shelf = Shelf::new(self.media.clone(), None).with_directory(root.to_path_buf());
        match &self.config {
            Some(config) => shelf.making_agents(Programs { named: config.firmware.agents.clone() }),
            None => shelf,
        }
    }

    /// The environments that are checked: the one that is named, else that of the daemon, else all.
    pub(super) fn scope(&self, arguments: &Arguments) -> Scope {
        match (self.environment(arguments), &self.config) {
            (None, None) => Scope::All,
            (environment, _) => Scope::Only(environment),
        }
    }

    /// The one that is named, else that of the daemon.
    pub(super) fn environment(&self, arguments: &Arguments) -> Option<String> {
        let own = || self.config.as_ref()?.environment.as_ref().map(ToString::to_string);
        arguments.env.clone().or_else(own)
    }

    pub(super) fn note(&self, desired: &Arc<Desired>) {
        self.desired.replace(Some(desired.clone()));
    }

    /// Whether the daemon's key opens every secret that the inventory names.
    pub(super) fn opens_secrets(&self, root: &Path) -> Exit {
        let (Some(config), Some(desired)) = (&self.config, self.desired.take()) else { return Exit::Done };
        let read = |snapshot: Snapshot| {
            snapshot.inline().into_iter().map(|(path, bytes)| (path.to_string(), bytes)).collect()
        };
        let files = match &self.several {
            Some(several) => several.files(),
            None => source::directory::read(root).map(read).map_err(|error| error.to_string()),
        };
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                talk(&error);
                return Exit::Failed;
            }
        };
        let key = config.secrets.identity.as_deref();
        let (_, failures) = secrets::decrypt(&desired, &files, key, secrets::read);
        failures.iter().for_each(|failure| talk(&format!("error: {failure}")));
        if failures.is_empty() { Exit::Done } else { Exit::Failed }
    }
}
