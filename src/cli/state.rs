//! `voldemort state`: checks a state directory, copies it, restores a copy.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use super::Exit;
use super::exit::{print, talk};
use crate::config::Config;
use crate::store::{backup, inspect};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Looks for anything missing, damaged or changed; changes nothing, also while the daemon runs
    Check(StateDirectory),
    /// Copies the state directory to a new folder, also while the daemon runs
    Backup {
        /// Where the copy goes; it must not be there yet, or be empty
        to: PathBuf,
        #[command(flatten)]
        place: StateDirectory,
    },
    /// Restores a copy where no state is; afterwards all installations are doubtful, and all URLs invalid
    Restore {
        /// What `voldemort state backup` made
        from: PathBuf,
        #[command(flatten)]
        place: StateDirectory,
    },
}

/// The state directory that a command is about.
#[derive(ClapArgs, Debug)]
struct StateDirectory {
    /// The daemon's settings, which name the state directory
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    config: Option<PathBuf>,
    /// The state directory itself [default: /var/lib/voldemort]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn run(arguments: &Args) -> Exit {
    match &arguments.command {
        Command::Check(place) => at(place, check),
        Command::Backup { to, place } => at(place, |directory| {
            done(backup::backup(directory, to), || {
                format!("{} holds a copy of {}", to.display(), directory.display())
            })
        }),
        Command::Restore { from, place } => at(place, |directory| {
            done(backup::restore(from, directory, &crate::daemon::start::random()), || {
                format!(
                    "{} is as {} was. Its installations are doubtful: machines boot their disks until somebody \
                     settles them (`voldemortctl get deployments`)",
                    directory.display(),
                    from.display()
                )
            })
        }),
    }
}

fn at(place: &StateDirectory, then: impl FnOnce(&Path) -> Exit) -> Exit {
    let directory = match (&place.directory, &place.config) {
        (Some(directory), _) => directory.clone(),
        (None, Some(file)) => match Config::read(file) {
            Ok(config) => config.state.directory,
            Err(error) => {
                talk(&error.to_string());
                return Exit::Failed;
            }
        },
        (None, None) => PathBuf::from(crate::config::read::STATE),
    };
    then(&directory)
}

fn check(directory: &Path) -> Exit {
    let findings = inspect::inspect(directory);
    let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    if print(&text) != Exit::Done {
        return Exit::Failed;
    }
    match findings.iter().all(|finding| finding.is_well) {
        true => Exit::Done,
        false => Exit::Failed,
    }
}

fn done(outcome: Result<(), String>, text: impl FnOnce() -> String) -> Exit {
    match outcome {
        Ok(()) => print(&(text() + "\n")),
        Err(why) => {
            talk(&why);
            Exit::Failed
        }
    }
}
