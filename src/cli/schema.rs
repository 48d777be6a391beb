//! `voldemort schema`: the JSON Schema of manifests, for editors.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::manifest::schema;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to write inventory.json and voldemort.json to; without one the schema of
    /// manifests goes to stdout
    directory: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Exit {
    let Some(directory) = arguments.directory else {
        return super::exit::print(&schema::text(&schema::inventory()));
    };
    match write(&directory) {
        Ok(()) => Exit::Done,
        Err(error) => {
            super::exit::say(format!("voldemort: {}: {error}", directory.display()));
            Exit::Failed
        }
    }
}

fn write(directory: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, schema) in schema::files() {
        std::fs::write(directory.join(name), schema::text(&schema))?;
    }
    Ok(())
}
