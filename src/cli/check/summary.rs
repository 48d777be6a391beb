//! The result of a check, on one line.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::inventory::Loaded;
use crate::manifest::{self, Level, Source};

/// `10 errors in 6 of 9 files (0 warnings), checked with 2 environments in 14 ms`
pub(super) fn summary(checked: &Loaded, took: Duration) -> String {
    let count = |level| checked.problems.iter().filter(|problem| problem.level == level).count();
    let faulty = checked.problems.iter().filter(|problem| problem.level == Level::Error);
    let files: BTreeSet<u32> = faulty.map(|problem| problem.mark().file).collect();
    let sources = checked.documents.sources.iter();
    let read =
        |(file, source): &(u32, &Source)| manifest::is_manifest(source.path.inside()) || files.contains(file);
    let all = sources.filter(read).count();
    let (errors, warnings, notes) = (count(Level::Error), count(Level::Warning), count(Level::Note));
    let plural = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    let of = match errors {
        0 => format!("in {}", plural(all, "file")),
        _ => format!("in {} of {}", files.len(), plural(all, "file")),
    };
    let mut rest = plural(warnings, "warning");
    if notes > 0 {
        rest += &format!(", {}", plural(notes, "note"));
    }
    let ms = took.as_millis();
    let deployments = plural(checked.desired.deployments.len(), "deployment");
    let with = match checked.environments.as_slice() {
        [] => String::new(),
        [one] => format!(" with environment {one}"),
        more => format!(" with {} environments", more.len()),
    };
    let what = if errors == 0 { format!(", {deployments}") } else { String::new() };
    // A wrong folder must not look like a correct inventory.
    let none = if all == 0 { "; there is no manifest (*.toml) in this folder" } else { "" };
    format!("{} {of} ({rest}){what}, checked{with} in {ms} ms{none}", plural(errors, "error"))
}
