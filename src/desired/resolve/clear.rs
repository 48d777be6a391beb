//! Secrets that stand in a manifest for everybody to read.

use super::Resolver;
use crate::manifest::{Code, Mark, Marked, Problem, Value};

impl Resolver<'_> {
    /// Values that look like secrets, wherever a variable is set.
    pub(super) fn clear_secrets(&mut self) {
        let documents = self.documents;
        let profiles = documents.profiles.values().map(|own| &own.body.settings);
        let deployments = documents.deployments.values().map(|own| &own.body.settings);
        let set = profiles.chain(deployments).flat_map(|settings| settings.vars.0.values());
        let set: Vec<&Marked<Value>> = set.map(|field| &field.value).collect();
        let templates = documents.templates.values().flat_map(|own| own.body.vars.values());
        let defaults = templates.filter_map(|variable| variable.default.as_ref());
        for value in set.into_iter().chain(defaults) {
            self.clear_secret(value);
        }
    }

    fn clear_secret(&mut self, value: &Marked<Value>) {
        match &value.value {
            Value::Text(text) => {
                if let Some(what) = secret_looks(text) {
                    self.in_clear(
                        value.mark,
                        &format!("{what} stands in clear text"),
                        "for everybody who can read the repository",
                        None,
                    );
                }
            }
            Value::List(list) => list.iter().for_each(|value| self.clear_secret(value)),
            Value::Table(table) => table.0.values().for_each(|field| self.clear_secret(&field.value)),
            _ => {}
        }
    }

    /// Says so once for each place; `declared` is where a template calls it a secret.
    pub(super) fn in_clear(&mut self, mark: Mark, message: &str, label: &str, declared: Option<Mark>) {
        self.silent += 1;
        if !self.mistyped.insert(mark) {
            return;
        }
        let mut problem = Problem::new(Code::ClearText, mark, message, label);
        if let Some(declared) = declared {
            problem = problem.also(declared, "declared here");
        }
        self.problems.push(
            problem.help("write `{ secret = \"NAME\" }`, and the text itself encrypted as secrets/NAME.age"),
        );
    }
}

/// What a text gives away, if anything. A locked password (`!`, `*`) is no secret.
fn secret_looks(text: &str) -> Option<&'static str> {
    /// Prefixes of crypt(5).
    const CRYPT: [&str; 10] = ["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$y$", "$gy$", "$argon2"];
    if text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if text.contains("AGE-SECRET-KEY-1") {
        return Some("an age identity");
    }
    let hash = CRYPT.iter().any(|prefix| text.starts_with(prefix)) && text.matches('$').count() >= 3;
    hash.then_some("a password hash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_looks() {
        assert_eq!(secret_looks("$6$rounds=5000$salt$abcdef"), Some("a password hash"));
        assert_eq!(secret_looks("$y$j9T$salt$abcdef"), Some("a password hash"));
        assert_eq!(secret_looks("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"), Some("a private key"));
        for harmless in ["!", "*", "", "$5 a day", "$6$", "ssh-ed25519 AAAAC3Nza ops@example", "$HOME/bin"] {
            assert_eq!(secret_looks(harmless), None, "{harmless}");
        }
    }
}
