//! What was found of one thing.

use std::fmt::Display;

use serde::Serialize;

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Ok,
    /// It could not be looked at.
    Unknown,
    /// The daemon works, but not for everybody, or not for ever.
    Warning,
    /// The daemon, or a part of it, can't work.
    Error,
}

impl Level {
    pub(super) fn text(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Unknown => "unknown",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    /// Which kind of thing: `port`, `interface`, … (docs/reference/doctor.md has the list).
    pub check: &'static str,
    /// Which one: `67/udp`, `eth0`, …
    pub subject: String,
    pub level: Level,
    /// How it is.
    pub found: String,
    /// What to do; always there for warnings and errors.
    pub advice: Option<String>,
}

impl Finding {
    /// Nothing wrong is known of it yet.
    pub(super) fn about(check: &'static str, subject: impl Display) -> Finding {
        Finding { check, subject: subject.to_string(), level: Level::Ok, found: String::new(), advice: None }
    }

    pub(super) fn ok(self, found: impl Into<String>) -> Finding {
        Finding { found: found.into(), ..self }
    }

    pub(super) fn unknown(self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.bad(Level::Unknown, found, advice)
    }

    pub(super) fn warning(self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.bad(Level::Warning, found, advice)
    }

    pub(super) fn error(self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.bad(Level::Error, found, advice)
    }

    fn bad(self, level: Level, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level, found: found.into(), advice: Some(advice.into()), ..self }
    }
}
