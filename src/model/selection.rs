//! Part of a revision, by the names of what takes part.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Name;

/// Which deployments and machines take part, by name; `*` and `?` stand for other letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Only these; empty: all.
    pub only: Vec<String>,
    /// Not these.
    pub except: Vec<String>,
}

impl Selection {
    pub fn is_all(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// Whether something that is called by any of these names takes part.
    pub fn takes(&self, names: &[&Name]) -> bool {
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| names.iter().any(|name| matches(pattern, name.as_str())))
        };
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |word: &str, list: &[String]| format!("{word} {}", list.join(", "));
        match (self.only.is_empty(), self.except.is_empty()) {
            (true, true) => f.write_str("all"),
            (false, true) => f.write_str(&part("only", &self.only)),
            (true, false) => f.write_str(&part("without", &self.except)),
            (false, false) => write!(f, "{} {}", part("only", &self.only), part("without", &self.except)),
        }
    }
}

/// Whether a name is one that a pattern stands for. A pattern may say what it names: `deployment/web-*`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.rsplit('/').next().unwrap_or(pattern);
    glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, more @ ..]) => glob(rest, more),
        ([letter, rest @ ..], [other, more @ ..]) if letter == other => glob(rest, more),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_globs() {
        for (pattern, name, right) in [
            ("web-1", "web-1", true),
            ("web-*", "web-12", true),
            ("*", "x", true),
            ("deployment/web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("web", "web-1", false),
            ("*-1*", "web-12", true),
        ] {
            assert_eq!(matches(pattern, name), right, "{pattern} {name}");
        }
    }
}
