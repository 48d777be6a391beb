//! One line for each problem.

use super::{Report, Roots, escaped};
use crate::manifest::{Problem, Sources};

/// `file:line:column: error[V0011] message (also file:line:column)`, without a line end.
pub fn concise(problem: &Problem, sources: &Sources) -> String {
    concise_from(problem, &Report { problems: &[], sources, roots: &Roots::default() })
}

/// The same, with paths as the report's reader knows them.
pub fn concise_from(problem: &Problem, report: &Report) -> String {
    let Problem { code, level, message, labels, .. } = problem;
    let place = report.place(problem.mark());
    let mut line = format!("{}: {level}[{code}] {}", escaped(&place), escaped(message));
    let others: Vec<String> = labels[1..].iter().map(|label| report.place(label.mark)).collect();
    if !others.is_empty() {
        line.push_str(&format!(" (also {})", escaped(&others.join(", "))));
    }
    line
}
