//! The files that marks point into.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Mark;
use crate::model::{FilePath, Name, Origin};

/// The files of one revision, in order of their paths and numbered in that order, with gaps:
/// a file keeps its number from one revision to the next, and a new one finds room between its
/// neighbours.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<(u32, Arc<Source>)>,
    /// Where one revision is made of several sources, their names; the settings of the first one lead.
    names: Arc<[Name]>,
}

/// What a source holds: its name where there are several, and its files by their paths in it.
pub type Tree<'a> = (Option<&'a Name>, &'a BTreeMap<Arc<str>, Bytes>);

/// Between the numbers of two files at first: a million of them (`source`'s limit) fit.
const GAP: u32 = 1 << 12;

/// One file; its text and lines are worked out when first asked for.
#[derive(Debug)]
pub struct Source {
    pub path: FilePath,
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
        Sources::default().next([(None, files)], None)
    }

    /// The files of the next revision, which is made of `trees`, in the order of their names; the settings of
    /// `leading`, or else of the first, lead. Files with the same bytes are shared with these sources, and all
    /// that stay keep their numbers if there is room for the new ones between them.
    pub fn next<'a>(&self, trees: impl IntoIterator<Item = Tree<'a>>, leading: Option<&Name>) -> Sources {
        let mut known = self.files.iter().peekable();
        let mut next: Vec<(Option<u32>, Arc<Source>)> = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        for (name, files) in trees {
            names.extend(name.cloned());
            let source = name.map(Name::as_str);
            next.extend(files.iter().map(|(path, bytes)| {
                let place = (source, &**path);
                while known.next_if(|(_, known)| known.place() < place).is_some() {}
                match known.next_if(|(_, known)| known.place() == place) {
                    Some((number, source)) if source.bytes == *bytes => (Some(*number), source.clone()),
                    Some((number, source)) => (Some(*number), Source::new(source.path.clone(), bytes)),
                    None => (None, Source::new(FilePath::new(name, path), bytes)),
                }
            }));
        }
        names.sort_by_key(|name| Some(name) != leading);
        let known: Vec<Option<u32>> = next.iter().map(|(number, _)| *number).collect();
        let numbers = numbered(&known);
        let files = numbers.into_iter().zip(next.into_iter().map(|(_, source)| source)).collect();
        Sources { files, names: names.into() }
    }

    /// The source of this file; `None` for an only one.
    pub fn source(&self, file: u32) -> Option<&Name> {
        let source = self.get(file).path.source()?;
        self.names.iter().find(|name| name.as_str() == source)
    }

    /// The source whose settings lead; `None` for an only one.
    pub fn leading(&self) -> Option<&Name> {
        self.names.first()
    }

    /// How many sources it is made of.
    pub fn count(&self) -> usize {
        self.names.len().max(1)
    }

    /// The file's path inside its source.
    pub fn inside(&self, file: u32) -> &str {
        self.get(file).path.inside()
    }

    /// The number of the file at this path in the source of the file `beside`.
    pub fn find_beside(&self, beside: u32, path: &str) -> Option<u32> {
        self.find_in(self.get(beside).path.source(), path)
    }

    /// The number of the file at this path in whichever source has it.
    pub fn find_any(&self, path: &str) -> Option<u32> {
        match self.names.is_empty() {
            true => self.find(path),
            false => self.names.iter().find_map(|name| self.find_in(Some(name.as_str()), path)),
        }
    }

    /// The number of the file at this path in this source.
    fn find_in(&self, source: Option<&str>, path: &str) -> Option<u32> {
        let found = self.files.binary_search_by(|(_, known)| known.place().cmp(&(source, path))).ok()?;
        Some(self.files[found].0)
    }

    /// Every file with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Source)> {
        self.files.iter().map(|(number, source)| (*number, &**source))
    }

    /// The number of the file at this path of an only source.
    pub fn find(&self, path: &str) -> Option<u32> {
        self.find_in(None, path)
    }

    /// The file a mark points into; the first one for a mark that points nowhere.
    ///
    /// # Panics
    /// Where there is no file at all.
    pub fn get(&self, file: u32) -> &Source {
        let after = self.files.partition_point(|(number, _)| *number <= file);
        &self.files[after.saturating_sub(1)].1
    }

    /// Whether both are made of the same sources, in the same order.
    pub fn are_named_as(&self, earlier: &Sources) -> bool {
        self.names == earlier.names
    }

    /// The numbers of the files that are not the same in an earlier revision, or only there.
    pub fn changed(&self, earlier: &Sources) -> Vec<u32> {
        let mut known = earlier.files.iter().peekable();
        let mut changed = Vec::new();
        for (number, source) in &self.files {
            while let Some((gone, _)) = known.next_if(|(other, _)| other < number) {
                changed.push(*gone);
            }
            let same = known.next_if(|(other, _)| other == number);
            if !same.is_some_and(|(_, other)| Arc::ptr_eq(source, other)) {
                changed.push(*number);
            }
        }
        changed.extend(known.map(|(gone, _)| *gone));
        changed
    }

    /// The file of exactly this number.
    pub fn shared(&self, file: u32) -> Option<&Arc<Source>> {
        let found = self.files.binary_search_by_key(&file, |(number, _)| *number).ok()?;
        Some(&self.files[found].1)
    }

    /// Whether a number has the same file with the same bytes in an earlier revision.
    pub fn is_same(&self, earlier: &Sources, file: u32) -> bool {
        matches!((self.shared(file), earlier.shared(file)), (Some(own), Some(other)) if Arc::ptr_eq(own, other))
    }

    /// What is written at a mark; empty where the file is no text.
    pub fn text_at(&self, mark: Mark) -> &str {
        let text = self.get(mark.file).text().unwrap_or_default();
        text.get(mark.range()).unwrap_or_default()
    }

    pub fn origin(&self, mark: Mark) -> Origin {
        let source = self.get(mark.file);
        let Position { line, column } = source.position(mark.start as usize);
        Origin { file: source.path.clone(), line, column }
    }
}

