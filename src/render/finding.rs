//! Findings about a rendered answer file.

use super::RenderError;

/// What happens to an installation because of something in its answer file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The program that reads the file stops with an error, or leaves the file out.
    Refused,
    /// The file is read, and probably does not mean what its author wanted.
    Doubtful,
    /// The installer stops and asks a person.
    Asks,
}

/// One finding about a rendered answer file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// Where, and a sentence without a full stop.
    pub error: RenderError,
}

fn place(line: usize, column: usize, message: impl Into<String>) -> RenderError {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RenderError { line: narrow(line), column: narrow(column), message: message.into() }
}

pub(super) fn refused(line: usize, column: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Refused, error: place(line, column, message) }
}

pub(super) fn doubtful(line: usize, column: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Doubtful, error: place(line, column, message) }
}

pub(super) fn asks(line: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Asks, error: place(line, 1, message) }
}
