//! TOML and JSON as one kind of tree, with positions where the format has them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::Problem;
use crate::model::similar::similar;

/// Most problems reported for one file: a file of another format has one at every byte.
const PROBLEMS_MAX: usize = 20;

/// A value and where it starts, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Node {
    at: Option<usize>,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, (Option<usize>, Node)>),
    Other(&'static str),
}

/// The tree of a whole file, or its syntax errors.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str(text) {
            Ok(value) => Ok(from_json(value)),
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                Err(vec![Problem { at: Some((error.line(), error.column())), message }])
            }
        };
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(from_table(Some(0), table.into_inner()));
    }
    let problem = |error: &toml::de::Error| (error.span().map(|span| span.start), error.message().to_owned());
    Err(sorted(text, errors.iter().map(problem).collect()))
}

/// Problems in the order of their places in the text, as people read them.
fn sorted(text: &str, mut found: Vec<(Option<usize>, String)>) -> Vec<Problem> {
    found.sort_by_key(|(at, _)| *at);
    let more = found.len().saturating_sub(PROBLEMS_MAX);
    found.truncate(PROBLEMS_MAX);
    let place = |(at, message): (Option<usize>, String)| {
        let at = at.map(|offset| position(text, offset));
        Problem { at, message: shown(&message) }
    };
    let mut problems: Vec<Problem> = found.into_iter().map(place).collect();
    if more > 0 {
        problems.push(Problem { at: None, message: format!("and {more} more") });
    }
    problems
}

/// The message made printable: keys and values can hold any character.
fn shown(message: &str) -> String {
    let safe = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    message.chars().map(safe).collect()
}

/// Line and column of a byte offset, counted from 1, columns in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

fn from_table(at: Option<usize>, table: DeTable<'_>) -> Node {
    let entry = |(key, value): (toml::Spanned<std::borrow::Cow<'_, str>>, toml::Spanned<DeValue<'_>>)| {
        let key_at = key.span().start;
        (key.into_inner().into_owned(), (Some(key_at), from_toml(value)))
    };
    Node { at, value: Value::Table(table.into_iter().map(entry).collect()) }
}

fn from_toml(spanned: toml::Spanned<DeValue<'_>>) -> Node {
    let at = Some(spanned.span().start);
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("a number that is too large"),
        },
        DeValue::Array(list) => Value::List(list.into_iter().map(from_toml).collect()),
        DeValue::Table(table) => return from_table(at, table),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { at, value }
}

fn from_json(value: serde_json::Value) -> Node {
    let value = match value {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::Other("a fraction"),
        },
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(table) => {
            Value::Table(table.into_iter().map(|(key, value)| (key, (None, from_json(value)))).collect())
        }
        serde_json::Value::Bool(flag) => Value::Flag(flag),
        serde_json::Value::Null => Value::Other("null"),
    };
    Node { at: None, value }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

/// Collects the problems of one file.
pub(super) struct Complaints<'t> {
    text: &'t str,
    found: Vec<(Option<usize>, String)>,
}

