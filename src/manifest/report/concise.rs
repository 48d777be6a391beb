//! One line for each problem.

use super::escaped;
use crate::manifest::{Problem, Sources};

/// `file:line:column: error[V0011] message (also file:line:column)`, without a line end.
pub fn concise(problem: &Problem, sources: &Sources) -> String {
    let Problem { code, level, message, labels, .. } = problem;
    let place = sources.origin(problem.mark());
    let mut line = format!("{}: {level}[{code}] {}", escaped(&place.to_string()), escaped(message));
    let others: Vec<String> =
        labels[1..].iter().map(|label| sources.origin(label.mark).to_string()).collect();
    if !others.is_empty() {
        line.push_str(&format!(" (also {})", escaped(&others.join(", "))));
    }
    line
}
