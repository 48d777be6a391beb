//! Secrets: named ones must be there, and what is there must be encrypted as it should. All that
//! can be known without a key; the texts are the daemon's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Resolver, digest};
use crate::desired::Boot;
use crate::manifest::similar::similar;
use crate::manifest::{Code, Level, Mark, Marked, Problem, Source, Value};
use crate::model::Name;
use crate::render::Text;
use crate::secret::{self, FOLDER, RECIPIENTS, Recipients};

impl Resolver<'_> {
    /// Every secret named in a value must be a file of the inventory.
    pub(super) fn secrets(&mut self, value: &Marked<Value>) {
        match &value.value {
            Value::Secret(name) => self.secret(name, value.mark),
            Value::List(list) => list.iter().for_each(|item| self.secrets(item)),
            Value::Table(table) => table.0.values().for_each(|field| self.secrets(&field.value)),
            _ => {}
        }
    }

    fn secret(&mut self, name: &Name, mark: Mark) {
        self.secrets.entry(name.clone()).or_insert(mark);
        let sources = &self.documents.sources;
        let path = secret::path(name);
        if self.desired.secrets.contains_key(name) {
            return;
        }
        if sources.find_any(&path).is_some() {
            self.desired.secrets.insert(name.clone(), digest::secret(name, sources));
            return;
        }
        let message = format!("there is no secret called `{name}`");
        let problem = Problem::new(Code::NoSecret, mark, message, format!("{path} does not exist"));
        let all = sources.iter().filter_map(|(file, _)| secret::name_in(sources.inside(file)));
        let problem = match similar(name.as_str(), all) {
            Some(near) => problem.help(format!("a secret with a similar name exists: `{near}`")),
            None => problem.help(format!("`voldemort secret add {name}` encrypts a text and saves it there")),
        };
        self.problems.push(problem);
    }

    /// Reports a secret that a kernel command line would disclose: boot scripts are readable by every
    /// client, and `/proc/cmdline` by every process. Once for each place it is written.
    pub(super) fn disclosed(&mut self, boot: &Boot, variable: &str, value: &Marked<Value>) {
        if !has_secret(&value.value) {
            return;
        }
        self.silent += 1;
        if !self.mistyped.insert(value.mark) {
            return;
        }
        let Some(own) = self.documents.boots.get(&boot.name) else { return };
        let uses = |text: &Arc<str>| Text::parse(text.clone()).is_ok_and(|text| text.uses(variable));
        let Some(word) = own.body.cmdline.iter().find(|word| uses(&word.value)) else { return };
        let message =
            format!("the command line of boot `{}` would show the secret in `{variable}`", boot.name);
        let problem =
            Problem::new(Code::OpenSecret, word.mark, message, "boot scripts can be read by anybody")
                .also(value.mark, "the secret is set here");
        self.problems.push(
            problem.help("use it in the template of the answer file: that is served to its machine only"),
        );
    }

    /// Looks at every file below `secrets/`.
    pub(super) fn secret_files(&mut self) {
        let documents = self.documents;
        let mut recipients = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (file, source) in documents.sources.iter() {
            let inside = documents.sources.inside(file);
            if !inside.starts_with(FOLDER) {
                continue;
            }
            let mark = Mark::new(file, 0..0);
            match secret::name_in(inside) {
                Some(name) => {
                    if let Some(first) = seen.insert(name, mark) {
                        let message = format!("secret `{name}` is defined twice");
                        let problem = Problem::new(Code::Twice, mark, message, "in this source");
                        self.problems.push(problem.also(first, "and in this one"));
                    }
                    let of_source = recipients.entry(source.path.source());
                    let of_source = of_source.or_insert_with(|| self.recipients(file));
                    self.sealed(name, mark, source, of_source.as_ref());
                    self.unused_secret(name, mark);
                }
                None => self.stray(mark, source),
            }
        }
    }

    /// The recipients of the secrets in the source of the file `beside`; `None` where it names none or is invalid.
    fn recipients(&mut self, beside: u32) -> Option<Recipients> {
        let sources = &self.documents.sources;
        let file = sources.find_beside(beside, RECIPIENTS)?;
        let (recipients, wrong) = Recipients::parse(sources.get(file).text().unwrap_or_default());
        for wrong in &wrong {
            let mark = sources.get(file).line(file, wrong.line);
            let message = format!("line {} of {RECIPIENTS} is no public key", wrong.line);
            let problem = Problem::new(Code::BadRecipient, mark, message, wrong.why);
            // Earlier versions did not look at it where there are several sources, and served them.
            let problem = if sources.leading().is_some() { problem.level(Level::Warning) } else { problem };
            self.problems.push(problem.help("one key of age a line, `age1…`; comments begin with #"));
        }
        (wrong.is_empty() && !recipients.is_empty()).then_some(recipients)
    }

    fn sealed(&mut self, name: &str, mark: Mark, source: &Source, recipients: Option<&Recipients>) {
        let used = name.parse::<Name>().ok().and_then(|name| self.secrets.get(&name).copied());
        let header = match secret::header(&source.bytes) {
            Ok(header) if !header.wants_passphrase() => header,
            wrong => {
                let why = wrong.err().map_or_else(
                    || "it is encrypted with a passphrase, which a daemon has nobody to ask for".to_owned(),
                    |error| error.to_string(),
                );
                let message = format!("the secret `{name}` can't be used: {why}");
                let mut problem = Problem::new(Code::BadSecret, mark, message, "not a secret for a daemon");
                if let Some(used) = used {
                    problem = problem.also(used, "used here");
                }
                self.problems.push(problem.help(format!(
                    "`voldemort secret add {name}` makes it anew, after this file was removed"
                )));
                return;
            }
        };
        let Some(wanted) = recipients.map(Recipients::len) else { return };
        let keys = header.keys();
        if keys != wanted {
            let plural = if keys == 1 { "key" } else { "keys" };
            let message =
                format!("the secret `{name}` is encrypted to {keys} {plural}, and {RECIPIENTS} has {wanted}");
            let problem =
                Problem::new(Code::StaleSecret, mark, message, "encrypted to other people than it should be");
            self.problems
                .push(problem.help("`voldemort secret rotate` encrypts all secrets to the present ones"));
        }
    }

    fn unused_secret(&mut self, name: &str, mark: Mark) {
        let parsed = name.parse::<Name>();
        if self.incomplete() || parsed.as_ref().is_ok_and(|name| self.secrets.contains_key(name)) {
            return;
        }
        let message = format!("nothing uses the secret `{name}`");
        let missing: BTreeSet<&str> = self.secrets.keys().map(Name::as_str).collect();
        let absent = missing
            .into_iter()
            .filter(|used| !self.desired.secrets.keys().any(|known| known.as_str() == *used));
        let problem = Problem::new(Code::UnusedSecret, mark, message, "named by no value");
        self.problems.push(match (parsed, similar(name, absent)) {
            (Err(error), _) => problem.help(format!("and nothing can: {error}")),
            // The reference to it was reported, with this name in its help.
            (_, Some(_)) => return,
            (Ok(_), None) => problem,
        });
    }

    /// A file among the secrets that is none, and most likely a text that should be one.
    fn stray(&mut self, mark: Mark, source: &Source) {
        let file = source.path.inside().strip_prefix(FOLDER).unwrap_or_default();
        let harmless = source.path.inside() == RECIPIENTS
            || file.ends_with(".toml")
            || file.ends_with(".md")
            || file.starts_with("README");
        if harmless {
            return;
        }
        let message = format!("`{}` lies among the secrets and is not encrypted", source.path);
        let problem = Problem::new(
            Code::ClearSecret,
            mark,
            message,
            "everybody who can read the repository can read this",
        );
        self.problems.push(problem.help("`voldemort secret add NAME --from-file FILE` encrypts a text; then remove this file, from git's history too"));
    }
}

fn has_secret(value: &Value) -> bool {
    match value {
        Value::Secret(_) => true,
        Value::List(list) => list.iter().any(|item| has_secret(&item.value)),
        Value::Table(table) => table.0.values().any(|field| has_secret(&field.value.value)),
        _ => false,
    }
}
