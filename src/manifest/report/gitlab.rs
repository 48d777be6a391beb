//! GitLab's Code Quality report (docs.gitlab.com, "Code Quality report format").

use serde_json::{Value, json};

use super::address::Addresses;
use super::{Report, details, json_text};
use crate::manifest::{Level, Problem};

/// An array with an object for each problem.
pub fn gitlab(report: &Report) -> String {
    let mut addresses = Addresses::new(report);
    let one = |problem: &Problem| {
        let severity = match problem.level {
            Level::Error => "major",
            Level::Warning => "minor",
            Level::Note => "info",
        };
        let mut description = vec![problem.message.clone()];
        description.extend(details(problem));
        let (start, end) = report.range(problem);
        json!({
            "description": description.join("\n"),
            "check_name": problem.code.to_string(),
            "fingerprint": addresses.fingerprint(problem),
            "severity": severity,
            "location": {
                "path": report.path(problem.mark().file),
                "lines": { "begin": start.line, "end": end.line },
            },
        })
    };
    let all: Vec<Value> = report.problems.iter().map(one).collect();
    json_text(&format!("{:#}\n", Value::from(all)))
}
