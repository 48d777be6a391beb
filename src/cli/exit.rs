//! Exit codes and output of commands. The numbers are stable, for scripts.

use std::ffi::OsString;
use std::process::ExitCode;

use serde::Serialize;

use crate::model::printable;

/// What a command that was asked for JSON prints when it fails.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Invalid manifests, or an operation that failed.
    Failed,
    /// Only with `--detailed-exitcode`: there are changes.
    Changes,
    /// Refused by a safety rule.
    Refused,
    /// The plan was made for another state.
    Stale,
    /// No daemon or repository answers, or a wait timed out.
    Unreachable,
    /// The daemon may not do this, or not for this caller.
    NotAllowed,
    Interrupted,
    /// Wrong usage; not clap's own 2, which means that there are changes.
    Usage,
}

impl Exit {
    /// The outcome of a command that did its work so, and then printed what became of it.
    pub fn and(self, printed: Exit) -> Exit {
        if self == Exit::Done { printed } else { self }
    }

    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Changes => 2,
            Exit::Refused => 3,
            Exit::Stale => 4,
            Exit::Unreachable => 5,
            Exit::NotAllowed => 6,
            Exit::Usage => 64,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        exit.code().into()
    }
}

/// Prints clap's message about a command line: help and version to stdout, mistakes to stderr, and to
/// stdout as JSON if the line asks for JSON.
pub fn usage(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let printed = error.print();
    if !error.use_stderr() {
        return match printed {
            // A closed pipe is no error.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                talk(&format!("can't write to stdout: {error}"));
                Exit::Failed
            }
            _ => Exit::Done,
        };
    }
    // A program that asked for JSON reads nothing else.
    if asks_json(arguments) {
        let words = error.render().to_string();
        let first = words.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
        let line = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let _ = print_failure(&line);
    }
    Exit::Usage
}

/// Whether a command line that can't be parsed asks for JSON.
fn asks_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let flag = |word: &str| matches!(word, "-o" | "--output" | "--format");
    let json = |word: &str| matches!(word, "json" | "jsonl");
    let joined = |word: &str| {
        let value = ["--output=", "--format=", "-o=", "-o"].iter().find_map(|flag| word.strip_prefix(flag));
        value.is_some_and(json)
    };
    words.windows(2).any(|pair| flag(pair[0]) && json(pair[1])) || words.iter().any(|word| joined(word))
}

/// Prints why a command failed, on stdout as JSON if JSON was asked for.
pub fn failed(why: &str, json: bool) -> Exit {
    if json {
        let _ = print_failure(why);
    }
    talk(why);
    Exit::Failed
}

/// One line, which also fits readers of JSON lines.
pub fn print_failure(why: &str) -> Exit {
    let failure = Failure { error: why };
    match serde_json::to_string(&failure) {
        Ok(text) => print(&printable::json(&format!("{text}\n"))),
        Err(_) => Exit::Failed,
    }
}

/// Writes a command's result to stdout as JSON.
#[must_use = "a full disk is a failure of the command"]
pub fn print_json(value: &impl Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&printable::json(&format!("{text}\n"))),
        Err(error) => {
            talk(&error.to_string());
            Exit::Failed
        }
    }
}

/// Prints a text for the person, on stderr. A closed stderr is no error.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let text = text.to_string();
    let _ = writeln!(std::io::stderr(), "{}", printable::lines(&text));
}

/// The same, with the program's name before it.
pub fn talk(text: &str) {
    say(format!("voldemort: {text}"));
}

/// Writes a command's result to stdout.
#[must_use = "a full disk is a failure of the command"]
pub fn print(text: &str) -> Exit {
    write(text).err().unwrap_or(Exit::Done)
}

/// Writes a part of an endless output to stdout.
///
/// # Errors
/// No more can be written, and the command ends with this: as done where the reader of the pipe needs no more, as
/// failed where the disk is full.
pub fn write(text: &str) -> Result<(), Exit> {
    match put(text) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Exit::Done),
        Err(error) => {
            talk(&format!("can't write to stdout: {error}"));
            Err(Exit::Failed)
        }
    }
}

fn put(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
