//! The engine behind `Text`: liquid, with positions put back into its errors.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use liquid_core::model::Object;
use liquid_core::runtime::RuntimeBuilder;
use liquid_core::{Language, Renderable, Runtime, Template, parser};
use liquid_lib::stdlib;

use super::meter::{self, LARGEST_OUTPUT, Limited, Meter};
use super::place::place;
use super::scan::{Piece, Scan, Tag};
use super::scope::{self, Globals, Memory, Scope};
use super::{RenderError, Use, Value};
use crate::render::{filter, near};

/// A template the engine can run.
pub(super) struct Program {
    template: Template,
    texts: Arc<[String]>,
    tags: Vec<Tag>,
    /// Names of variables from outside, each once, in order.
    wanted: Vec<String>,
    /// What it read of values that renders share.
    memory: Memory,
    /// Names that the template makes itself.
    own: BTreeSet<String>,
    plain: Option<Vec<Piece>>,
}

/// Longest text that is put together without the engine.
const LONGEST_PLAIN: usize = 64 << 10;

/// What the engine is given to parse with; the same for all.
fn language() -> &'static Language {
    static LANGUAGE: OnceLock<Language> = OnceLock::new();
    LANGUAGE.get_or_init(|| {
        let mut language = Language::empty();
        language.blocks.register("if".to_owned(), stdlib::IfBlock.into());
        language.blocks.register("unless".to_owned(), stdlib::UnlessBlock.into());
        language.blocks.register("case".to_owned(), stdlib::CaseBlock.into());
        language.blocks.register("for".to_owned(), stdlib::ForBlock.into());
        language.tags.register("break".to_owned(), stdlib::BreakTag.into());
        language.tags.register("continue".to_owned(), stdlib::ContinueTag.into());
        meter::register(&mut language);
        filter::register(&mut language);
        language
    })
}

/// The message about an undefined variable.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    format!("unknown variable `{name}`{}", near::hint(name, known))
}

/// Runs the engine. It has panics of its own; none may end the daemon.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("liquid can't handle this".to_owned()))
}

fn parse(program: &str) -> Result<Template, String> {
    guarded(|| {
        parser::parse(program, language()).map(Template::new).map_err(|error| plain(&error.to_string()))
    })
}

impl Program {
    pub(super) fn compile(source: &str, scan: Scan) -> Result<Program, RenderError> {
        let template = parse(&scan.program).map_err(|message| blame(source, &scan.tags, message))?;
        let Scan { program: _, texts, tags, free, mut own, mut loops, plain } = scan;
        own.append(&mut loops);
        let wanted: BTreeSet<String> = free.into_iter().map(|access| access.name).collect();
        let (wanted, memory) = (wanted.into_iter().collect(), Memory::default());
        Ok(Program { template, texts: texts.into(), tags, wanted, memory, own, plain })
    }

    /// The variables from outside, each once.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// What the engine would make of a template of a few texts and bare variables, if those are no
    /// more than text, numbers or truths: most words of a command line are that.
    fn fill(&self, values: Scope<'_>) -> Option<String> {
        let mut filled = String::new();
        for piece in self.plain.as_ref()? {
            match piece {
                Piece::Text(number) => filled.push_str(self.texts.get(*number)?),
                Piece::Variable(name) => match values.get(name)? {
                    Value::String(text) => filled.push_str(text),
                    Value::Integer(number) => filled.push_str(&number.to_string()),
                    Value::Boolean(truth) => filled.push_str(if *truth { "true" } else { "false" }),
                    Value::List(_) | Value::Table(_) | Value::Secret(_) => return None,
                },
            }
            if filled.len() > LONGEST_PLAIN {
                return None;
            }
        }
        Some(filled)
    }

    pub(super) fn run(
        &self,
        source: &str,
        uses: &[Use],
        values: Scope<'_>,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, RenderError> {
        if let Some(filled) = self.fill(values) {
            return Ok(filled);
        }
        self.execute(source, uses, values, secrets)
    }

    /// The same by the engine.
    pub(super) fn execute(
        &self,
        source: &str,
        uses: &[Use],
        values: Scope<'_>,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, RenderError> {
        let shared = values.shared().map(|shared| self.memory.converted(shared, &self.wanted));
        let all: Vec<usize>;
        let others = match &shared {
            Some(shared) => &shared.others,
            None => {
                all = (0..self.wanted.len()).collect();
                &all
            }
        };
        if let Some(missing) = others.iter().find(|at| values.get(&self.wanted[**at]).is_none()) {
            // The first in the text, of all that are missing.
            let first = uses.iter().find(|found| values.get(&found.name).is_none());
            let (line, column) = first.map_or((1, 1), |found| (found.line, found.column));
            let name = first.map_or(&self.wanted[*missing], |found| &found.name);
            return Err(RenderError { line, column, message: unknown(name, values.names()) });
        }
        let mut revealed = Vec::new();
        let mut fill = |name: &str, value: &Value| {
            convert(value, secrets, &mut revealed).map_err(|secret| {
                let place = uses.iter().find(|found| found.name == name);
                let (line, column) = place.map_or((1, 1), |found| (found.line, found.column));
                RenderError { line, column, message: format!("there is no secret `{secret}` here") }
            })
        };
        let mut own = vec![None; self.wanted.len()];
        for (name, value) in values.own() {
            if let Ok(at) = self.wanted.binary_search(name) {
                own[at] = Some(fill(name, value)?);
            }
        }
        for at in others {
            let name = &self.wanted[*at];
            if let Some(value) = values.get(name).filter(|_| own[*at].is_none()) {
                own[*at] = Some(fill(name, value)?);
            }
        }
        let weight = scope::weight(&self.wanted, &own) + shared.as_ref().map_or(0, |shared| shared.weight);
        let shared = shared.as_ref().map(|shared| shared.values.as_slice());
        let globals = Globals { names: &self.wanted, own, shared };
        let runtime = RuntimeBuilder::new().set_globals(&globals).build();
        *runtime.registers().get_mut::<Meter>() = Meter::new(Arc::clone(&self.texts), weight);
        let mut out = Limited::new(LARGEST_OUTPUT);
        let outcome =
            guarded(|| self.template.render_to(&mut out, &runtime).map_err(|error| error.to_string()));
        let text = outcome.and_then(|()| String::from_utf8(out.bytes).map_err(|error| error.to_string()));
        text.map_err(|report| {
            let tag = runtime.registers().get_mut::<Meter>().tag;
            let report = if out.full { "the text grows over 16 MiB".to_owned() } else { report };
            self.explain(source, tag, &report, values, &revealed)
        })
    }

