//! `voldemort check`: finds everything in an inventory that can be found without a network.

mod format;
mod host;
mod repair;
mod several;
mod simulated_boots;
mod summary;
mod watch;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;

use super::color::Color;
use super::exit::{say, talk};
use super::{Exit, exit};
use crate::daemon::host_addresses::addresses;
use crate::desired::{Media, Options};
use crate::inventory::{Depth, Loaded, Memory, load, survey, survey_again};
use crate::manifest::fix::Files;
use crate::manifest::host::clashes;
use crate::manifest::{Environment, schema};
use crate::media::{Library, Locked, lock};
use crate::model::{Name, printable};
use crate::source::replace::is_own;
use crate::source::{self, Body, Snapshot};

use format::Output;
pub use format::{Format, from_here, render};
use host::Host;
pub use repair::{Repair, repair};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The inventory's directory; with --verbose, a deployment's name does for one of `.`
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Check with this environment laid over the inventory; without, all of them are checked
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// How problems are printed; full unless VOLDEMORT_OUTPUT_FORMAT says otherwise
    #[arg(short = 'o', long, visible_alias = "output", value_enum)]
    format: Option<Format>,
    /// Write the problems to this file, not to stdout
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Show at most this many problems in full, errors first; `all` shows every one. The other formats
    /// always have all
    #[arg(long, value_name = "N|all", default_value = "100", value_parser = format::at_most)]
    max_problems: usize,
    /// When to use colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
    /// Correct mistakes that have only one possible meaning, in the files themselves
    #[arg(long)]
    fix: bool,
    /// Check again after every change, until interrupted
    #[arg(long, conflicts_with = "fix")]
    watch: bool,
    /// Make missing images errors, not notes
    #[arg(long)]
    with_media: bool,
    /// A directory with images, as [media] paths of the daemon's file (repeatable)
    #[arg(long, value_name = "DIR")]
    media: Vec<PathBuf>,
    /// Check as the daemon with this file sees it: its [media] paths, its networks, its environment, and the key that has
    /// to open the secrets. Missing images are errors
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which source the inventory is, for a daemon that follows several: all of them are checked together
    #[arg(long, value_name = "NAME", conflicts_with_all = ["watch", "fix"])]
    source: Option<Name>,
    /// Another source and the directory that it is in (repeatable); those that --config has as directories need not
    /// be named
    #[arg(long, value_name = "NAME=DIR", requires = "source", value_parser = several::named)]
    beside: Vec<(Name, PathBuf)>,
    /// Show every stage of the simulated boots: what DHCP answers, scripts, answer files
    #[arg(short, long, conflicts_with = "watch")]
    verbose: bool,
    /// With --verbose: the boots of this deployment only (repeatable)
    #[arg(long, value_name = "NAME", requires = "verbose")]
    deployment: Vec<String>,
}

impl Arguments {
    /// `check -v web-1`: an argument that is no directory here may be the name of a deployment.
    fn settled(mut self) -> Arguments {
        let name = self.directory.to_str().filter(|text| text.parse::<Name>().is_ok());
        if let Some(name) = name.filter(|_| self.verbose && !self.directory.exists()) {
            self.deployment.push(name.to_owned());
            self.directory = ".".into();
        }
        self
    }
}

pub fn run(arguments: Arguments) -> Exit {
    let arguments = arguments.settled();
    let mut output = match Output::of(&arguments) {
        Ok(output) => output,
        Err(why) => {
            talk(&why);
            return Exit::Usage;
        }
    };
    let host = match Host::of(&arguments) {
        Ok(host) => host,
        Err(why) => return exit::failed(&why, output.is_json()),
    };
    if arguments.verbose && !output.takes_more() {
        talk("no simulated boots are printed behind a report for programs: give that a file (--output-file)");
    }
    if let Some(several) = &host.several {
        output.roots = several.roots();
    }
    let shelf = host.shelf(&arguments.directory);
    let required = arguments.with_media || arguments.config.is_some();
    let media = if required { Media::Required } else { Media::IfPresent };
    let options = Options { media, fallback: host.networks.clone() };
    let job = Job { root: &arguments.directory, scope: host.scope(&arguments), library: &shelf, options };
    if arguments.watch {
        return watch::run(&job, &output);
    }
    let started = Instant::now();
    let checked = match &host.several {
        Some(several) => several.check(&shelf, host.environment(&arguments).as_deref(), &job.options),
        None if arguments.fix => repair::run(&job),
        None => job.check(),
    };
    let checked = checked.map(beside_this_host);
    if let Ok(checked) = &checked {
        host.note(&checked.desired);
    }
    let printed = match checked {
        Ok(checked) if arguments.verbose && output.takes_more() => {
            let printed = print(&checked, &output, started);
            simulated_boots::show(&checked, &arguments.deployment).and(printed)
        }
        Ok(checked) => print(&checked, &output, started),
        Err(why) => Err(why),
    };
    match printed {
        // The exit code is set even if the reader has closed the pipe.
        Ok(printed) if printed.errors == 0 => host.opens_secrets(&arguments.directory),
        Ok(_) => Exit::Failed,
        Err(why) => exit::failed(&why, output.is_json()),
    }
}

