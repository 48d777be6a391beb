//! The files that marks point into.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Mark;
use crate::model::Origin;

/// The files of one revision, in order of their paths.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    /// What the paths of each source begin with, where one revision is made of several sources;
    /// the settings of the first one lead.
    roots: Vec<Arc<str>>,
}

/// One file; its text and lines are worked out when first asked for.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: Arc<str>,
    pub bytes: Bytes,
    text: OnceLock<Option<Arc<str>>>,
    lines: OnceLock<Box<[u32]>>,
}

/// Line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Sources {
    pub fn new(files: &BTreeMap<Arc<str>, Bytes>) -> Sources {
        let source = |(name, bytes): (&Arc<str>, &Bytes)| Source {
            name: name.clone(),
            bytes: bytes.clone(),
            text: OnceLock::new(),
            lines: OnceLock::new(),
        };
        Sources { files: files.iter().map(source).collect(), roots: Vec::new() }
    }

    /// Files of several sources: each path begins with one of `roots`.
    pub fn of_several(files: &BTreeMap<Arc<str>, Bytes>, roots: &[Arc<str>]) -> Sources {
        Sources { roots: roots.to_vec(), ..Sources::new(files) }
    }

    /// What the path of this file begins with before its path inside its source; empty where
    /// there is one source.
    pub fn root(&self, file: u32) -> &str {
        let name = &*self.get(file).name;
        self.roots.iter().map(|root| &**root).find(|root| name.starts_with(root)).unwrap_or_default()
    }

    /// The root of the source whose settings lead.
    pub fn leading(&self) -> &str {
        self.roots.first().map_or("", |root| root)
    }

    /// The file's path inside its source.
    pub fn inside(&self, file: u32) -> &str {
        &self.get(file).name[self.root(file).len()..]
    }

    /// The number of the file at this path in the source of the file `beside`.
    pub fn find_beside(&self, beside: u32, path: &str) -> Option<u32> {
        match self.root(beside) {
            "" => self.find(path),
            root => self.find(&format!("{root}{path}")),
        }
    }

    /// The number of the file at this path in whichever source has it.
    pub fn find_any(&self, path: &str) -> Option<u32> {
        let elsewhere = || self.roots.iter().find_map(|root| self.find(&format!("{root}{path}")));
        self.find(path).or_else(elsewhere)
    }

    /// Every file with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Source)> {
        self.files.iter().enumerate().map(|(index, source)| (index as u32, source))
    }

    /// The number of the file at this path.
    pub fn find(&self, name: &str) -> Option<u32> {
        let found = self.files.binary_search_by(|source| (*source.name).cmp(name)).ok()?;
        u32::try_from(found).ok()
    }

    /// The file a mark points into.
    ///
    /// # Panics
    /// With a number that did not come from these sources.
    pub fn get(&self, file: u32) -> &Source {
        &self.files[file as usize]
    }

    /// What is written at a mark; empty where the file is no text.
    pub fn text_at(&self, mark: Mark) -> &str {
        let text = self.get(mark.file).text().unwrap_or_default();
        text.get(mark.range()).unwrap_or_default()
    }

    pub fn origin(&self, mark: Mark) -> Origin {
        let source = self.get(mark.file);
        let Position { line, column } = source.position(mark.start as usize);
        Origin { file: source.name.clone(), line, column }
    }
}

impl Source {
    /// The file as text, without a byte order mark at its beginning being taken away; `None`
    /// unless it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        let decode = || std::str::from_utf8(&self.bytes).ok().map(Arc::from);
        self.text.get_or_init(decode).as_deref()
    }

    /// Line and column of a byte offset; offsets behind the end count as the end.
    pub fn position(&self, offset: usize) -> Position {
        let text = self.text().unwrap_or_default();
        let offset = floor(text, offset);
        let line = self.lines().partition_point(|start| *start as usize <= offset).max(1);
        let start = self.lines().get(line - 1).map_or(0, |start| *start as usize);
        let column = text[start..offset].chars().count() + 1;
        Position { line: line as u32, column: column as u32 }
    }

    /// Byte range from a line and column to the end of the word there.
    pub fn word_at(&self, position: Position) -> std::ops::Range<usize> {
        let text = self.text().unwrap_or_default();
        let line = (position.line as usize).clamp(1, self.lines().len().max(1));
        let start = self.lines().get(line - 1).map_or(0, |start| *start as usize);
        let rest = text[start..].lines().next().unwrap_or_default();
        let skipped = rest.chars().take((position.column as usize).saturating_sub(1));
        let from = start + skipped.map(char::len_utf8).sum::<usize>();
        let word = text[from..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
        let length = word.unwrap_or(text.len() - from);
        from..(from + length.max(usize::from(from < start + rest.len())))
    }

    /// All of a line, counted from 1, without its line break; `file` is this file's number.
    pub fn line(&self, file: u32, line: u32) -> Mark {
        let text = self.text().unwrap_or_default();
        let start =
            self.lines().get((line as usize).saturating_sub(1)).map_or(text.len(), |start| *start as usize);
        let length = text[start..].lines().next().unwrap_or_default().len();
        Mark::new(file, start..start + length)
    }

    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let bytes = self.text().unwrap_or_default().bytes().enumerate();
            let starts = bytes.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
            std::iter::once(0).chain(starts).collect()
        })
    }
}

/// The largest character boundary that is not behind `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &'static str) -> Sources {
        Sources::new(&BTreeMap::from([("a.toml".into(), Bytes::from_static(text.as_bytes()))]))
    }

    #[test]
    fn positions_count_characters() {
        let sources = source("é = 1\nab = \"ü\" # x\n");
        let at = |offset| sources.get(0).position(offset);
        assert_eq!(at(0), Position { line: 1, column: 1 });
        assert_eq!(at(2), Position { line: 1, column: 2 });
        assert_eq!(at(1), Position { line: 1, column: 1 });
        assert_eq!(at(7), Position { line: 2, column: 1 });
        assert_eq!(at(16), Position { line: 2, column: 9 });
        assert_eq!(at(1000), Position { line: 3, column: 1 });
    }

    #[test]
    fn words_are_found_again() {
        let sources = source("é {{ user_hash }}\nx");
        let source = sources.get(0);
        let range = source.word_at(Position { line: 1, column: 6 });
        assert_eq!(&source.text().unwrap()[range], "user_hash");
        assert_eq!(source.word_at(Position { line: 9, column: 9 }).end, source.bytes.len());
    }
}
