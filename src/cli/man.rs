//! `voldemort man DIRECTORY`: writes the manual pages of both programs.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::exit::talk;
use super::{Exit, ctl};
use crate::source::replace::replace;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the pages go: voldemort.1, voldemort-check.1, voldemortctl.1, …
    directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> Exit {
    match write(&arguments.directory) {
        Ok(()) => Exit::Done,
        Err(error) => {
            talk(&format!("{}: {error}", arguments.directory.display()));
            Exit::Failed
        }
    }
}

fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for mut command in [super::Arguments::command(), ctl::Ctl::command()] {
        command = command.disable_help_subcommand(true);
        command.build();
        let program = command.get_name().to_owned();
        pages(directory, command, &program)?;
    }
    Ok(())
}

/// The page of a command, and those of all below it.
fn pages(directory: &Path, command: Command, program: &str) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(directory, below.clone(), program)?;
    }
    // No date: the same program writes the same pages.
    let page = Man::new(command)
        .source(format!("{program} {}", env!("CARGO_PKG_VERSION")))
        .manual("voldemort manual");
    let mut text = Vec::new();
    page.render(&mut text)?;
    // As roff writes them, since not every reader takes UTF-8.
    let letter = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    let text: String = String::from_utf8_lossy(&text).chars().map(letter).collect();
    replace(&directory.join(page.get_filename()), text.as_bytes())
}