/// Adds problems that only show on this host.
fn beside_this_host(mut checked: Loaded) -> Loaded {
    let clashes = clashes(&checked.documents, &addresses().unwrap_or_default());
    checked.problems.extend(clashes);
    checked.problems.sort_by_key(|problem| (problem.mark(), problem.code));
    checked
}

/// The result of a report.
struct Printed {
    errors: usize,
    /// Whether the reader still reads.
    is_read: bool,
}

/// Prints the problems and the summary.
fn print(checked: &Loaded, output: &Output, started: Instant) -> Result<Printed, String> {
    let is_read = output.write(checked)?;
    say(summary::summary(checked, started.elapsed()));
    Ok(Printed { errors: checked.errors(), is_read })
}

/// What is checked, and with what.
pub struct Job<'a> {
    pub root: &'a Path,
    pub scope: Scope,
    pub library: &'a dyn Library,
    pub options: Options,
}

/// The environments that are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The inventory itself and with each of its environments.
    All,
    /// With this environment, or with none.
    Only(Option<String>),
}

/// Reads the inventory in a directory and finds everything that is wrong with it and with its
/// environments.
pub fn check(root: &Path, library: &dyn Library, options: &Options) -> Result<Loaded, String> {
    Job { root, scope: Scope::All, library, options: options.clone() }.check()
}

impl Job<'_> {
    /// # Errors
    /// When the inventory can't be read, or does not have the environment.
    pub fn check(&self) -> Result<Loaded, String> {
        let snapshot = source::directory::read(self.root).map_err(|error| error.to_string())?;
        warn_of(self.root, &snapshot)?;
        self.judge(&mut Memory::default(), &snapshot)
    }

    /// The same with an inventory that has been read, and with what earlier checks of it found out.
    pub fn judge(&self, memory: &mut Memory, snapshot: &Snapshot) -> Result<Loaded, String> {
        let mut files = snapshot.inline();
        files.extend(installed_schemas(self.root));
        let environment = self.environment(&files)?;
        let (revision, depth) = (snapshot.revision.clone(), Depth::EveryFirmware);
        let library = Locked::new(self.library, lists(snapshot), self.options.media == Media::IfPresent);
        Ok(match &environment {
            None => survey_again(memory, revision, &files, &library, &self.options, depth),
            Some(environment) => memory.load(revision, &files, environment, &library, &self.options, depth),
        })
    }

    /// The environment to check; `None` means all of them.
    fn environment(&self, files: &Files) -> Result<Option<Environment>, String> {
        match &self.scope {
            Scope::All => Ok(None),
            Scope::Only(name) => {
                let paths = files.keys().map(|path| &**path);
                Environment::choose(paths, name.as_deref()).map(Some).map_err(|error| error.to_string())
            }
        }
    }

    fn load(
        &self,
        revision: Arc<str>,
        files: &Files,
        environment: Option<&Environment>,
        depth: Depth,
    ) -> Loaded {
        match environment {
            None => survey(revision, files, self.library, &self.options, depth),
            Some(environment) => load(revision, files, environment, self.library, &self.options, depth),
        }
    }
}

/// Says what of a directory is not checked, and how it differs from its repository.
fn warn_of(root: &Path, snapshot: &Snapshot) -> Result<(), String> {
    let differences = source::git::differences(root).map_err(|error| error.to_string())?;
    let warnings = snapshot.warnings().chain(differences);
    warnings.for_each(|warning| talk(&format!("warning: {}", printable::line(&warning))));
    Ok(())
}

/// The lists that may stand for images; they may be longer than what a revision holds in memory.
pub(super) fn lists(snapshot: &Snapshot) -> Vec<(Arc<str>, Bytes)> {
    const LARGEST_BYTES: u64 = 64 << 20;
    let in_folder = |path: &str| Path::new(path).parent() == Some(Path::new(lock::FOLDER));
    let read = |path: &Path| -> Option<Bytes> {
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(LARGEST_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes.into())
    };
    let bytes = |body: &Body| match body {
        Body::Inline { bytes, .. } => Some(bytes.clone()),
        Body::OnDisk { path, .. } => read(path),
    };
    let files = snapshot.files.iter().filter(|(path, _)| in_folder(path));
    files.filter_map(|(path, body)| Some((path.clone(), bytes(body)?))).collect()
}

/// The schemas in a hidden folder of the inventory, which is no part of a snapshot. Links are not followed:
/// a person who may commit one could have any file of this host printed.
fn installed_schemas(root: &Path) -> Vec<(Arc<str>, Bytes)> {
    const LARGEST_BYTES: u64 = 1 << 20;
    let read = |(name, _): (&str, _)| {
        let inside = format!("{}/{name}", schema::INSTALLED);
        let file = is_own(root, &inside).then(|| std::fs::File::open(root.join(&inside)))?.ok()?;
        let mut bytes = Vec::new();
        file.take(LARGEST_BYTES).read_to_end(&mut bytes).ok()?;
        Some((inside.into(), bytes.into()))
    };
    schema::FILES.into_iter().filter_map(read).collect()
}
