//! `voldemort check`: everything that can be found out about an inventory without a network.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::Exit;
use crate::daemon::load::{Depth, Loaded, load, transcript};
use crate::desired::{Media, Options};
use crate::manifest::similar::similar;
use crate::manifest::{self, Level, MANIFEST_MAX_BYTES, report};
use crate::media::{Library, Shelf};
use crate::model::Name;
use crate::source::{self, SourceError};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The inventory's directory; with --verbose, a deployment's name does for one of `.`
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// How problems are printed
    #[arg(long, value_enum, default_value_t = Format::Full)]
    format: Format,
    /// Images that are not at hand are errors, not notes
    #[arg(long)]
    with_media: bool,
    /// Show every stage of the rehearsed boots: what DHCP answers, scripts, answer files
    #[arg(short, long)]
    verbose: bool,
    /// With --verbose: the boots of this deployment only (repeatable)
    #[arg(long, value_name = "NAME", requires = "verbose")]
    deployment: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// With the lines they are about
    Full,
    /// One line each
    Concise,
    /// For programs
    Json,
}

pub fn run(arguments: Arguments) -> Exit {
    let arguments = arguments.settled();
    let started = Instant::now();
    let shelf = Shelf::new(Vec::new(), None).with_directory(arguments.directory.clone());
    let media = if arguments.with_media { Media::Required } else { Media::IfPresent };
    let checked = match check(&arguments.directory, &shelf, &Options { media, fallback: None }) {
        Ok(checked) => checked,
        Err(error) => {
            super::exit::say(format!("voldemort: {error}"));
            return Exit::Failed;
        }
    };
    // A reader that has seen enough closes the pipe; the exit code still tells.
    let _ = print(&checked, arguments.format);
    let for_people = matches!(arguments.format, Format::Full | Format::Concise);
    if arguments.verbose && for_people && !walks(&checked, &arguments.deployment) {
        return Exit::Failed;
    }
    super::exit::say(summary(&checked, started.elapsed()));
    if checked.problems.iter().any(|problem| problem.level == Level::Error) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

impl Arguments {
    /// `check -v web-1`: what is no directory here may be meant to be a deployment.
    fn settled(mut self) -> Arguments {
        let name = self.directory.to_str().filter(|text| text.parse::<Name>().is_ok());
        if let Some(name) = name.filter(|_| self.verbose && !self.directory.exists()) {
            self.deployment.push(name.to_owned());
            self.directory = ".".into();
        }
        self
    }
}

/// Reads the inventory in a directory and finds everything that is wrong with it.
pub fn check(
    root: &std::path::Path,
    library: &dyn Library,
    options: &Options,
) -> Result<Loaded, SourceError> {
    let snapshot = source::directory::read(root)?;
    let files = snapshot.texts(MANIFEST_MAX_BYTES)?;
    Ok(load(snapshot.revision, &files, library, options, Depth::EveryFirmware))
}

fn print(checked: &Loaded, format: Format) -> std::io::Result<()> {
    let Loaded { documents, problems, .. } = checked;
    let sources = &documents.sources;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        Format::Full => {
            let colour = colour();
            for problem in problems {
                writeln!(out, "{}", report::full(problem, sources, colour))?;
            }
        }
        Format::Concise => {
            for problem in problems {
                writeln!(out, "{}", report::concise(problem, sources))?;
            }
        }
        Format::Json => writeln!(out, "{:#}", report::json(problems, sources))?,
    }
    out.flush()
}

/// Prints the rehearsals of the named deployments, or of all. Whether all those names exist.
fn walks(checked: &Loaded, names: &[String]) -> bool {
    let all = &checked.desired.deployments;
    let mut chosen: Vec<&Name> = all.keys().collect();
    if !names.is_empty() {
        for name in names.iter().filter(|name| !chosen.iter().any(|known| known.as_str() == *name)) {
            let hint = similar(name, chosen.iter().map(|known| known.as_str()));
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            super::exit::say(format!("voldemort: there is no deployment {name} to rehearse{hint}"));
            return false;
        }
        chosen.retain(|known| names.iter().any(|name| name == known.as_str()));
    }
    super::exit::print(&transcript(&checked.desired, &chosen)) == Exit::Done
}

/// Colour for terminals, unless <https://no-color.org> or `CLICOLOR_FORCE` says otherwise.
fn colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0" && !value.is_empty());
    forced || std::io::stdout().is_terminal()
}

/// `10 errors in 6 of 9 files (0 warnings), checked in 14 ms`
fn summary(checked: &Loaded, took: Duration) -> String {
    let count = |level| checked.problems.iter().filter(|problem| problem.level == level).count();
    let faulty = checked.problems.iter().filter(|problem| problem.level == Level::Error);
    let files: std::collections::BTreeSet<u32> = faulty.map(|problem| problem.mark().file).collect();
    let sources = checked.documents.sources.iter();
    let read = |(file, source): &(u32, &manifest::Source)| {
        manifest::is_manifest(&source.name) || files.contains(file)
    };
    let all = sources.filter(read).count();
    let (errors, warnings, notes) = (count(Level::Error), count(Level::Warning), count(Level::Note));
    let plural = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    let of = match errors {
        0 => format!("in {}", plural(all, "file")),
        _ => format!("in {} of {}", files.len(), plural(all, "file")),
    };
    let mut rest = plural(warnings, "warning");
    if notes > 0 {
        rest += &format!(", {}", plural(notes, "note"));
    }
    let ms = took.as_millis();
    let deployments = plural(checked.desired.deployments.len(), "deployment");
    let what = if errors == 0 { format!(", {deployments}") } else { String::new() };
    format!("{} {of} ({rest}){what}, checked in {ms} ms", plural(errors, "error"))
}
