//! `voldemort firmware`: the boot programs that this host has for machines.

mod package;
mod program;

use std::path::PathBuf;

use clap::Subcommand;

use super::table;
use super::{Exit, exit};
use crate::config::Config;
use crate::config::read::FIRMWARE;
use crate::media::loaders;
pub(super) use program::{Program, kinds_without};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the boot programs: for which machines, which version, from which package, how old
    Ls {
        /// The daemon's settings, which name the directories; without them the usual directories are looked in
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
        output: String,
    },
}

pub fn run(args: &Args) -> Exit {
    let Command::Ls { config, output } = &args.command;
    let json = output == "json";
    let paths = match config.as_ref().map(|file| Config::read(file)).transpose() {
        Ok(config) => paths(config.as_ref()),
        Err(error) => return exit::failed(&error.to_string(), json),
    };
    let programs = programs(&paths);
    if json {
        return exit::print_json(&programs);
    }
    exit::print(&text(&programs))
}

/// The directories of the settings, or the usual ones.
pub(super) fn paths(config: Option<&Config>) -> Vec<PathBuf> {
    config.map_or_else(|| FIRMWARE.map(PathBuf::from).to_vec(), |config| config.firmware.paths.clone())
}

/// Every program that machines can be sent, by name; the modules of PXELINUX are one of them each.
pub(super) fn programs(paths: &[PathBuf]) -> Vec<Program> {
    let packages = package::Packages::read();
    loaders::find(paths).iter().map(|(name, entry)| Program::look(name, entry, &packages)).collect()
}

fn text(programs: &[Program]) -> String {
    // PXELINUX has dozens of modules; the one it can't start without is listed for all.
    let is_module = |program: &&Program| program.name.ends_with(".c32") && program.name != "ldlinux.c32";
    let (modules, listed): (Vec<&Program>, Vec<&Program>) = programs.iter().partition(is_module);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let row = |program: &&Program| {
        let signed = match program.is_signed {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        vec![
            program.name.clone(),
            program.machines.clone(),
            or_dash(&program.version),
            signed.to_owned(),
            program.dated.chars().take(10).collect(),
            or_dash(&program.package),
            program.path.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    let titles = ["PROGRAM", "MACHINES", "VERSION", "SIGNED", "DATED", "PACKAGE", "FILE"];
    let mut text = if rows.is_empty() { String::new() } else { table::format(&titles, &rows) };
    if !modules.is_empty() {
        text += &format!("and {} further modules of PXELINUX\n", modules.len());
    }
    let missing = kinds_without(programs);
    for (kind, cure) in &missing {
        text += &format!("missing: for {kind} there is none: {cure}\n");
    }
    text
}
