//! A mistake in an inventory, in its author's words.

use std::fmt;

use super::{Code, Mark};

/// One mistake, with every place that has to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub code: Code,
    pub level: Level,
    /// One sentence that stands alone, without a full stop.
    pub message: String,
    /// The first one is where to look; the others are the other side of the matter.
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    /// The smallest cure.
    pub help: Vec<String>,
    /// The same cure as edits a program can make, all of them together; empty where it takes a
    /// person to decide.
    pub fix: Vec<Edit>,
}

/// The bytes at a mark become another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub mark: Mark,
    pub text: String,
}

/// A place, and what is to be seen there.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub mark: Mark,
    pub text: String,
}

/// How bad it is. Only errors keep an inventory from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Note,
    Warning,
    Error,
}

impl Problem {
    pub fn new(code: Code, mark: Mark, message: impl Into<String>, label: impl Into<String>) -> Problem {
        Problem {
            code,
            level: code.level(),
            message: message.into(),
            labels: vec![Label { mark, text: label.into() }],
            notes: Vec::new(),
            help: Vec::new(),
            fix: Vec::new(),
        }
    }

    pub fn level(mut self, level: Level) -> Problem {
        self.level = level;
        self
    }

    /// Adds another place.
    pub fn also(mut self, mark: Mark, label: impl Into<String>) -> Problem {
        self.labels.push(Label { mark, text: label.into() });
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Problem {
        self.notes.push(note.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }

    /// Adds an edit that cures it, where one is known.
    pub fn fix(mut self, mark: Mark, text: Option<String>) -> Problem {
        self.fix.extend(text.map(|text| Edit { mark, text }));
        self
    }

    /// Where to look first.
    pub fn mark(&self) -> Mark {
        self.labels[0].mark
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}
