//! YAML as cloud-init reads it: by PyYAML's safe loader, which takes YAML 1.1 and one document.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::render::finding::{Finding, doubtful, refused};

/// What the outermost node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) enum Root {
    Nothing,
    Scalar,
    Sequence,
    Mapping,
}

/// A document, as far as it has to be known here.
pub(in crate::render) struct Document {
    pub root: Root,
    /// The keys of the first two levels.
    pub keys: Vec<Key>,
    /// Whether keys of these levels come from elsewhere in the document by `<<`.
    pub merges: bool,
    pub found: Vec<Finding>,
}

/// A key, by its path: names joined by a dot.
pub(in crate::render) struct Key {
    pub path: String,
    pub line: usize,
    pub value: Value,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::render) enum Value {
    /// Without quotes.
    Plain(String),
    /// A list with nothing in it.
    NoItems,
    Other,
}

/// Reads a text whose first line has the number `first` in the rendered file.
pub(in crate::render) fn read(text: &str, first: usize) -> Document {
    let scan = scan(text, first);
    let Some(error) = scan.error else {
        let mut document = document(&scan.text, first, scan.walk);
        for finding in &mut document.found {
            if scan.bent.contains(&(finding.error.line as usize + 1).saturating_sub(first)) {
                finding.error.column = finding.error.column.saturating_sub(INDENT.len() as u32).max(1);
            }
        }
        document.found.extend(scan.doubt);
        return document;
    };
    let (line, column, message) = syntax(&scan.text, &error);
    let column = if scan.bent.contains(&line) { 1 } else { column };
    let mut found = vec![refused(first + line - 1, column, message)];
    found.extend(elsewhere(text, first, line));
    Document { root: Root::Mapping, keys: Vec::new(), merges: true, found }
}

fn document(text: &str, first: usize, mut walk: Walk) -> Document {
    walk.found.extend(unprintable(text, first));
    walk.found.extend(tabs(text, first, &walk.texts));
    Document {
        root: walk.root.unwrap_or(Root::Nothing),
        keys: walk.keys,
        merges: walk.merges,
        found: walk.found,
    }
}

/// What the scanner says of a text in quotes whose further lines are not indented. PyYAML takes them.
const QUOTED: &str = "invalid indentation in quoted scalar";

/// What it says of lines between brackets or braces that are not indented deeper than the key before
/// them, as a `]` below that key. To PyYAML no indentation counts there.
const FLOW: [&str; 2] = ["invalid indentation", "invalid indentation in flow construct"];

/// Deeper than anybody's keys.
const INDENT: &str = "                                        ";

/// A text as far as the scanner takes it.
struct Scan<'a> {
    /// With some of its lines indented.
    text: Cow<'a, str>,
    /// Those lines, from 1.
    bent: BTreeSet<usize>,
    walk: Walk,
    doubt: Option<Finding>,
    error: Option<ScanError>,
}

/// Reads a text, after indenting those lines that the scanner requires to be indented and PyYAML does not.
fn scan(text: &str, first: usize) -> Scan<'_> {
    // Each of them costs a reading of the whole text.
    const MOST: usize = 200;
    const MOST_BYTES: usize = 20_000_000;
    let mut left = MOST.min(1 + MOST_BYTES / text.len().max(1));
    let (mut bent, mut doubt) = (BTreeSet::new(), None);
    let mut deeper = Cow::Borrowed(text);
    loop {
        let mut walk = Walk { first, ..Walk::default() };
        let error = walk.run(&deeper).err();
        let next = error.as_ref().filter(|_| left > 0).and_then(|error| shallow(error, &bent));
        let (Some(next), Some(error)) = (next, &error) else {
            return Scan { text: deeper, bent, walk, doubt, error };
        };
        if error.info() == QUOTED && doubt.is_none() {
            let (line, column, message) = syntax(text, error);
            doubt = Some(doubtful(first + line - 1, column, message));
        }
        bent.insert(next);
        left -= 1;
        let indent = |number: usize| if bent.contains(&number) { INDENT } else { "" };
        let lines = text.split_inclusive('\n').zip(1..);
        deeper = lines.flat_map(|(line, number)| [indent(number), line]).collect::<String>().into();
    }
}

/// The line to indent because of an error, if that may help.
fn shallow(error: &ScanError, bent: &BTreeSet<usize>) -> Option<usize> {
    const MOST: usize = 20;
    let line = error.marker().line();
    match error.info() {
        // The place is where the text begins.
        QUOTED => (line + 1..=line + MOST).find(|line| !bent.contains(line)),
        info if FLOW.contains(&info) => Some(line).filter(|line| !bent.contains(line)),
        _ => None,
    }
}

