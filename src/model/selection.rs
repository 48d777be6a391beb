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
    glob(pattern, name)
}

/// Whether a text is one that a pattern stands for: `*` is any letters, `?` is one. Takes at most the product of both
/// lengths, whatever the pattern.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // The last star, and how far the text was when it was met: it takes one letter more after each failure.
    let mut star = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((place, from)) = star else { return false };
                star = Some((place, from + 1));
                (at, read) = (place + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
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
            ("*-1*2", "web-1-12", true),
            ("a*b*c", "a-b-b", false),
            ("**", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, name), right, "{pattern} {name}");
        }
    }
}
