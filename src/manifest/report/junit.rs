//! JUnit's XML: every manifest is a test, which fails with its errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Report, concise_from, details, escaped};
use crate::manifest::{Level, Problem, is_manifest};

/// One `testcase` for each manifest and for every other file with a problem. Warnings and notes
/// are what the test says, not why it fails.
pub fn junit(report: &Report) -> String {
    let mut found: BTreeMap<u32, Vec<&Problem>> = BTreeMap::new();
    for problem in report.problems {
        found.entry(problem.mark().file).or_default().push(problem);
    }
    let manifests = report.sources.iter().filter(|(_, source)| is_manifest(source.path.inside()));
    let files: BTreeSet<u32> = manifests.map(|(file, _)| file).chain(found.keys().copied()).collect();
    let error = |problem: &&&Problem| problem.level == Level::Error;
    let failures = found.values().filter(|problems| problems.iter().any(|problem| error(&problem))).count();
    let counts =
        format!("name=\"voldemort check\" tests=\"{}\" failures=\"{failures}\" errors=\"0\"", files.len());
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n");
    let _ = writeln!(text, "  <testsuite {counts}>");
    for file in files {
        let problems = found.get(&file).map_or(&[][..], Vec::as_slice);
        testcase(report, file, problems, &mut text);
    }
    text + "  </testsuite>\n</testsuites>\n"
}

fn testcase(report: &Report, file: u32, problems: &[&Problem], text: &mut String) {
    let path = xml(&report.path(file));
    let open = format!("    <testcase classname=\"voldemort.check\" name=\"{path}\" file=\"{path}\"");
    let (errors, others): (Vec<&Problem>, Vec<&Problem>) =
        problems.iter().partition(|problem| problem.level == Level::Error);
    if problems.is_empty() {
        let _ = writeln!(text, "{open}/>");
        return;
    }
    let _ = writeln!(text, "{open}>");
    if let Some(first) = errors.first() {
        let message = match errors.len() {
            1 => first.message.clone(),
            more => format!("{} (and {} more)", first.message, more - 1),
        };
        let (code, message) = (first.code, xml(&message));
        let body = text_of(report, &errors);
        let _ = writeln!(text, "      <failure type=\"{code}\" message=\"{message}\">{body}</failure>");
    }
    if !others.is_empty() {
        let _ = writeln!(text, "      <system-out>{}</system-out>", text_of(report, &others));
    }
    text.push_str("    </testcase>\n");
}

/// Each problem on its line, with its notes below.
fn text_of(report: &Report, problems: &[&Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        text.push('\n');
        text += &xml(&concise_from(problem, report));
        details(problem).iter().for_each(|line| text += &format!("\n  {}", xml(line)));
    }
    text + "\n"
}

/// For attributes and text alike. XML has no way to write control characters: they are escaped
/// as in a terminal, and so are the two code points it forbids.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in escaped(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_leave_its_element() {
        assert_eq!(
            xml("]]></failure>\u{0}\u{ffff}\"'&"),
            "]]&gt;&lt;/failure&gt;\\u{0}\\u{ffff}&quot;&apos;&amp;"
        );
    }
}