/// Line, column and message of what the scanner says.
fn syntax(text: &str, error: &ScanError) -> (usize, usize, String) {
    let place = error.marker();
    // A tab is reported where the value before it began.
    let line = match error.info().contains("tab") {
        true => indented_by_tab(text, place.line()).unwrap_or(place.line()),
        false => place.line(),
    };
    let column = if line == place.line() { place.col() + 1 } else { 1 };
    (line, column, format!("not YAML: {}", error.info()))
}

/// The first line from `from` on that is indented by a tab.
fn indented_by_tab(text: &str, from: usize) -> Option<usize> {
    let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let blank = |line: &str| line.trim().is_empty();
    let found =
        text.lines().zip(1..).skip(from.saturating_sub(1)).find(|(line, _)| indent(line) && !blank(line));
    found.map(|(_, number)| number)
}

/// A scanner stops at its first mistake. In a mapping each outermost key begins anew, so the mistakes of
/// the others can be found: all but those in the key around line `known`.
fn elsewhere(text: &str, first: usize, known: usize) -> Vec<Finding> {
    let begins =
        |line: &str| line.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && line.contains(':');
    let mut starts: Vec<usize> =
        text.lines().zip(1..).filter(|(line, _)| begins(line)).map(|(_, number)| number).collect();
    starts.push(usize::MAX);
    let mut found = Vec::new();
    for pair in starts.windows(2).filter(|pair| !(pair[0]..pair[1]).contains(&known)) {
        let part: String = text.split_inclusive('\n').skip(pair[0] - 1).take(pair[1] - pair[0]).collect();
        let Scan { text: part, error, .. } = scan(&part, 1);
        // What it refers to may stand in another part.
        if let Some(error) = error.filter(|error| !error.info().contains("anchor")) {
            let (line, column, message) = syntax(&part, &error);
            found.push(refused(first + pair[0] + line - 2, column, message));
        }
    }
    found
}

/// `Reader.NON_PRINTABLE` of PyYAML.
fn unprintable(text: &str, first: usize) -> Option<Finding> {
    let printable = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    text.lines().zip(first..).find_map(|(line, number)| {
        let (at, c) = line.chars().enumerate().find(|(_, c)| !printable(*c))?;
        Some(refused(
            number,
            at + 1,
            format!("not YAML: the character U+{:04X} is not allowed", u32::from(c)),
        ))
    })
}

/// PyYAML takes a tab in texts and comments only, not between words. `texts` are the places of
/// texts with quotes and of blocks, in characters.
fn tabs(text: &str, first: usize, texts: &[(usize, usize)]) -> Option<Finding> {
    if !text.contains('\t') {
        return None;
    }
    let mut texts = texts.iter().copied().peekable();
    let (mut line, mut column, mut comment, mut before) = (first, 0, false, '\n');
    for (at, c) in text.chars().enumerate() {
        while texts.next_if(|(_, end)| *end <= at).is_some() {}
        let inside = texts.peek().is_some_and(|(start, _)| *start <= at);
        column += 1;
        match c {
            '\n' => (line, column, comment) = (line + 1, 0, false),
            '#' if !inside && before.is_whitespace() => comment = true,
            '\t' if !inside && !comment => {
                return Some(refused(
                    line,
                    column,
                    "not YAML to cloud-init: a tab between words; use spaces",
                ));
            }
            _ => {}
        }
        before = c;
    }
    None
}

/// A collection that is open.
struct Frame {
    mapping: bool,
    /// How many nodes it has so far.
    nodes: usize,
    /// Keys so far, whether they are plain, and their lines.
    keys: HashMap<(String, bool), usize>,
    /// The path of its keys, if they are of the first two levels.
    path: Option<String>,
    /// Whether the latest key is `<<`.
    merge: bool,
}

#[derive(Default)]
struct Walk {
    first: usize,
    root: Option<Root>,
    keys: Vec<Key>,
    merges: bool,
    found: Vec<Finding>,
    open: Vec<Frame>,
    documents: usize,
    /// Anchors of scalars.
    scalars: Vec<usize>,
    texts: Vec<(usize, usize)>,
}

