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
        let name = &self.sources.get(file).name;
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
    if !text.contains(harmful) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match harmful(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe.into()
}

/// The text of a JSON value with every harmful character as `\uXXXX`: the value stays the same.
fn json_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Between values; inside them it is escaped already.
            '\n' => text.push(c),
            c if harmful(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// Control characters and those that change the direction of writing.
fn harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_value_and_loses_its_teeth() {
        let wild = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2028}é\n";
        let text = json_text(&serde_json::to_string(&[wild]).unwrap());
        assert!(!text.contains(harmful), "{text:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [wild]);
    }
}