    /// Finds the use that the engine's report is about.
    fn explain(
        &self,
        source: &str,
        tag: usize,
        report: &str,
        values: Scope<'_>,
        revealed: &[String],
    ) -> RenderError {
        let mut offset = self.tags.get(tag).map_or(0, |tag| tag.offset);
        let followers = self.tags.get(tag).into_iter().flat_map(|tag| &tag.followers);
        let tags = [tag].into_iter().chain(followers.copied()).filter_map(|tag| self.tags.get(tag));
        let mut accesses = tags.flat_map(|tag| &tag.accesses);
        let context = |key: &str| context(report, key);
        let mut message = plain(report);
        if let Some(name) = context("requested variable") {
            if let Some(found) = accesses.find(|access| access.name == name) {
                offset = found.offset;
            }
            let known: BTreeSet<&str> = values.names().chain(self.own.iter().map(String::as_str)).collect();
            message = unknown(name, known.iter().copied().filter(|known| *known != name));
        } else if let (Some(parent), Some(member)) = (context("variable"), context("requested index")) {
            let root = parent.split('.').next().unwrap_or(parent);
            let direct = accesses.clone().find_map(|access| {
                let path = access.members.iter().find(|(name, _)| name == member)?;
                (access.name == root).then_some(path.1)
            });
            let near = || accesses.clone().find(|access| access.name == root).map(|access| access.offset);
            offset = direct.or_else(near).unwrap_or(offset);
            let known = context("available indexes").unwrap_or_default();
            let known: BTreeSet<&str> = known.split(", ").filter(|known| !known.is_empty()).collect();
            message =
                format!("`{parent}` has no member `{member}`{}", near::hint(member, known.iter().copied()));
        }
        for secret in revealed.iter().filter(|secret| !secret.is_empty()) {
            message = message.replace(secret.as_str(), "(secret)");
        }
        let (line, column) = place(source, offset);
        RenderError { line, column, message }
    }
}

/// Finds the tag the engine can't parse.
fn blame(source: &str, tags: &[Tag], message: String) -> RenderError {
    let failing = |tag: &Tag| parse(&tag.alone).err().map(|message| (tag.offset, message));
    let (offset, message) = tags.iter().find_map(failing).unwrap_or((0, message));
    let (line, column) = place(source, offset);
    RenderError { line, column, message }
}

/// The value behind `key=` in a report of the engine.
fn context<'a>(report: &'a str, key: &str) -> Option<&'a str> {
    report.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix('='))
}

/// The engine's first sentence, and the last line of a parse error, which says what is wrong.
fn plain(report: &str) -> String {
    let first = report.lines().next().unwrap_or_default();
    let first = first.strip_prefix("liquid: ").unwrap_or(first).trim();
    if !first.starts_with("-->") {
        return first.to_owned();
    }
    let reason = report.lines().find_map(|line| line.trim_start().strip_prefix("= "));
    reason.unwrap_or("this can't be parsed").to_owned()
}

/// Converts to the engine's values. The texts of secrets are also added to `revealed`; the error is the
/// name of a secret that is not known.
pub(super) fn convert(
    value: &Value,
    secrets: &dyn Fn(&str) -> Option<String>,
    revealed: &mut Vec<String>,
) -> Result<liquid_core::Value, String> {
    use liquid_core::Value as Engine;
    Ok(match value {
        Value::String(text) => Engine::scalar(text.clone()),
        Value::Integer(number) => Engine::scalar(*number),
        Value::Boolean(truth) => Engine::scalar(*truth),
        Value::List(items) => Engine::Array(
            items.iter().map(|item| convert(item, secrets, revealed)).collect::<Result<_, _>>()?,
        ),
        Value::Table(members) => {
            let mut object = Object::new();
            for (name, member) in members {
                object.insert(name.clone().into(), convert(member, secrets, revealed)?);
            }
            Engine::Object(object)
        }
        Value::Secret(name) => {
            let text = secrets(name).ok_or_else(|| name.clone())?;
            revealed.push(text.clone());
            Engine::scalar(text)
        }
    })
}
