//! `check --source NAME --beside OTHER=DIR`: one source of several, with the others beside it, judged as the daemon serves
//! them together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Arguments, from_here, lists, warn_of};
use crate::config::Config;
use crate::desired::{Media, Options};
use crate::inventory::{Loaded, Memory};
use crate::manifest::report::Roots;
use crate::media::{Locked, Shelf};
use crate::model::name::NameError;
use crate::model::{Inventory, Name};
use crate::source::{self, Snapshot};
use crate::state::{Composition, Revision, SourceRevision};

/// The directories of all sources, by their names.
pub(super) struct Several {
    /// The one that is checked: its settings lead.
    own: Name,
    directories: BTreeMap<Name, PathBuf>,
}

/// Parses `--beside`.
pub(super) fn named(text: &str) -> Result<(Name, PathBuf), String> {
    let (name, directory) = text.split_once('=').ok_or("write it as NAME=DIR")?;
    let name = name.parse().map_err(|error: NameError| format!("{name}: {error}"))?;
    match directory {
        "" => Err("write it as NAME=DIR".to_owned()),
        directory => Ok((name, directory.into())),
    }
}

impl Several {
    /// The sources that the flags name, and those that the daemon's file has as directories; `None` where there is
    /// one source alone.
    pub(super) fn of(arguments: &Arguments, config: Option<&Config>) -> Result<Option<Several>, String> {
        let file = arguments.config.as_deref().unwrap_or(Path::new("")).display();
        let configured = config.map(|config| config.sources.as_slice()).filter(|sources| sources.len() > 1);
        let names = |sources: &[crate::config::Source]| {
            sources.iter().map(|source| source.name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let Some(own) = &arguments.source else {
            return match configured {
                Some(sources) => Err(format!(
                    "{file} follows several sources ({}): name the one that this is by --source, and where the \
                     others are by --beside NAME=DIR",
                    names(sources)
                )),
                None => Ok(None),
            };
        };
        let mut directories: BTreeMap<Name, PathBuf> = arguments.beside.iter().cloned().collect();
        if directories.len() < arguments.beside.len() || directories.contains_key(own) {
            return Err("--beside names a source twice, or the one that is checked".to_owned());
        }
        for source in configured.unwrap_or_default() {
            if let Inventory::Directory(path) = &source.inventory {
                directories.entry(source.name.clone()).or_insert_with(|| path.clone());
            }
        }
        directories.insert(own.clone(), arguments.directory.clone());
        if let Some(sources) = configured {
            let known = |name: &Name| sources.iter().any(|source| source.name == *name);
            if let Some(other) = directories.keys().find(|name| !known(name)) {
                return Err(format!("{file} has no source {other}; it has {}", names(sources)));
            }
            if let Some(absent) = sources.iter().find(|source| !directories.contains_key(&source.name)) {
                let name = &absent.name;
                return Err(format!(
                    "source {name} of {file} is no directory: say where it is by --beside {name}=DIR"
                ));
            }
        }
        if directories.len() == 1 {
            return Err(
                "--source names one of several sources: name the others by --beside NAME=DIR".to_owned()
            );
        }
        Ok(Some(Several { own: own.clone(), directories }))
    }

    /// The ways to them from here.
    pub(super) fn roots(&self) -> Roots {
        let all = self.directories.iter();
        all.fold(Roots::default(), |roots, (name, directory)| roots.and(name.clone(), from_here(directory)))
    }

    /// Everything that is wrong with them together.
    pub(super) fn check(
        &self,
        shelf: &Shelf,
        environment: Option<&str>,
        options: &Options,
    ) -> Result<Loaded, String> {
        let mut sources = BTreeMap::new();
        let mut listed = Vec::new();
        for (name, directory) in &self.directories {
            let read = |error: source::SourceError| format!("source {name}: {error}");
            let snapshot = source::directory::read(directory).map_err(read)?;
            warn_of(directory, &snapshot)?;
            listed.extend(lists(&snapshot));
            sources.insert(name.clone(), revision(&snapshot));
        }
        let revision =
            Revision { environment: environment.map(Into::into), sources: Composition::Several(sources) };
        let shelf = shelf.with_copies(revision.copies());
        let library = Locked::new(&shelf, listed, options.media == Media::IfPresent);
        let loaded = Memory::default().load_revision(&revision, Some(&self.own), &library, options);
        loaded.map_err(|error| error.to_string())
    }

    /// The files of all of them, for their secrets. A secret is looked for in each.
    pub(super) fn files(&self) -> Result<BTreeMap<String, Bytes>, String> {
        let mut files = BTreeMap::new();
        for directory in self.directories.values() {
            let snapshot = source::directory::read(directory).map_err(|error| error.to_string())?;
            files.extend(snapshot.inline().into_iter().map(|(path, bytes)| (path.to_string(), bytes)));
        }
        Ok(files)
    }
}

fn revision(snapshot: &Snapshot) -> SourceRevision {
    let revision = snapshot.revision.clone();
    SourceRevision {
        settled: revision.clone(),
        revision,
        files: snapshot.inline(),
        copies: snapshot.copies(),
        ..SourceRevision::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_source_is_a_name_and_a_directory() {
        assert_eq!(named("net=../net").unwrap(), ("net".parse().unwrap(), PathBuf::from("../net")));
        for text in ["net", "net=", "=x", "Net!=x"] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
