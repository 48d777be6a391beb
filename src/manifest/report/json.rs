//! Problems for other programs.

use serde_json::{Value, json};

use crate::manifest::{Mark, Position, Problem, Sources};

/// `{ "format_version": 1, "problems": […] }`.
pub fn json(problems: &[Problem], sources: &Sources) -> Value {
    let problems: Vec<Value> = problems.iter().map(|problem| one(problem, sources)).collect();
    json!({ "format_version": 1, "problems": problems })
}

fn one(problem: &Problem, sources: &Sources) -> Value {
    let Problem { code, level, message, labels, notes, help } = problem;
    let related = labels[1..].iter().map(|label| {
        json!({
            "message": label.text,
            "file": *sources.get(label.mark.file).name,
            "range": range(label.mark, sources),
        })
    });
    json!({
        "code": code.to_string(),
        "level": level.to_string(),
        "message": message,
        "file": *sources.get(problem.mark().file).name,
        "range": range(problem.mark(), sources),
        "label": labels[0].text,
        "notes": notes,
        "help": help,
        "related": related.collect::<Vec<_>>(),
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
