//! Problems for programs that read line by line.

use super::json::{FORMAT_VERSION, one};
use super::{Report, json_text};

/// A line for each problem: the same object as in `json`, with `format_version` beside the rest.
pub fn jsonl(report: &Report) -> String {
    let mut text = String::new();
    for problem in report.problems {
        let mut line = one(problem, report);
        line["format_version"] = FORMAT_VERSION.into();
        text += &json_text(&line.to_string());
        text.push('\n');
    }
    text
}
