//! How much of a plan is shown, and how on a terminal.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use clap::Args;

use super::{Exit, exit};
use crate::plan::report::View;

#[derive(Args, Clone, Copy, Debug)]
pub struct Shown {
    /// Show every change by itself, also those that are the same for many machines
    #[arg(long, conflicts_with = "summary")]
    details: bool,
    /// Show what changes, without the diffs
    #[arg(long)]
    summary: bool,
}

impl Shown {
    pub fn view(self) -> View {
        match (self.details, self.summary) {
            (true, _) => View::Details,
            (_, true) => View::Summary,
            _ => View::Folded,
        }
    }
}

/// Prints a text that may be long: on a terminal by the pager that VOLDEMORT_PAGER or PAGER names, else by less. An
/// empty one is none.
pub fn page(text: &str) -> Exit {
    let named = ["VOLDEMORT_PAGER", "PAGER"].iter().find_map(std::env::var_os);
    let pager = named.unwrap_or_else(|| "less".into());
    if pager.is_empty() || pager == "cat" || !std::io::stdout().is_terminal() {
        return exit::print(text);
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // It ends by itself where all fits on the screen, and leaves it there.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return exit::print(text) };
    if let Some(mut input) = child.stdin.take() {
        // A pager that is left early reads no more.
        let _ = input.write_all(text.as_bytes());
    }
    match child.wait().ok().and_then(|status| status.code()) {
        // The shell did not find it.
        Some(126 | 127) | None => exit::print(text),
        Some(_) => Exit::Done,
    }
}
