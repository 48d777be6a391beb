//! `voldemort completions`: prints the completion script of a shell.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::exit::print;
use super::{Exit, ctl};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell
    shell: Shell,
    /// For `voldemortctl` instead
    #[arg(long)]
    ctl: bool,
}

pub fn run(arguments: &Arguments) -> Exit {
    let (mut command, name) = match arguments.ctl {
        true => (ctl::Ctl::command(), "voldemortctl"),
        false => (super::Arguments::command(), "voldemort"),
    };
    let mut text = Vec::new();
    generate(arguments.shell, &mut command, name, &mut text);
    print(&String::from_utf8_lossy(&text))
}
