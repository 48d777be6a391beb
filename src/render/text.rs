//! One compiled template.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value a template can use.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Value>),
    Table(BTreeMap<String, Value>),
    /// The name of a secret; its text is known on the daemon's host alone.
    Secret(String),
}

/// Variables by their name in the template.
pub type Values = BTreeMap<String, Value>;

/// A mistake in a template, or a variable it can't have. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderError {
    pub line: u32,
    pub column: u32,
    pub message: String,
}

/// A compiled template with the text it came from.
#[derive(Clone)]
pub struct Text {
    source: Arc<str>,
}

impl Text {
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template reads this variable.
    pub fn uses(&self, _variable: &str) -> bool {
        todo!()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}
