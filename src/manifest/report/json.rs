//! Problems for other programs.

use serde_json::{Value, json};

use super::{Report, json_text};
use crate::manifest::{Edit, Level, Mark, Position, Problem, Sources};

/// Raised when something that is there now changes its meaning or goes away; new members may come
/// at any time.
pub(super) const FORMAT_VERSION: u32 = 2;

/// `{ "format_version": 2, "summary": {…}, "problems": […] }`, indented, with a line end.
pub fn json(report: &Report) -> String {
    let Report { problems, .. } = report;
    let count = |level| problems.iter().filter(|problem| problem.level == level).count();
    let whole = json!({
        "format_version": FORMAT_VERSION,
        "summary": {
            "errors": count(Level::Error),
            "warnings": count(Level::Warning),
            "notes": count(Level::Note),
        },
        "problems": problems.iter().map(|problem| one(problem, report)).collect::<Vec<_>>(),
    });
    json_text(&format!("{whole:#}\n"))
}

pub(super) fn one(problem: &Problem, report: &Report) -> Value {
    let sources = report.sources;
    let Problem { code, level, message, labels, notes, help, fix } = problem;
    let related = labels[1..].iter().map(|label| {
        json!({
            "message": label.text,
            "file": report.path(label.mark.file),
            "range": range(label.mark, sources),
        })
    });
    let edit = |Edit { mark, text }: &Edit| {
        json!({
            "file": report.path(mark.file),
            "range": range(*mark, sources),
            "replacement": text,
        })
    };
    let fix = match fix.as_slice() {
        [] => Value::Null,
        edits => json!({ "edits": edits.iter().map(edit).collect::<Vec<_>>() }),
    };
    json!({
        "code": code.to_string(),
        "level": level.to_string(),
        "message": message,
        "file": report.path(problem.mark().file),
        "range": range(problem.mark(), sources),
        "label": labels[0].text,
        "notes": notes,
        "help": help,
        "related": related.collect::<Vec<_>>(),
        "fix": fix,
    })
}

/// Lines and columns from 1, columns in characters, offsets in bytes.
fn range(mark: Mark, sources: &Sources) -> Value {
    let end = |offset: u32| {
        let Position { line, column } = sources.get(mark.file).position(offset as usize);
        json!({ "line": line, "column": column, "offset": offset })
    };
    json!({ "start": end(mark.start), "end": end(mark.end) })
}
