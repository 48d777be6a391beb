//! What happened, for people as it happens and for programs at the end.

use std::time::Duration;

use serde::Serialize;

use super::serial::printable;
use crate::cli::exit::say;

/// Everything that happened in a boot, in order.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    entries: Vec<Entry>,
}

/// One line of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Seconds since the machine was switched on.
    pub at: f64,
    pub stage: String,
    pub text: String,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    pub deployment: String,
    pub firmware: &'static str,
    pub accelerator: &'static str,
    /// `done`, `failed`, `timed-out` or `interrupted`.
    pub result: &'static str,
    pub reason: String,
    /// The step that was reached last.
    pub last: &'static str,
    pub seconds: f64,
    pub timeline: &'a [Entry],
}

impl Timeline {
    /// Adds a line and shows it on stderr.
    pub(super) fn add(&mut self, at: Duration, stage: &str, text: &str) {
        let at = (at.as_secs_f64() * 1000.0).round() / 1000.0;
        let entry = Entry { at, stage: stage.into(), text: text.into() };
        say(line(&entry));
        self.entries.push(entry);
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn line(entry: &Entry) -> String {
    format!("{:7.1} s  {:<10}  {}", entry.at, printable(&entry.stage), printable(&entry.text))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_safe() {
        let entry = Entry { at: 12.34, stage: "loader".into(), text: "\x1b[31msnponly.efi".into() };
        assert_eq!(line(&entry), "   12.3 s  loader      snponly.efi");
    }
}
