//! Holds parsed TOML against the tables of `shape` and reports whatever differs.

pub mod form;
pub mod wrong;

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::inventory;
use super::kind::WITHOUT;
use super::similar::{only_similar, similar};
use super::value::{Field, Table, Value};
use super::{Code, Fields, Form, Kind, Mark, Marked, Problem, Shape, Sources};

/// A tree of TOML keys and values with their byte ranges.
pub type Tree<'a> = DeTable<'a>;

/// Collects what is wrong while it reads one file.
pub struct Checker<'a> {
    pub sources: &'a Sources,
    pub file: u32,
    /// Whether tables may leave settings to others that they are laid over.
    pub partial: bool,
    pub problems: Vec<Problem>,
}

/// What a table is, for messages about it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub fields: &'static Fields,
    /// What a missing setting is missing from: `deployment web-1`.
    pub name: &'a str,
    /// Where to point then.
    pub mark: Mark,
}

impl Subject<'_> {
    /// Whether it is the table of a resource, not one inside of another.
    fn is_resource(&self) -> bool {
        self.name.contains(' ')
    }
}

impl Checker<'_> {
    pub fn mark<T>(&self, spanned: &Spanned<T>) -> Mark {
        Mark::new(self.file, spanned.span())
    }

    /// Reads a table with known keys. Wrong settings are reported and left out.
    pub fn table(&mut self, subject: Subject, tree: &Tree) -> Table {
        let mut table = BTreeMap::new();
        for (key, value) in tree {
            let mark = self.mark(key);
            match subject.fields.key(key.get_ref()) {
                Some(known) => match self.value(&known.shape, known.name, value) {
                    Some(value) => drop(table.insert(known.name.into(), Field { key: mark, value })),
                    None => self.left_out(subject, known.name, value),
                },
                None if key.get_ref() == WITHOUT && self.partial && subject.is_resource() => {
                    if let Some(value) = self.value(&Shape::Several(&Shape::Text(Form::Any)), WITHOUT, value)
                    {
                        table.insert(WITHOUT.into(), Field { key: mark, value });
                    }
                }
                None if key.get_ref().starts_with("x-") => {}
                None => self.unknown(subject, tree, key, value),
            }
        }
        self.missing(subject, tree);
        Table(table)
    }

    /// Adds to the problem that was just found how an inherited setting is left out: `false` is a common try.
    fn left_out(&mut self, subject: Subject, key: &str, value: &Spanned<DeValue>) {
        let can = subject.fields.key(WITHOUT).is_some() || (self.partial && subject.is_resource());
        let is_false = matches!(value.get_ref(), DeValue::Boolean(false));
        if let Some(last) = self.problems.last_mut().filter(|_| can && is_false) {
            last.help.push(format!("what is inherited is left out by `{WITHOUT} = [\"{key}\"]`"));
        }
    }

    fn unknown(
        &mut self,
        subject: Subject,
        tree: &Tree,
        key: &Spanned<std::borrow::Cow<str>>,
        value: &Spanned<DeValue>,
    ) {
        let mark = self.mark(key);
        let name = key.get_ref();
        if self.is_header(value) && subject.is_resource() {
            return self.dotted(subject, &rest(name, value), mark);
        }
        if subject.name == inventory::FILE && Kind::named(name).is_some() {
            let message = format!("{} holds settings, and no {name}", inventory::FILE);
            let problem = Problem::new(Code::UnknownKey, mark, message, "belongs in another file");
            return self
                .problems
                .push(problem.help(format!("put it into a file beside it, as {name}s.toml")));
        }
        let message = format!("{} have no setting called `{}`", subject.fields.plural, plain(name));
        let keys = subject.fields.keys.iter().map(|key| key.name);
        let problem = match similar(name, keys.clone()) {
            Some(near) => {
                let free = only_similar(name, keys).filter(|near| !tree.contains_key(*near));
                let label = format!("did you mean `{near}`?");
                Problem::new(Code::UnknownKey, mark, message, label).fix(mark, free.map(str::to_owned))
            }
            None => Problem::new(Code::UnknownKey, mark, message, "unknown setting")
                .help(format!("the settings are: {}", keys.collect::<Vec<_>>().join(", "))),
        };
        self.problems.push(problem);
    }

    /// Whether a table was written with a header of its own.
    fn is_header(&self, value: &Spanned<DeValue>) -> bool {
        let text = self.sources.text_at(self.mark(value));
        value.get_ref().is_table() && !text.starts_with('{')
    }

    /// `[machine.web-1.example.org]` is a table in a table in a machine called `web-1`.
    fn dotted(&mut self, subject: Subject, rest: &str, mark: Mark) {
        let (kind, name) = subject.name.split_once(' ').unwrap_or(("", subject.name));
        let message = format!("a {kind} has no part called `{}`; dots divide names", plain(rest));
        let problem =
            Problem::new(Code::BadName, mark, message, format!("read as a part of {kind} `{name}`"));
        self.problems.push(
            problem.help(format!("names have no dots: [{kind}.{name}-{}]", plain(&rest.replace('.', "-")))),
        );
    }

    fn missing(&mut self, subject: Subject, tree: &Tree) {
        let known = |name: &str| subject.fields.key(name).is_some() || name.starts_with("x-");
        // A misspelt key was reported already; that something is missing only follows from it.
        if self.partial || tree.keys().any(|key| !known(key.get_ref())) {
            return;
        }
        self.problems.extend(lacks(subject.fields, subject.name, subject.mark, |key| tree.contains_key(key)));
    }

    /// Reads the elements of a list. Lists replace each other: their tables are always whole.
    fn list(&mut self, inner: &Shape, key: &str, array: &DeArray) -> Value {
        let partial = std::mem::take(&mut self.partial);
        let list = array.iter().filter_map(|item| self.value(inner, key, item)).collect();
        self.partial = partial;
        Value::List(list)
    }

    /// Reads one value; `None` after reporting that it is wrong.
    fn value(&mut self, shape: &Shape, key: &str, value: &Spanned<DeValue>) -> Option<Marked<Value>> {
        let mark = self.mark(value);
        let read = match (shape, value.get_ref()) {
            (Shape::Text(form), DeValue::String(text)) => self.form(form, key, text, mark)?,
            (Shape::Integer(least), DeValue::Integer(_)) => self.integer(*least, key, value)?,
            (Shape::Boolean, DeValue::Boolean(flag)) => Value::Boolean(*flag),
            (Shape::List(inner) | Shape::Several(inner), DeValue::Array(array)) => {
                self.list(inner, key, array)
            }
            (Shape::Several(inner), _) => Value::List(vec![self.value(inner, key, value)?]),
            (Shape::TextOr(_), DeValue::String(text)) => self.form(&super::Form::Any, key, text, mark)?,
            (Shape::Table(fields) | Shape::TextOr(fields), DeValue::Table(tree)) => {
                let name = format!("`{key}`");
                Value::Table(self.table(Subject { fields, name: &name, mark }, tree))
            }
            (Shape::Map(inner) | Shape::Variables(inner), DeValue::Table(tree)) => {
                Value::Table(self.map(inner, tree))
            }
            (Shape::Selector, DeValue::Table(tree)) => Value::Table(self.selector(tree)),
            (Shape::Secret, DeValue::Table(_)) => self.anything(key, value)?,
            (Shape::Anything, _) => self.anything(key, value)?,
            _ => return self.wrong_type(shape, key, value),
        };
        if matches!(shape, Shape::Secret) && !matches!(read, Value::Secret(_)) {
            return self.wrong_type(shape, key, value);
        }
        Some(Marked::new(read, mark))
    }

    fn integer(&mut self, least: i64, key: &str, value: &Spanned<DeValue>) -> Option<Value> {
        let number = value.get_ref().as_integer().and_then(to_integer);
        match number.filter(|number| *number >= least) {
            Some(number) => Some(Value::Integer(number)),
            None => {
                let message = format!("`{key}` must be a whole number from {least} to {}", i64::MAX);
                let mark = self.mark(value);
                self.problems.push(Problem::new(Code::BadText, mark, message, "not such a number"));
                None
            }
        }
    }

    fn map(&mut self, inner: &Shape, tree: &Tree) -> Table {
        let mut table = BTreeMap::new();
        for (key, value) in tree {
            let mark = self.mark(key);
            if let Some(value) = self.value(inner, key.get_ref(), value) {
                table.insert(Arc::from(key.get_ref().as_ref()), Field { key: mark, value });
            }
        }
        Table(table)
    }

    /// `{ size = "small" }` and `{ labels = { size = "small" } }` mean the same.
    fn selector(&mut self, tree: &Tree) -> Table {
        match tree.get("labels").map(Spanned::get_ref) {
            Some(DeValue::Table(labels)) if tree.len() == 1 => self.map(&Shape::Text(Form::Any), labels),
            _ => self.map(&Shape::Text(Form::Any), tree),
        }
    }

    /// What a template variable may hold. A table whose only key is `secret` is a secret.
    fn anything(&mut self, key: &str, value: &Spanned<DeValue>) -> Option<Value> {
        match value.get_ref() {
            DeValue::String(text) => Some(Value::Text(text.as_ref().into())),
            DeValue::Boolean(flag) => Some(Value::Boolean(*flag)),
            DeValue::Integer(_) => self.integer(i64::MIN, key, value),
            DeValue::Array(array) => {
                let item = |item| self.value(&Shape::Anything, key, item);
                Some(Value::List(array.iter().filter_map(item).collect()))
            }
            DeValue::Table(tree) => match (tree.len(), tree.get("secret")) {
                (1, Some(name)) => self.secret(name),
                _ => Some(Value::Table(self.map(&Shape::Anything, tree))),
            },
            DeValue::Float(_) | DeValue::Datetime(_) => self.wrong_type(&Shape::Anything, key, value),
        }
    }

    fn secret(&mut self, name: &Spanned<DeValue>) -> Option<Value> {
        let text = name.get_ref().as_str();
        let Some(text) = text else {
            return self.wrong_type(&Shape::Text(Form::Any), "secret", name);
        };
        match text.parse() {
            Ok(name) => Some(Value::Secret(name)),
            Err(error) => {
                let message = format!("`{}` can't be the name of a secret", plain(text));
                let problem = Problem::new(Code::BadName, self.mark(name), message, error.to_string());
                self.problems.push(problem);
                None
            }
        }
    }
}

