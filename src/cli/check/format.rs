//! The form and the destination of problems.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use clap::ValueEnum;

use super::Arguments;
use crate::cli::color::Color;
use crate::inventory::Loaded;
use crate::manifest::Problem;
use crate::manifest::report::{self, Report, Roots};
use crate::source::replace::replace;

/// The variable that chooses the form where no flag does.
const FORMAT_VARIABLE: &str = "VOLDEMORT_OUTPUT_FORMAT";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With the lines they are about
    Full,
    /// One line each
    Concise,
    /// For programs: one JSON object
    Json,
    /// For programs: one JSON object a line
    Jsonl,
    /// Annotations of GitHub Actions
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit's XML, for test reports
    Junit,
    /// GitLab's Code Quality report
    Gitlab,
}

/// Where a report goes and what it looks like.
pub(super) struct Output {
    format: Format,
    file: Option<PathBuf>,
    colour: bool,
    /// Most problems that are shown in full.
    most: usize,
    pub(super) roots: Roots,
}

impl Output {
    /// The output that the flags and the environment ask for.
    pub(super) fn of(arguments: &Arguments) -> Result<Output, String> {
        let format = match arguments.format {
            Some(format) => format,
            None => from_environment()?.unwrap_or(Format::Full),
        };
        let colour = match &arguments.output_file {
            // Files are not terminals, whatever the environment forces.
            Some(_) => arguments.color == Color::Always,
            None => arguments.color.on(&io::stdout()),
        };
        let (file, most) = (arguments.output_file.clone(), arguments.max_problems);
        Ok(Output { format, file, colour, most, roots: Roots::of(from_here(&arguments.directory)) })
    }

    /// False when the reader has closed the pipe.
    ///
    /// # Errors
    /// When the report can't be written.
    pub(super) fn write(&self, checked: &Loaded) -> Result<bool, String> {
        let text = match self.format {
            Format::Full => some_in_full(checked, self.most, &self.roots, self.colour),
            format => render(format, checked, &self.roots, self.colour),
        };
        match &self.file {
            Some(path) => replace(path, text.as_bytes())
                .map(|()| true)
                .map_err(|error| format!("can't write {}: {error}", path.display())),
            None => {
                let mut out = io::stdout().lock();
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
                    Err(error) => Err(format!("can't write to stdout: {error}")),
                }
            }
        }
    }

    /// Whether a program reads stdout, and reads nothing but JSON there.
    pub(super) fn is_json(&self) -> bool {
        self.is_stdout() && matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Whether more may follow on stdout: not where a program reads the report there.
    pub(super) fn takes_more(&self) -> bool {
        !self.is_stdout() || matches!(self.format, Format::Full | Format::Concise)
    }

    /// Whether the report goes to stdout.
    pub(super) fn is_stdout(&self) -> bool {
        self.file.is_none()
    }
}

/// Parses `--max-problems`.
pub(super) fn at_most(text: &str) -> Result<usize, String> {
    match text {
        "all" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "write a number or `all`".to_owned()),
    }
}

/// The worst problems in full, in their order, and the number of those left out. Nobody reads 25 MB; but
/// the report has to say that some are left out.
fn some_in_full(checked: &Loaded, most: usize, roots: &Roots, colour: bool) -> String {
    let (problems, sources) = (&checked.problems, &checked.documents.sources);
    let report = Report { problems, sources, roots };
    let mut shown: Vec<&Problem> = problems.iter().collect();
    shown.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    let left = shown.split_off(most.min(shown.len()));
    shown.sort_by_key(|problem| (problem.mark(), problem.code));
    let mut text: String =
        shown.iter().map(|problem| report::full_from(problem, &report, colour) + "\n").collect();
    if !left.is_empty() {
        let count = left.len();
        let plural = if count == 1 { "" } else { "s" };
        text +=
            &format!("{count} problem{plural} more: `--max-problems all` or `--format concise` shows all\n");
    }
    text
}

fn from_environment() -> Result<Option<Format>, String> {
    match std::env::var(FORMAT_VARIABLE) {
        Ok(name) if !name.is_empty() => match Format::from_str(&name, false) {
            Ok(format) => Ok(Some(format)),
            Err(_) => Err(format!("{FORMAT_VARIABLE} is {name:?}; the formats are: {}", all())),
        },
        _ => Ok(None),
    }
}

fn all() -> String {
    let names = Format::value_variants().iter().filter_map(Format::to_possible_value);
    names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

/// Everything a check found, in one of the forms.
pub fn render(format: Format, checked: &Loaded, roots: &Roots, colour: bool) -> String {
    let (problems, sources) = (&checked.problems, &checked.documents.sources);
    let report = Report { problems, sources, roots };
    let each = |one: &dyn Fn(&Problem) -> String| {
        problems.iter().map(|problem| one(problem) + "\n").collect::<String>()
    };
    match format {
        Format::Full => each(&|problem| report::full_from(problem, &report, colour)),
        Format::Concise => each(&|problem| report::concise_from(problem, &report)),
        Format::Json => report::json(&report),
        Format::Jsonl => report::jsonl(&report),
        Format::Github => report::github(&report),
        Format::Sarif => report::sarif(&report),
        Format::Junit => report::junit(&report),
        Format::Gitlab => report::gitlab(&report),
    }
}

/// The way from the current directory to an inventory.
pub fn from_here(directory: &Path) -> String {
    relative(directory, &std::env::current_dir().unwrap_or_default())
}

/// The inventory's path as seen from `here`, without dots and without a slash at its end; an
/// inventory elsewhere keeps its full path.
fn relative(directory: &Path, here: &Path) -> String {
    let inside = directory.strip_prefix(here).unwrap_or(directory);
    let plain: PathBuf = inside.components().filter(|part| *part != Component::CurDir).collect();
    plain.to_string_lossy().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_here() {
        let relative = |path: &str| super::relative(Path::new(path), Path::new("/builds/site"));
        assert_eq!(relative("."), "");
        assert_eq!(relative("./inventory/"), "inventory");
        assert_eq!(relative("/builds/site/inventory"), "inventory");
        assert_eq!(relative("/builds/site"), "");
        assert_eq!(relative("/srv/inventory/"), "/srv/inventory");
        assert_eq!(relative("../inventory"), "../inventory");
    }
}
