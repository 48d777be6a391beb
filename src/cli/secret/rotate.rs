//! `voldemort secret rotate`.

use clap::Args;

use super::file::{self, named};
use super::{Identity, Place};
use crate::cli::Exit;
use crate::cli::exit::say;
use crate::secret;

#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    identity: Identity,
}

/// Decrypts everything before it writes anything, so that a secret which can't be read stops it
/// while nothing has changed.
pub fn run(arguments: &Arguments) -> Result<Exit, String> {
    let recipients = arguments.place.recipients()?;
    let keys = arguments.identity.keys()?;
    let mut texts = Vec::new();
    for (_, path) in arguments.place.secrets()? {
        let bytes = std::fs::read(&path).map_err(|error| named(&path, &error))?;
        let text = secret::open(&keys, &bytes)
            .map_err(|error| format!("{}: {error}; nothing was changed", path.display()))?;
        texts.push((path, text));
    }
    for (path, text) in &texts {
        file::replace(path, &recipients, text)?;
        say(format!("{} is encrypted to {} key(s)", path.display(), recipients.len()));
    }
    if texts.is_empty() {
        say("there are no secrets");
    }
    Ok(Exit::Done)
}
