//! `voldemort secret`: texts that only the daemon may read, encrypted in the inventory.

mod add;
mod edit;
mod file;
mod keygen;
mod memory_folder;
mod rotate;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Exit;
use super::exit::talk;
use crate::daemon::limits::keep_memory_private;

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Encrypts a text and saves it as secrets/NAME.age
    Add(add::Arguments),
    /// Opens a secret in $VISUAL or $EDITOR; its text is in memory only
    Edit(edit::Arguments),
    /// Encrypts all secrets again, to the present keys in secrets/recipients.txt
    Rotate(rotate::Arguments),
    /// Makes a key: the private half for the daemon's host, the public half for recipients.txt
    Keygen(keygen::Arguments),
}

/// The inventory that a command is about.
#[derive(ClapArgs, Clone, Debug)]
struct InventoryDirectory {
    /// The inventory's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    inventory: PathBuf,
}

/// The private key that decrypts.
#[derive(ClapArgs, Clone, Debug)]
struct Identity {
    /// A file with private keys of age [default: $VOLDEMORT_IDENTITY]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

pub fn run(arguments: &Args) -> Exit {
    if let Err(error) = keep_memory_private() {
        talk(&format!("a crash of this command could leave what it decrypts in a core dump: {error}"));
    }
    let done = match &arguments.command {
        Command::Add(arguments) => add::run(arguments),
        Command::Edit(arguments) => edit::run(arguments),
        Command::Rotate(arguments) => rotate::run(arguments),
        Command::Keygen(arguments) => keygen::run(arguments),
    };
    match done {
        Ok(exit) => exit,
        Err(why) => {
            talk(&why);
            Exit::Failed
        }
    }
}