impl<'t> Complaints<'t> {
    pub(super) fn new(text: &'t str) -> Complaints<'t> {
        Complaints { text, found: Vec::new() }
    }

    /// Adds a problem at this byte of the text.
    pub(super) fn add(&mut self, at: Option<usize>, message: String) {
        self.found.push((at, message));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The first problems in the order of the text, and how many more there are.
    pub(super) fn problems(self) -> Vec<Problem> {
        sorted(self.text, self.found)
    }
}

/// A table that is being read key by key; what is left over at the end is unknown.
pub(super) struct Table {
    name: String,
    /// Where the table itself is written.
    pub at: Option<usize>,
    entries: BTreeMap<String, (Option<usize>, Node)>,
    asked: Vec<&'static str>,
}

/// A value of the kind that was asked for, and where it is written.
pub(super) struct Found<T> {
    pub at: Option<usize>,
    pub value: T,
}

impl Table {
    /// The file's top level.
    pub(super) fn root(node: Node, complaints: &mut Complaints<'_>) -> Table {
        Table::of(String::new(), node, complaints)
    }

    fn of(name: String, node: Node, complaints: &mut Complaints<'_>) -> Table {
        let entries = match node.value {
            Value::Table(entries) => entries,
            other => {
                complaints.add(node.at, format!("`{name}` must be a table, and is {}", other.kind()));
                BTreeMap::new()
            }
        };
        Table { name, at: node.at, entries, asked: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        self.entries.remove(key).map(|(_, node)| node)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether no unread key is left.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key's full name, for messages; the table's own for an empty one.
    pub(super) fn path(&self, key: &str) -> String {
        match (self.name.as_str(), key) {
            ("", key) => key.to_owned(),
            (name, "") => name.to_owned(),
            (name, key) => format!("{name}.{key}"),
        }
    }

    /// The table `key`, whose full name is `name`; `None` if the file has none.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Table> {
        let node = self.take(key)?;
        Some(Table::of(name.to_owned(), node, complaints))
    }

    /// Every entry that is a table, with its key.
    pub(super) fn inner(&mut self, complaints: &mut Complaints<'_>) -> Vec<(Found<String>, Table)> {
        let is_table = |(_, node): &(Option<usize>, Node)| matches!(node.value, Value::Table(_));
        let keys: Vec<String> =
            self.entries.iter().filter(|(_, entry)| is_table(entry)).map(|(key, _)| key.clone()).collect();
        let mut tables = Vec::new();
        for key in keys {
            let name = self.path(&key);
            if let Some((at, node)) = self.entries.remove(&key) {
                tables.push((Found { at, value: key }, Table::of(name, node, complaints)));
            }
        }
        tables
    }

    /// Takes a key whatever its value; where it was written, if it was there.
    pub(super) fn drop(&mut self, key: &'static str) -> Option<Option<usize>> {
        self.take(key).map(|node| node.at)
    }

    pub(super) fn flag(&mut self, key: &'static str, complaints: &mut Complaints<'_>) -> Option<bool> {
        let node = self.take(key)?;
        match node.value {
            Value::Flag(flag) => Some(flag),
            other => {
                let message = format!("`{}` must be true or false, and is {}", self.path(key), other.kind());
                complaints.add(node.at, message);
                None
            }
        }
    }

    /// The table `key`, or every table of a list of them; empty if the file has none.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        name: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Vec<Table> {
        match self.take(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(nodes), .. }) => {
                nodes.into_iter().map(|node| Table::of(name.to_owned(), node, complaints)).collect()
            }
            Some(node) => vec![Table::of(name.to_owned(), node, complaints)],
        }
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Found<String>> {
        let node = self.take(key)?;
        self.as_text(key, node, complaints)
    }

    /// A string that must parse; a complaint names the key.
    pub(super) fn parsed<T>(&mut self, key: &'static str, complaints: &mut Complaints<'_>) -> Option<Found<T>>
    where
        T: FromStr<Err: Display>,
    {
        let Found { at, value } = self.text(key, complaints)?;
        match value.parse() {
            Ok(value) => Some(Found { at, value }),
            Err(error) => {
                complaints.add(at, format!("`{}`: `{value}`: {error}", self.path(key)));
                None
            }
        }
    }

    fn as_text(&self, key: &str, node: Node, complaints: &mut Complaints<'_>) -> Option<Found<String>> {
        match node.value {
            Value::Text(value) => Some(Found { at: node.at, value }),
            other => {
                complaints
                    .add(node.at, format!("`{}` must be a string, and is {}", self.path(key), other.kind()));
                None
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Found<i64>> {
        let node = self.take(key)?;
        match node.value {
            Value::Integer(value) => Some(Found { at: node.at, value }),
            other => {
                complaints
                    .add(node.at, format!("`{}` must be a number, and is {}", self.path(key), other.kind()));
                None
            }
        }
    }

    /// A list of strings.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Vec<Found<String>>> {
        let node = self.take(key)?;
        match node.value {
            Value::List(nodes) => {
                Some(nodes.into_iter().filter_map(|node| self.as_text(key, node, complaints)).collect())
            }
            other => {
                let message =
                    format!("`{}` must be a list of strings, and is {}", self.path(key), other.kind());
                complaints.add(node.at, message);
                None
            }
        }
    }

    /// A string, or a list of strings.
    pub(super) fn text_or_texts(
        &mut self,
        key: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Vec<Found<String>>> {
        let is_text = |(_, node): &(Option<usize>, Node)| matches!(node.value, Value::Text(_));
        match self.entries.get(key).is_some_and(is_text) {
            true => self.text(key, complaints).map(|found| vec![found]),
            false => self.texts(key, complaints),
        }
    }

    /// Adds a problem for every key that was not read.
    pub(super) fn finish(self, complaints: &mut Complaints<'_>) {
        for (key, (at, _)) in &self.entries {
            let help = match similar(key, self.asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            complaints.add(*at, format!("unknown key `{}`; {help}", self.path(key)));
        }
    }
}