/// The settings that a table must have and lacks; `has` says whether a setting is there.
pub(super) fn lacks(
    fields: &'static Fields,
    name: &str,
    mark: Mark,
    has: impl Fn(&str) -> bool,
) -> Option<Problem> {
    let mut absent: Vec<_> = fields.keys.iter().filter(|key| key.required && !has(key.name)).collect();
    let mut and = " and ";
    if absent.is_empty() && !fields.either.is_empty() && !fields.either.iter().any(|key| has(key)) {
        absent = fields.keys.iter().filter(|key| fields.either.contains(&key.name)).collect();
        and = " or ";
    }
    if absent.is_empty() {
        return None;
    }
    let names = absent.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(and);
    let message = format!("{name} has no {names}");
    let problem = Problem::new(Code::MissingKey, mark, message, format!("{names} must be set"));
    let help = absent.iter().map(|key| format!("`{}`: {}", key.name, key.about));
    Some(help.fold(problem, Problem::help))
}

fn to_integer(integer: &toml::de::DeInteger) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The rest of a dotted header, as far as it is one line of tables.
fn rest(key: &str, value: &Spanned<DeValue>) -> String {
    let mut rest = key.to_owned();
    let mut value = value.get_ref();
    while let Some((key, inner)) =
        value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next())
    {
        if !inner.get_ref().is_table() {
            break;
        }
        rest = format!("{rest}.{}", key.get_ref());
        value = inner.get_ref();
    }
    rest
}

/// A text short enough to be repeated in a message.
pub fn plain(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
