//! `voldemort secret edit`.

use clap::Args;

use super::file::{self, named};
use super::memory_folder::{Ended, MemoryFolder};
use super::{Identity, InventoryDirectory};
use crate::cli::Exit;
use crate::cli::exit::say;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The secret's name
    name: String,
    #[command(flatten)]
    place: InventoryDirectory,
    #[command(flatten)]
    identity: Identity,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, String> {
    let name = file::name(&arguments.name)?;
    let path = arguments.place.secret(&name);
    let recipients = arguments.place.recipients()?;
    if !path.exists() {
        return Err(format!("{} does not exist: `voldemort secret add {name}` makes it", path.display()));
    }
    let keys = arguments.identity.keys()?;
    let before = file::open(&path, &keys)?;
    let folder = MemoryFolder::new()?;
    let draft = folder.lay(name.as_str(), &format!("{before}\n"))?;
    match folder.edit(&editor(), &draft)? {
        Ended::Saved => {}
        Ended::Failed => return Err(format!("the editor failed; {} was not changed", path.display())),
        Ended::Interrupted => return Ok(Exit::Interrupted),
    }
    let unchanged = |why: String| format!("{why}; {} was not changed", path.display());
    let after = std::fs::read(&draft).map_err(|error| unchanged(named(&draft, &error)))?;
    let after = file::text(after).map_err(unchanged)?;
    let after = after.strip_suffix('\n').unwrap_or(&after);
    if after.trim().is_empty() {
        return Err("there is no text left; nothing was changed".to_owned());
    }
    if after == before {
        say(format!("{} was not changed", path.display()));
        return Ok(Exit::Done);
    }
    let draft = file::sealed(&path, &recipients, after)?;
    draft.publish().map_err(|error| named(&path, &error))?;
    say(format!("{} is encrypted to {} key(s)", path.display(), recipients.len()));
    Ok(Exit::Done)
}

fn editor() -> String {
    let set = |name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned())
}
