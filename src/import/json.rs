//! JSON as Kea reads it: with comments (`//`, `#`, `/* */`), commas behind the last member, and `<?include "FILE"?>`; each
//! value with its line.

use std::sync::Arc;

use super::{DEEPEST, FILES_MAX, Files, Line};

/// Values within values go no deeper.
const NESTED_MAX: usize = 64;

/// A value and the line that it begins in.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) line: Line,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Value>),
    /// In the order of the file.
    Map(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        match &self.kind {
            Kind::Map(members) => members.iter().find(|(own, _)| own == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn members(&self) -> &[(String, Value)] {
        match &self.kind {
            Kind::Map(members) => members,
            _ => &[],
        }
    }

    pub(super) fn list(&self) -> &[Value] {
        match &self.kind {
            Kind::List(all) => all,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match &self.kind {
            Kind::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn is(&self, wanted: bool) -> bool {
        matches!(self.kind, Kind::Bool(own) if own == wanted)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Null => true,
            Kind::Text(text) => text.is_empty(),
            Kind::List(all) => all.is_empty(),
            Kind::Map(all) => all.is_empty(),
            Kind::Bool(_) | Kind::Number(_) => false,
        }
    }
}

/// Reads one value, which is the whole file.
///
/// # Errors
///
/// The line, and what is wrong there.
pub(super) fn read(path: &str, text: &str, files: &dyn Files) -> Result<Value, (Line, String)> {
    let mut count = 0;
    whole(path, text, files, 0, &mut count)
}

fn whole(
    path: &str,
    text: &str,
    files: &dyn Files,
    depth: usize,
    count: &mut usize,
) -> Result<Value, (Line, String)> {
    let mut reader = Reader { file: path.into(), rest: text, number: 1, files, depth, count };
    let value = reader.value(0)?;
    reader.blank()?;
    match reader.rest.is_empty() {
        true => Ok(value),
        false => Err(reader.wrong("something stands behind the end")),
    }
}

struct Reader<'a> {
    file: Arc<str>,
    rest: &'a str,
    number: u32,
    files: &'a dyn Files,
    depth: usize,
    count: &'a mut usize,
}

type Result1<T> = Result<T, (Line, String)>;

impl<'a> Reader<'a> {
    fn line(&self) -> Line {
        Line { file: self.file.clone(), number: self.number }
    }

    fn wrong(&self, what: &str) -> (Line, String) {
        (self.line(), what.to_owned())
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (gone, rest) = self.rest.split_at(bytes);
        let lines = gone.bytes().filter(|byte| *byte == b'\n').count();
        self.number = self.number.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
        gone
    }

    /// Blanks and comments.
    fn blank(&mut self) -> Result1<()> {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.skip(blanks);
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.skip(end);
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or_else(|| self.wrong("a comment does not end"))?;
                self.skip(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn takes(&mut self, what: char) -> Result1<bool> {
        self.blank()?;
        let is_there = self.rest.starts_with(what);
        if is_there {
            self.skip(what.len_utf8());
        }
        Ok(is_there)
    }

    fn value(&mut self, nested: usize) -> Result1<Value> {
        if nested > NESTED_MAX {
            return Err(self.wrong("values are nested too deep"));
        }
        self.blank()?;
        let line = self.line();
        let kind = match self.rest.chars().next() {
            Some('{') => self.map(nested)?,
            Some('[') => self.list(nested)?,
            Some('"') => Kind::Text(self.string()?),
            Some('<') => return self.include(),
            Some(_) => self.word()?,
            None => return Err(self.wrong("a value is missing at the end")),
        };
        Ok(Value { line, kind })
    }

    fn map(&mut self, nested: usize) -> Result1<Kind> {
        self.skip(1);
        let mut members = Vec::new();
        loop {
            if self.takes('}')? {
                return Ok(Kind::Map(members));
            }
            if !self.rest.starts_with('"') {
                return Err(self.wrong("a name in quotes is missing"));
            }
            let name = self.string()?;
            if !self.takes(':')? {
                return Err(self.wrong("a colon is missing behind a name"));
            }
            members.push((name, self.value(nested + 1)?));
            if !self.takes(',')? && !self.rest.starts_with('}') {
                return Err(self.wrong("a comma is missing"));
            }
        }
    }

    fn list(&mut self, nested: usize) -> Result1<Kind> {
        self.skip(1);
        let mut all = Vec::new();
        loop {
            if self.takes(']')? {
                return Ok(Kind::List(all));
            }
            all.push(self.value(nested + 1)?);
            if !self.takes(',')? && !self.rest.starts_with(']') {
                return Err(self.wrong("a comma is missing"));
            }
        }
    }

    fn string(&mut self) -> Result1<String> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if end >= bytes.len() {
            return Err(self.wrong("a text does not end"));
        }
        let written = &self.rest[..=end];
        let text = serde_json::from_str(written).map_err(|_| self.wrong("this is no text of JSON"))?;
        self.skip(end + 1);
        Ok(text)
    }

    fn word(&mut self) -> Result1<Kind> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let kind = match &self.rest[..end] {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => Kind::Null,
            number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                Kind::Number(number.to_owned())
            }
            _ => return Err(self.wrong("this is no value of JSON")),
        };
        self.skip(end);
        Ok(kind)
    }

    fn include(&mut self) -> Result1<Value> {
        let what = "an inclusion is written <?include \"FILE\"?>";
        let Some(rest) = self.rest.strip_prefix("<?include") else { return Err(self.wrong(what)) };
        let end = rest.find("?>").ok_or_else(|| self.wrong(what))?;
        let path: String = serde_json::from_str(rest[..end].trim()).map_err(|_| self.wrong(what))?;
        *self.count += 1;
        if self.depth >= DEEPEST || *self.count > FILES_MAX {
            return Err(self.wrong("too many files within files"));
        }
        let text = self.files.read(&path).map_err(|why| {
            let why = format!("{} is not read: {why}", super::shown(&path));
            (self.line(), why)
        })?;
        let value = whole(&path, &text, self.files, self.depth + 1, self.count)?;
        self.skip("<?include".len() + end + 2);
        Ok(value)
    }
}
