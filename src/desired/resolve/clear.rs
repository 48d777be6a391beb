//! Finds secrets in clear text in the files of the inventory.

use std::collections::BTreeSet;

use super::Resolver;
use super::typed::passwords;
use crate::manifest::{Code, Mark, Marked, Problem, Value, is_manifest};
use crate::model::credential;
use crate::render::Kind;
use crate::secret::FOLDER;

impl Resolver<'_> {
    /// Values that look like secrets, wherever a variable is set.
    pub(super) fn clear_secrets(&mut self) {
        let documents = self.documents;
        let profiles = documents.profiles.values().map(|own| &own.body.settings);
        let deployments = documents.deployments.values().map(|own| &own.body.settings);
        let set = profiles.chain(deployments).flat_map(|settings| settings.vars.0.values());
        let set: Vec<&Marked<Value>> = set.map(|field| &field.value).collect();
        let templates = documents.templates.values().flat_map(|own| own.body.vars.values());
        let defaults = templates.filter_map(|variable| variable.value.default.as_ref());
        for value in set.into_iter().chain(defaults) {
            self.clear_secret(value);
        }
        let words = documents.boots.values().flat_map(|own| &own.body.cmdline);
        for word in words.filter(|word| gives_password(&word.value)) {
            self.in_clear(
                word.mark,
                "a password stands in clear text on the command line",
                "every user of the machine reads it in /proc/cmdline, too",
                None,
            );
        }
        self.keys_in_files();
        self.passwords_in_templates();
    }

    /// Passwords that a template spells out; those it takes from variables are judged where they are set.
    fn passwords_in_templates(&mut self) {
        let documents = self.documents;
        let mut files: BTreeSet<(u32, Kind)> = BTreeSet::new();
        for own in documents.templates.values() {
            let file = own
                .body
                .file
                .as_ref()
                .and_then(|file| documents.sources.find_beside(file.mark.file, &file.value));
            let kind = own.body.kind.as_ref().map(|kind| kind.value);
            files.extend(file.zip(kind));
        }
        for (file, kind) in files {
            let text = documents.sources.get(file).text().unwrap_or_default();
            for range in passwords(kind, text) {
                let message = "a password stands in clear text";
                let label = "for everybody who can read the repository";
                self.problems.push(Problem::new(Code::ClearText, Mark::new(file, range), message, label).help(
                    "declare a variable of type \"secret\" in the template's `vars` and write {{ NAME }} here",
                ));
            }
        }
    }

    /// Private keys in any file. Manifests are checked value by value, and the folder of secrets has rules
    /// of its own.
    fn keys_in_files(&mut self) {
        let sources = &self.documents.sources;
        let others = sources.iter().filter(|(file, source)| {
            !is_manifest(source.path.inside()) && !sources.inside(*file).starts_with(FOLDER)
        });
        let found: Vec<Mark> =
            others.filter_map(|(file, source)| Some(Mark::new(file, private_key(source.text()?)?))).collect();
        for mark in found {
            let message = "a private key stands in clear text";
            let label = "for everybody who can read the repository";
            self.problems.push(Problem::new(Code::ClearText, mark, message, label).help(
                "take it out and make a new one: this one is in the history for ever; templates take secrets \
                 as variables of type \"secret\"",
            ));
        }
    }

    fn clear_secret(&mut self, value: &Marked<Value>) {
        match &value.value {
            Value::Text(text) => {
                if let Some(what) = credential::looks(text) {
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

/// Whether words of a command line set a password: `inst.vncpassword=…`,
/// `passwd/root-password=…`. What a template puts there is judged where it comes from.
fn gives_password(words: &str) -> bool {
    let gives = |word: &str| {
        let Some((key, value)) = word.split_once('=') else { return false };
        let key = key.to_ascii_lowercase();
        let named = ["password", "passwd", "passphrase"].iter().any(|name| key.ends_with(name));
        named && !value.starts_with('{') && !matches!(value.trim_matches('"'), "" | "!" | "*")
    };
    words.split_whitespace().any(gives)
}

/// Where the first whole private key begins: a text that only mentions keys holds none.
fn private_key(text: &str) -> Option<std::ops::Range<usize>> {
    const AGE: &str = "AGE-SECRET-KEY-1";
    const PEM: &str = "PRIVATE KEY-----";
    /// Characters of an age key behind its beginning; of a line of base64 that is no accident.
    const AGE_LENGTH: usize = 58;
    const LINE: usize = 16;
    let age = text.match_indices(AGE).find(|(at, _)| {
        let rest = text[at + AGE.len()..].bytes();
        rest.take_while(u8::is_ascii_alphanumeric).count() >= AGE_LENGTH
    });
    let pem = text.match_indices(PEM).find_map(|(at, _)| {
        let begin = text[..at].rfind("-----BEGIN ").filter(|begin| !text[*begin..at].contains('\n'))?;
        let body = text[at + PEM.len()..].trim_start();
        let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        let whole = body.starts_with("Proc-Type:") || body.bytes().take_while(sign).count() >= LINE;
        whole.then_some((begin, at + PEM.len() - begin))
    });
    let age = age.map(|(at, found)| (at, found.len()));
    let (at, length) = [age, pem].into_iter().flatten().min()?;
    Some(at..at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_on_a_command_line_are_told_by_their_names() {
        for word in ["inst.vncpassword=hunter2", "passwd/root-password=x", "quiet passwd=\"a b\""] {
            assert!(gives_password(word), "{word}");
        }
        for word in [
            "passwd/root-password={{ root }}",
            "password=",
            "passwd/user-password-crypted=$6$a$b",
            "passwd/root-password=!",
            "nopassword",
        ] {
            assert!(!gives_password(word), "{word}");
        }
    }

    #[test]
    fn whole_keys_are_found_and_words_about_keys_are_not() {
        let pem = "# x\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n";
        assert_eq!(private_key(pem), Some(4..39));
        let age = format!("# key\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58));
        assert_eq!(private_key(&age), Some(6..22));
        for harmless in [
            "",
            "files that hold -----BEGIN PRIVATE KEY----- and so on",
            "AGE-SECRET-KEY-1…",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZI\n",
            "grep -q 'PRIVATE KEY-----' abcdefghijklmnopqrst",
        ] {
            assert_eq!(private_key(harmless), None, "{harmless}");
        }
    }
}