/// Gives numbers to those that have none, between their neighbours'; to all anew where there is
/// no room.
fn numbered(known: &[Option<u32>]) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(known.len());
    for run in known.split_inclusive(Option::is_some) {
        let before = numbers.last().copied().unwrap_or(0);
        let end = run.last().copied().flatten();
        let new = run.len() as u32 - u32::from(end.is_some());
        // Behind the last file there is as much room as at first.
        let step = end.map_or(GAP, |end| (end - before) / (new + 1));
        if new > 0 && (step == 0 || new > (u32::MAX - before) / step) {
            return (1..=known.len() as u32).map(|place| place.saturating_mul(GAP)).collect();
        }
        numbers.extend((1..=new).map(|place| before + place * step));
        numbers.extend(end);
    }
    numbers
}

impl Source {
    fn new(path: FilePath, bytes: &Bytes) -> Arc<Source> {
        Arc::new(Source { path, bytes: bytes.clone(), text: OnceLock::new(), lines: OnceLock::new() })
    }

    /// Its source, if there are several, and its path in it.
    fn place(&self) -> (Option<&str>, &str) {
        (self.path.source(), self.path.inside())
    }

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
        let at = |offset| sources.get(GAP).position(offset);
        assert_eq!(at(0), Position { line: 1, column: 1 });
        assert_eq!(at(2), Position { line: 1, column: 2 });
        assert_eq!(at(1), Position { line: 1, column: 1 });
        assert_eq!(at(7), Position { line: 2, column: 1 });
        assert_eq!(at(16), Position { line: 2, column: 9 });
        assert_eq!(at(1000), Position { line: 3, column: 1 });
    }

    fn revision(names: &[&str], before: &Sources) -> Sources {
        let files = names.iter().map(|name| (Arc::from(*name), Bytes::from_static(b"x = 1")));
        before.next([(None, &files.collect())], None)
    }

    fn numbers(sources: &Sources) -> Vec<u32> {
        sources.iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn files_keep_their_numbers_while_others_come_and_go() {
        let first = revision(&["b", "d"], &Sources::default());
        let second = revision(&["a", "b", "c", "cc", "d", "e"], &first);
        for name in ["b", "d"] {
            assert_eq!(first.find(name), second.find(name), "{name}");
            let number = first.find(name).unwrap();
            assert!(second.is_same(&first, number), "{name}");
        }
        assert!(numbers(&second).is_sorted_by(|a, b| a < b), "{:?}", numbers(&second));
        let third = revision(&["a", "e"], &second);
        assert_eq!((third.find("a"), third.find("e")), (second.find("a"), second.find("e")));
        assert_eq!(third.get(third.find("e").unwrap()).path.inside(), "e");
        assert!(revision(&[], &third).iter().next().is_none());
    }

    #[test]
    fn where_no_room_is_left_all_are_numbered_anew() {
        assert_eq!(numbered(&[Some(7), None, Some(8)]), [GAP, 2 * GAP, 3 * GAP]);
        assert_eq!(numbered(&[Some(7), None, Some(9)]), [7, 8, 9]);
        assert_eq!(numbered(&[Some(u32::MAX), None]), [GAP, 2 * GAP]);
        assert_eq!(numbered(&[None, None]), [GAP, 2 * GAP]);
        assert_eq!(numbered(&[]), [0; 0]);
    }

    #[test]
    fn other_bytes_are_another_source_of_the_same_number() {
        let before = source("a = 1");
        let files = BTreeMap::from([("a.toml".into(), Bytes::from_static(b"a = 2"))]);
        let after = before.next([(None, &files)], None);
        let number = before.find("a.toml").unwrap();
        assert_eq!(after.find("a.toml"), Some(number));
        assert_eq!(after.get(number).text(), Some("a = 2"));
        assert!(!after.is_same(&before, number));
    }

    #[test]
    fn words_are_found_again() {
        let sources = source("é {{ user_hash }}\nx");
        let source = sources.get(GAP);
        let range = source.word_at(Position { line: 1, column: 6 });
        assert_eq!(&source.text().unwrap()[range], "user_hash");
        assert_eq!(source.word_at(Position { line: 9, column: 9 }).end, source.bytes.len());
    }
}
