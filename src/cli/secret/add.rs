//! `voldemort secret add`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use super::InventoryDirectory;
use super::file::{self, named};
use crate::cli::Exit;
use crate::cli::exit::say;
use crate::secret::seal::TEXT_MAX;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The name by which values call it: { secret = "NAME" }
    name: String,
    /// Reads the text from this file instead of stdin
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    place: InventoryDirectory,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, String> {
    let name = file::name(&arguments.name)?;
    let recipients = arguments.place.recipients()?;
    let path = arguments.place.secret(&name);
    if path.exists() {
        return Err(format!("{} exists already: `voldemort secret edit {name}` changes it", path.display()));
    }
    if arguments.from_file.is_none() && std::io::stdin().is_terminal() {
        say("voldemort: a terminal would show the text: pipe it in, or name a file with --from-file");
        return Ok(Exit::Usage);
    }
    let text = text(arguments)?;
    if text.trim().is_empty() {
        return Err("there is no text to encrypt".to_owned());
    }
    file::create(&path, &recipients, &text)?;
    say(format!(
        "{} is encrypted to {} key(s); values name it as {{ secret = \"{name}\" }}",
        path.display(),
        recipients.len()
    ));
    Ok(Exit::Done)
}

fn text(arguments: &Arguments) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = TEXT_MAX as u64 + 1;
    match &arguments.from_file {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|error| named(path, &error))?;
            file.take(most).read_to_end(&mut bytes).map_err(|error| named(path, &error))?;
        }
        None => {
            let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
            read.map_err(|error| format!("stdin: {error}"))?;
        }
    }
    file::text(bytes)
}
