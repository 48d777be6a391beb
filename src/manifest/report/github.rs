//! Commands to a GitHub Actions runner, which shows them beside the changed lines
//! (docs.github.com, "Workflow commands for GitHub Actions").

use std::fmt::Write;

use super::{Report, details, escaped};
use crate::manifest::{Level, Problem};

/// `::error title=…,file=…,line=…,col=…,endLine=…,endColumn=…::message`, a line for each problem.
pub fn github(report: &Report) -> String {
    let mut text = String::new();
    for problem in report.problems {
        let command = match problem.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        let (start, end) = report.range(problem);
        let title = format!("{} {}", problem.code, problem.code.title());
        let file = property(&report.path(problem.mark().file));
        let _ = write!(text, "::{command} title={},file={file}", property(&title));
        let _ = write!(text, ",line={},col={},endLine={}", start.line, start.column, end.line);
        let _ = writeln!(text, ",endColumn={}::{}", end.column, message(problem));
    }
    text
}

fn message(problem: &Problem) -> String {
    let mut lines = vec![problem.message.clone()];
    lines.extend(details(problem));
    lines.iter().map(|line| data(line)).collect::<Vec<_>>().join("%0A")
}

/// The runner decodes `%25`, `%0D` and `%0A`; control characters are escaped as text before.
fn data(text: &str) -> String {
    escaped(text).replace('%', "%25")
}

/// In properties `:` and `,` have a meaning as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_early() {
        assert_eq!(property("a,b:c%0A\n::stop"), "a%2Cb%3Ac%250A\\n%3A%3Astop");
        assert_eq!(data("50% of\r\n::error::x"), "50%25 of\\r\\n::error::x");
    }
}
