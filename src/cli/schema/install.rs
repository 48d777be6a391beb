//! `voldemort schema --install`: the schemas inside an inventory, and the few lines that make
//! editors use them.

use std::io;
use std::path::Path;

use crate::cli::Exit;
use crate::cli::exit::{say, talk};
use crate::manifest::schema::{self, INSTALLED};
use crate::source::replace::replace;

/// A plugin's settings: hidden files, which are no manifests.
struct Plugin {
    file: &'static str,
    text: &'static str,
}

const PLUGINS: [Plugin; 2] = [
    Plugin { file: ".taplo.toml", text: include_str!("install/taplo.toml") },
    Plugin { file: ".tombi.toml", text: include_str!("install/tombi.toml") },
];

pub(super) fn run(root: &Path) -> Exit {
    if !root.is_dir() {
        talk(&format!("{}: no such directory", root.display()));
        return Exit::Failed;
    }
    match install(root) {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) => {
            talk(&format!("{}: {error}", root.display()));
            Exit::Failed
        }
    }
}

/// False if a plugin has settings of its own, which are left as they are.
fn install(root: &Path) -> io::Result<bool> {
    super::write(&root.join(INSTALLED))?;
    for (name, _) in schema::FILES {
        say(format!("wrote {INSTALLED}/{name}"));
    }
    let mut whole = true;
    for Plugin { file, text } in PLUGINS {
        let path = root.join(file);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{file}: {error}"));
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                replace(&path, text.as_bytes()).map_err(named)?;
                say(format!("wrote {file}"));
            }
            Err(error) => return Err(named(error)),
            Ok(own) if own.contains(INSTALLED) => {}
            Ok(_) => {
                talk(&format!("{file} exists already and was not changed; add to it:\n\n{text}"));
                whole = false;
            }
        }
    }
    Ok(whole)
}
