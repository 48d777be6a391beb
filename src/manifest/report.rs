//! Problems as text: for people, for other programs, and for the services that show them beside
//! a change. One file for each form.

mod address;
mod concise;
mod full;
mod github;
mod gitlab;
mod json;
mod jsonl;
mod junit;
mod sarif;

pub use concise::{concise, concise_from};
pub use full::{full, full_from};
pub use github::github;
pub use gitlab::gitlab;
pub use json::json;
pub use jsonl::jsonl;
pub use junit::junit;
pub use sarif::sarif;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Mark, Position, Problem, Sources};
use crate::model::Name;
use crate::model::printable::{is_printable, json as json_text, line};

/// What a check found, on its way to a program or a service.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub problems: &'a [Problem],
    pub sources: &'a Sources,
    pub roots: &'a Roots,
}

/// The ways to the sources of an inventory from where a report is read, without a slash at their ends; an empty
/// one where they are the same. People and editors open files from there, services look them up from the top of
/// a repository.
#[derive(Clone, Debug, Default)]
pub struct Roots(BTreeMap<Option<Name>, String>);

impl Roots {
    /// That of an only source.
    pub fn of(root: impl Into<String>) -> Roots {
        Roots([(None, root.into())].into())
    }

    /// With one more of several.
    pub fn and(mut self, source: Name, root: impl Into<String>) -> Roots {
        self.0.insert(Some(source), root.into());
        self
    }

    /// The path of a file as the reader of the report knows it; a source without a way to it is named.
    fn path(&self, sources: &Sources, file: u32) -> String {
        match self.0.get(&sources.source(file).cloned()) {
            Some(root) if root.is_empty() => sources.inside(file).to_owned(),
            Some(root) => format!("{}/{}", root.trim_end_matches('/'), sources.inside(file)),
            None => sources.get(file).path.shown().to_string(),
        }
    }
}

impl Report<'_> {
    /// The path of a file as the reader of the report knows it.
    fn path(&self, file: u32) -> String {
        self.roots.path(self.sources, file)
    }

    /// `file:line:column`
    fn place(&self, mark: Mark) -> String {
        let Position { line, column } = self.sources.get(mark.file).position(mark.start as usize);
        format!("{}:{line}:{column}", self.path(mark.file))
    }

    /// First and last position of a problem's first place.
    fn range(&self, problem: &Problem) -> (Position, Position) {
        let mark = problem.mark();
        let source = self.sources.get(mark.file);
        (source.position(mark.start as usize), source.position(mark.end as usize))
    }
}

/// Everything a problem says beside its headline, a line each; not yet escaped.
fn details(problem: &Problem) -> Vec<String> {
    let Problem { code: _, level: _, message: _, labels, notes, help, fix: _ } = problem;
    let mut lines: Vec<String> = labels.iter().take(1).map(|label| label.text.clone()).collect();
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    lines.extend(help.iter().map(|help| format!("help: {help}")));
    lines.retain(|line| !line.is_empty());
    lines
}

/// Control characters come from files: escaped, they can't play with a terminal.
fn escaped(text: &str) -> Cow<'_, str> {
    line(text)
}

/// What would drive a terminal or mislead who reads it.
fn harmful(c: char) -> bool {
    !is_printable(c)
}
