//! One compiled template.

mod cursor;
mod engine;
pub(crate) mod meter;
mod place;
mod scan;
mod scope;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use place::Places;
pub use scope::Scope;

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

impl fmt::Display for Value {
    /// For people: lists and tables in brackets, of a secret only its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(text) => f.write_str(text),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Boolean(yes) => write!(f, "{yes}"),
            Value::List(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Value::Table(values) => {
                let values: Vec<String> =
                    values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                write!(f, "{{ {} }}", values.join(", "))
            }
            Value::Secret(name) => write!(f, "(secret {name})"),
        }
    }
}

/// Variables by their name in the template.
pub type Values = BTreeMap<String, Value>;

/// A mistake in a template, or a variable it can't have. Line and column count from 1, columns
/// in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct RenderError {
    pub line: u32,
    pub column: u32,
    pub message: String,
}

/// Where a template reads a variable that it does not make itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub name: String,
    pub line: u32,
    pub column: u32,
}

/// A compiled template with the text it came from. Clones share it.
///
/// The language is liquid with `if`, `unless`, `case`, `for`, `break`, `continue`, `assign`, `capture`,
/// `comment` and `raw`. It is strict: an undefined variable is an error, also one that a branch not taken
/// would read. The one place where something may be missing is a member in a bare test: `{% if user.sudo
/// %}`.
#[derive(Clone)]
pub struct Text(Arc<Compiled>);

struct Compiled {
    source: Arc<str>,
    uses: Vec<Use>,
    /// `None` for a text without any tag.
    program: Option<engine::Program>,
}

impl Text {
    /// Compiles a template. The error is the first mistake in it.
    pub fn parse(source: impl Into<Arc<str>>) -> Result<Text, RenderError> {
        let source = source.into();
        if !source.contains("{{") && !source.contains("{%") {
            return Ok(Text(Arc::new(Compiled { source, uses: Vec::new(), program: None })));
        }
        let scan = scan::scan(&source).map_err(|mistake| {
            let (line, column) = place::place(&source, mistake.offset);
            RenderError { line, column, message: mistake.message }
        })?;
        let mut places = Places::new(&source);
        let mut uses = Vec::with_capacity(scan.free.len());
        for access in &scan.free {
            let (line, column) = places.forward(access.offset);
            uses.push(Use { name: access.name.clone(), line, column });
        }
        let program = engine::Program::compile(&source, scan)?;
        Ok(Text(Arc::new(Compiled { source, uses, program: Some(program) })))
    }

    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every use of a variable from outside, in the order of the text. What the template
    /// assigns before, and the variables of its loops, are not among them.
    pub fn variables(&self) -> &[Use] {
        &self.0.uses
    }

    /// The names of those variables, each once, in order.
    pub fn wanted(&self) -> &[String] {
        self.0.program.as_ref().map_or(&[], |program| program.wanted())
    }

    /// Whether the template reads this variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.wanted().binary_search_by(|name| name.as_str().cmp(variable)).is_ok()
    }

    /// Fills in the values. `secrets` knows the text of a secret by its name.
    ///
    /// Ends within bounded time and memory whatever the template does; a result over 16 MiB is
    /// an error.
    pub fn render(
        &self,
        values: &Values,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, RenderError> {
        self.render_in(Scope::of(values), secrets)
    }

    /// The same with values that others share.
    pub fn render_in(
        &self,
        scope: Scope<'_>,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, RenderError> {
        let Some(program) = &self.0.program else { return Ok(self.0.source.to_string()) };
        program.run(&self.0.source, &self.0.uses, scope, secrets)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.0.source == other.0.source
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.source, f)
    }
}

#[cfg(test)]
mod tests;
