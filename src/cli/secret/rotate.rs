//! `voldemort secret rotate`.

use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::signal::{SigSet, Signal};

use super::file::{self, named};
use super::{Identity, InventoryDirectory};
use crate::cli::Exit;
use crate::cli::exit::say;
use crate::source::replace::{Draft, replace};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: InventoryDirectory,
    #[command(flatten)]
    identity: Identity,
}

/// A secret before and after.
struct Rotation {
    path: PathBuf,
    before: Vec<u8>,
    draft: Draft,
}

/// Rotates all secrets or none: everything is decrypted and written beside the old files before the first
/// of them is replaced, so that an unreadable secret or a full disk stops it while nothing has changed.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, String> {
    let recipients = arguments.place.recipients()?;
    let keys = arguments.identity.keys()?;
    let unchanged = |why: String| format!("{why}; nothing was changed");
    let mut turns = Vec::new();
    for (_, path) in arguments.place.secrets()? {
        let text = file::open(&path, &keys).map_err(unchanged)?;
        let before = std::fs::read(&path).map_err(|error| unchanged(named(&path, &error)))?;
        let draft = file::sealed(&path, &recipients, &text).map_err(unchanged)?;
        turns.push(Rotation { path, before, draft });
    }
    publish(&turns)?;
    for Rotation { path, .. } in &turns {
        say(format!("{} is encrypted to {} key(s)", path.display(), recipients.len()));
    }
    if turns.is_empty() {
        say("there are no secrets");
    }
    Ok(Exit::Done)
}

/// A signal waits until all files are replaced: it takes no time.
fn publish(turns: &[Rotation]) -> Result<(), String> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(|error| error.to_string())?;
    let published = turns.iter().enumerate().try_for_each(|(done, Rotation { path, draft, .. })| {
        draft.publish().map_err(|error| {
            let lost: Vec<String> = turns[..done].iter().filter_map(restore).collect();
            let what = if lost.is_empty() { "nothing was changed".to_owned() } else { lost.join("; ") };
            format!("{}; {what}", named(path, &error))
        })
    });
    signals.thread_unblock().map_err(|error| error.to_string())?;
    published
}

/// Restores the old file; returns a message if that fails.
fn restore(turn: &Rotation) -> Option<String> {
    let Rotation { path, before, .. } = turn;
    let shown = |path: &Path| path.display().to_string();
    let failed = |error| format!("{} is encrypted to the new keys already: {error}", shown(path));
    replace(path, before).err().map(failed)
}
