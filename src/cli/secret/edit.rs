//! `voldemort secret edit`.

use clap::Args;

use super::desk::{Desk, Ended};
use super::file::{self, named};
use super::{Identity, Place};
use crate::cli::Exit;
use crate::cli::exit::say;
use crate::secret;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The secret's name
    name: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    identity: Identity,
}

pub fn run(arguments: &Arguments) -> Result<Exit, String> {
    let name = file::name(&arguments.name)?;
    let path = arguments.place.secret(&name);
    let recipients = arguments.place.recipients()?;
    if !path.exists() {
        return Err(format!("{} does not exist: `voldemort secret add {name}` makes it", path.display()));
    }
    let keys = arguments.identity.keys()?;
    let bytes = std::fs::read(&path).map_err(|error| named(&path, &error))?;
    let before = secret::open(&keys, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let desk = Desk::new()?;
    let draft = desk.lay(name.as_str(), &format!("{before}\n"))?;
    match desk.edit(&editor(), &draft)? {
        Ended::Saved => {}
        Ended::Failed => return Err(format!("the editor failed; {} was not changed", path.display())),
        Ended::Interrupted => return Ok(Exit::Interrupted),
    }
    let after = std::fs::read(&draft).map_err(|error| named(&draft, &error))?;
    let after =
        String::from_utf8(after).map_err(|_| "the text is not UTF-8; nothing was changed".to_owned())?;
    let after = after.strip_suffix('\n').unwrap_or(&after);
    if after.trim().is_empty() {
        return Err("there is no text left; nothing was changed".to_owned());
    }
    if after == before {
        say(format!("{} was not changed", path.display()));
        return Ok(Exit::Done);
    }
    file::replace(&path, &recipients, after)?;
    say(format!("{} is encrypted to {} key(s)", path.display(), recipients.len()));
    Ok(Exit::Done)
}

fn editor() -> String {
    let set = |name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned())
}
