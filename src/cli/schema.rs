//! `voldemort schema`: the JSON Schema of manifests, for editors, and the contract of the control API.

mod install;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::exit::talk;
use crate::api::openapi;
use crate::daemon;
use crate::manifest::schema;
use crate::source::replace::replace;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to write inventory.json, overlay.json, voldemort.json, plan.json and openapi.json to; without one
    /// the schema of manifests goes to stdout
    directory: Option<PathBuf>,
    /// Write what the editors' plugins taplo and tombi need into the inventory in this directory
    /// (the current one if absent)
    #[arg(long)]
    install: bool,
}

pub fn run(arguments: Arguments) -> Exit {
    match (arguments.install, arguments.directory) {
        (true, directory) => install::run(&directory.unwrap_or_else(|| ".".into())),
        (false, None) => super::exit::print(&schema::text(&schema::inventory())),
        (false, Some(directory)) => match write(&directory) {
            Ok(()) => Exit::Done,
            Err(error) => {
                talk(&format!("{}: {error}", directory.display()));
                Exit::Failed
            }
        },
    }
}

/// Every schema by file name: of manifests, and of what commands print.
pub fn files() -> Vec<(&'static str, serde_json::Value)> {
    let mut files = Vec::from(schema::FILES.map(|(name, schema)| (name, schema())));
    files.push(("plan.json", crate::plan::schema::schema()));
    files.push(("openapi.json", openapi::document(&daemon::api_routes())));
    files
}

fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, schema) in files() {
        replace(&directory.join(name), schema::text(&schema).as_bytes())?;
    }
    Ok(())
}