impl Walk {
    fn run(&mut self, text: &str) -> Result<(), ScanError> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event?;
            match event {
                Event::DocumentStart(_) => self.document(&span),
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, anchor, tag.as_deref(), &span)
                }
                Event::Alias(anchor) => {
                    self.node(&span, self.scalars.contains(&anchor).then_some(Root::Scalar), None);
                }
                Event::MappingStart(_, tag) => self.collection(true, tag.as_deref(), &span),
                Event::SequenceStart(_, tag) => self.collection(false, tag.as_deref(), &span),
                Event::MappingEnd | Event::SequenceEnd => {
                    let frame = self.open.pop();
                    let empty = frame.is_some_and(|frame| !frame.mapping && frame.nodes == 0);
                    if let Some(key) = self.latest().filter(|_| empty) {
                        key.value = Value::NoItems;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn line(&self, span: &Span) -> usize {
        self.first + span.start.line() - 1
    }

    fn document(&mut self, span: &Span) {
        self.documents += 1;
        if self.documents == 2 {
            let message = "a second document begins here: cloud-init reads files with one only";
            self.found.push(refused(self.line(span), 1, message));
        }
    }

    /// The key whose value the present node is.
    fn latest(&mut self) -> Option<&mut Key> {
        let frame = self.open.last()?;
        let values = frame.mapping && frame.path.is_some() && frame.nodes.is_multiple_of(2);
        if values && self.documents == 1 { self.keys.last_mut() } else { None }
    }

    /// Counts a node where it stands; says whether it is a key.
    fn node(&mut self, span: &Span, sort: Option<Root>, key: Option<&str>) -> bool {
        let line = self.line(span);
        if self.root.is_none() {
            self.root = sort.or(Some(Root::Scalar));
        }
        let first_levels = self.open.iter().filter(|frame| frame.path.is_some()).count();
        let Some(frame) = self.open.last_mut() else { return false };
        let is_key = frame.mapping && frame.nodes.is_multiple_of(2);
        frame.nodes += 1;
        if is_key && key.is_none() && matches!(sort, Some(Root::Mapping | Root::Sequence)) {
            let message = "a mapping or a list is used as a key: a text that begins with a brace or a bracket needs quotes";
            self.found.push(refused(line, span.start.col() + 1, message));
        }
        if !is_key && std::mem::take(&mut frame.merge) {
            self.merges |= first_levels == self.open.len();
            if sort == Some(Root::Scalar) {
                self.found.push(refused(
                    line,
                    span.start.col() + 1,
                    "`<<` takes a mapping, or a list of mappings",
                ));
            }
        }
        is_key
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: &Span) {
        let plain = style == ScalarStyle::Plain;
        if !plain {
            self.texts.push((span.start.index(), span.end.index()));
        }
        if anchor > 0 {
            self.scalars.push(anchor);
        }
        self.tagged(tag, span);
        if plain && text == "=" && tag.is_none() {
            self.found.push(refused(self.line(span), span.start.col() + 1, "a single `=` needs quotes"));
        }
        if self.node(span, Some(Root::Scalar), Some(text)) {
            self.key(text, plain, self.line(span));
        } else if plain && let Some(key) = self.latest() {
            key.value = Value::Plain(text.to_owned());
        }
    }

    fn key(&mut self, text: &str, plain: bool, line: usize) {
        let Some(frame) = self.open.last_mut() else { return };
        if plain && text == "<<" {
            frame.merge = true;
            return;
        }
        // What is plain may be a number or the like, which no text is equal to.
        let other = plain && text.parse::<f64>().is_err();
        if let Some(earlier) = frame.keys.insert((text.to_owned(), plain && !other), line) {
            let message = format!(
                "the key `{text}` is there twice: only the last one counts; the first is in line {earlier}"
            );
            self.found.push(doubtful(line, 1, message));
        }
        let Some(path) = self.open.last().and_then(|frame| frame.path.as_deref()) else { return };
        if self.documents == 1 {
            let path = if path.is_empty() { text.to_owned() } else { format!("{path}.{text}") };
            self.keys.push(Key { path, line, value: Value::Other });
        }
    }

    fn collection(&mut self, mapping: bool, tag: Option<&Tag>, span: &Span) {
        self.tagged(tag, span);
        let sort = if mapping { Root::Mapping } else { Root::Sequence };
        let is_key = self.node(span, Some(sort), None);
        let path = match self.open.as_slice() {
            [] => Some(String::new()),
            [outermost] if outermost.mapping && !is_key => self.keys.last().map(|key| key.path.clone()),
            _ => None,
        };
        let path = path.filter(|_| mapping);
        self.open.push(Frame { mapping, nodes: 0, keys: HashMap::new(), path, merge: false });
    }

    /// Tags that PyYAML's safe loader has no constructor for.
    fn tagged(&mut self, tag: Option<&Tag>, span: &Span) {
        const KNOWN: [&str; 12] = [
            "null",
            "bool",
            "int",
            "float",
            "binary",
            "timestamp",
            "omap",
            "pairs",
            "set",
            "str",
            "seq",
            "map",
        ];
        let Some(tag) = tag else { return };
        let whole = format!("{}{}", tag.handle, tag.suffix);
        let known = whole == "!"
            || whole.strip_prefix("tag:yaml.org,2002:").is_some_and(|name| KNOWN.contains(&name));
        if !known {
            let message = format!("cloud-init does not know the tag `{whole}`");
            self.found.push(refused(self.line(span), span.start.col() + 1, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    fn said(text: &str) -> Vec<(u32, Verdict, String)> {
        let mut found = read(text, 1).found;
        found.sort_by_key(|found| (found.error.line, found.error.column));
        found.into_iter().map(|found| (found.error.line, found.verdict, found.error.message)).collect()
    }

    #[test]
    fn finds_the_keys_of_two_levels() {
        let document = read("a: 1\nb:\n  c: []\n  d: [{e: 1}, {e: 2}]\nb.c: x\n", 1);
        assert_eq!((document.root, &document.found), (Root::Mapping, &Vec::new()));
        let keys: Vec<(&str, usize)> =
            document.keys.iter().map(|key| (key.path.as_str(), key.line)).collect();
        assert_eq!(keys, [("a", 1), ("b", 2), ("b.c", 3), ("b.d", 4), ("b.c", 5)]);
        assert_eq!(document.keys[0].value, Value::Plain("1".to_owned()));
        assert_eq!(document.keys[2].value, Value::NoItems);
    }

    #[test]
    fn what_pyyaml_takes_passes() {
        for text in [
            "- a\n- b\n",
            "a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n",
            "a: |\n  x\ty\n\tz: |\n",
            "a: \"x\ty\" # tab\there\n",
            "1: a\n\"1\": b\n",
            "a:\n  b: 1\nc:\n  b: 2\n",
            "a:\n  b: [\n    c,\n  ]\n  d: {\ne: f,\n g: 'h'\n}\n",
            "a:\n  - b: [{c: d,\n\"e\": f}, g\n]\n    h: [\n  i, # j\n  k\n    ]\n",
            "a: !!str 1\nb: !!binary aGk=\n",
        ] {
            let refusals = said(text).into_iter().filter(|(_, verdict, _)| *verdict == Verdict::Refused);
            let wrong: Vec<_> = refusals.collect();
            assert!(wrong.is_empty() || text.contains("z: |"), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn what_pyyaml_refuses_is_an_error_and_a_key_twice_a_doubt() {
        use Verdict::{Doubtful, Refused};
        for (text, line, verdict, words) in [
            ("a: 1\n---\nb: 2\n", 2, Refused, "second document"),
            ("a: !vault x\n", 1, Refused, "`!vault`"),
            ("a: {{ b }}\n", 1, Refused, "as a key"),
            ("a: b\n<<: c\n", 2, Refused, "`<<`"),
            ("a:\tb\n", 1, Refused, "not YAML"),
            ("a: b\t\n", 1, Refused, "tab"),
            ("a: x\u{7}\n", 1, Refused, "U+0007"),
            ("a: [b\nc: d\n", 2, Refused, "not YAML"),
            ("a:\n  b: [\n  c\n  ]\n  d: @e\nf:\n  g: [\n  h\n  ]\n", 5, Refused, "not YAML"),
            ("a:\n  b: [\n  c\n]\n  d: {\n  !vault e: f\n  }\n", 6, Refused, "`!vault`"),
            ("x: 1\ny:\n - a: 1\n   b: 2\n   a: 3\n", 5, Doubtful, "line 3"),
        ] {
            let found = said(text);
            assert_eq!(
                found.first().map(|found| (found.0, found.1)),
                Some((line, verdict)),
                "{text}: {found:?}"
            );
            assert!(found[0].2.contains(words), "{text}: {found:?}");
        }
    }

    #[test]
    fn mistakes_in_several_keys_are_all_said() {
        let text = "a: 'x\nb: 1\nc: [1\nd: 2\ne: *nobody\nf: @x\n";
        let lines: Vec<u32> = said("a: @x\nb: 1\nc: @y\n").into_iter().map(|found| found.0).collect();
        assert_eq!(lines, [1, 3]);
        assert!(said(text).len() > 1, "{:?}", said(text));
    }
}
