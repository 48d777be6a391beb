//! `voldemort completions`: prints the completion script of a shell.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use super::exit::print;
use super::{Exit, exit, live};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
    /// For `voldemortctl` instead
    #[arg(long)]
    ctl: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// The script runs the program whenever the shell completes one of its command lines: proposals are those of the
/// program that is installed, and of the daemon.
pub fn run(arguments: &Arguments) -> Exit {
    let program = if arguments.ctl { "voldemortctl" } else { "voldemort" };
    let name = arguments.shell.to_possible_value().map(|value| value.get_name().to_owned());
    let shells = Shells::builtins();
    let Some(shell) = name.and_then(|name| shells.completer(&name)) else {
        return exit::failed("there are no completions for this shell", false);
    };
    let mut text = Vec::new();
    match shell.write_registration(live::VARIABLE, program, program, program, &mut text) {
        Ok(()) => print(&String::from_utf8_lossy(&text)),
        Err(error) => exit::failed(&error.to_string(), false),
    }
}
