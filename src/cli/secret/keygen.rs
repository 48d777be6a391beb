//! `voldemort secret keygen`.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use super::file::{named, private};
use crate::cli::Exit;
use crate::cli::exit::{print, say};
use crate::secret::{Key, RECIPIENTS};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where the private key goes, readable by you alone; without it, to stdout
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, String> {
    let key = Key::generate();
    let Some(path) = &arguments.file else {
        return Ok(print(&key.file()));
    };
    private(path, &key.file()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{} exists already: an existing key is never overwritten", path.display())
        }
        _ => named(path, &error),
    })?;
    say(format!("the private key is in {}; the public key, for {RECIPIENTS}:", path.display()));
    Ok(print(&format!("{}\n", key.public())))
}
