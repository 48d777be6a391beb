//! SARIF 2.1.0 (docs.oasis-open.org/sarif), which code scanning services and editors read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::address::Addresses;
use super::{Report, details, json_text};
use crate::manifest::{Code, Edit, Label, Level, Mark, Position, Problem, explain};

/// One run. Its rules are those that were broken, with the pages of `voldemort explain`.
pub fn sarif(report: &Report) -> String {
    let codes: BTreeSet<Code> = report.problems.iter().map(|problem| problem.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let mut addresses = Addresses::new(report);
    let results: Vec<Value> =
        report.problems.iter().map(|problem| result(report, problem, &codes, &mut addresses)).collect();
    let whole = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "voldemort",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    json_text(&format!("{whole:#}\n"))
}

fn rule(code: Code) -> Value {
    let page = explain::page(code);
    json!({
        "id": code.to_string(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": code.title() },
        "help": { "text": page, "markdown": page },
        "defaultConfiguration": { "level": level(code.level()) },
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn result(report: &Report, problem: &Problem, codes: &[Code], addresses: &mut Addresses) -> Value {
    let mut message = vec![problem.message.clone()];
    message.extend(details(problem));
    let related = |(index, label): (usize, &Label)| {
        let mut place = location(report, label.mark);
        place["id"] = index.into();
        place["message"] = json!({ "text": label.text });
        place
    };
    let mut result = json!({
        "ruleId": problem.code.to_string(),
        "level": level(problem.level),
        "message": { "text": message.join("\n") },
        "locations": [location(report, problem.mark())],
        "partialFingerprints": { "resource/v1": addresses.fingerprint(problem) },
    });
    if let Ok(index) = codes.binary_search(&problem.code) {
        result["ruleIndex"] = index.into();
    }
    if problem.labels.len() > 1 {
        result["relatedLocations"] = problem.labels.iter().enumerate().skip(1).map(related).collect();
    }
    if !problem.fix.is_empty() {
        let changes: Vec<Value> = problem.fix.iter().map(|edit| change(report, edit)).collect();
        let description = problem.help.first().or(problem.labels.first().map(|label| &label.text));
        result["fixes"] = json!([{ "description": { "text": description }, "artifactChanges": changes }]);
    }
    result
}

fn location(report: &Report, mark: Mark) -> Value {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&report.path(mark.file)) },
        "region": region(report, mark),
    } })
}

fn region(report: &Report, mark: Mark) -> Value {
    let position = |offset: u32| report.sources.get(mark.file).position(offset as usize);
    let (Position { line, column }, end) = (position(mark.start), position(mark.end));
    json!({
        "startLine": line,
        "startColumn": column,
        "endLine": end.line,
        "endColumn": end.column,
        "byteOffset": mark.start,
        "byteLength": mark.end.saturating_sub(mark.start),
    })
}

fn change(report: &Report, edit: &Edit) -> Value {
    json!({
        "artifactLocation": { "uri": uri(&report.path(edit.mark.file)) },
        "replacements": [{
            "deletedRegion": region(report, edit.mark),
            "insertedContent": { "text": edit.text },
        }],
    })
}

/// A path as a relative reference (RFC 3986, section 4.2), or as a `file:` address if it is absolute.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let path: String = path.bytes().map(encode).collect();
    if path.starts_with('/') { format!("file://{path}") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("a/b c:é.toml"), "a/b%20c%3A%C3%A9.toml");
        assert_eq!(uri("/srv/a.toml"), "file:///srv/a.toml");
    }
}
