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

pub use concise::concise;
pub use full::full;
pub use github::github;
pub use gitlab::gitlab;
pub use json::json;
pub use jsonl::jsonl;
pub use junit::junit;
pub use sarif::sarif;

use std::borrow::Cow;

use super::{Position, Problem, Sources};
use crate::model::printable::{is_printable, json as json_text, line};

/// What a check found, on its way to a program or a service.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub problems: &'a [Problem],
    pub sources: &'a Sources,
    /// The way to the inventory from where the report is read, without a slash at its end; empty
    /// where they are the same. Services look files up from the top of a repository.
    pub root: &'a str,
}

impl Report<'_> {
    /// The path of a file as the reader of the report knows it.
    fn path(&self, file: u32) -> String {
        let name = self.sources.get(file).path.shown();
        if self.root.is_empty() { name.to_string() } else { format!("{}/{name}", self.root) }
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
