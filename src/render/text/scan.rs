//! Splits a template into text and tags, checks each tag, and writes it again for the engine.
//!
//! The engine's errors have no position and its loops no limit. So the template it gets is not
//! the one that was written: every text is replaced by `{% _text N %}`, and every tag has an
//! `{% _at N %}` before it that notes the position and counts (see `meter`).

use std::collections::BTreeSet;
use std::fmt::Write;

use super::cursor::{Access, Cursor, Mistake};
use crate::render::{filter, near};

/// A template, understood.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// What the engine parses.
    pub program: String,
    /// Texts by the number in `_text`.
    pub texts: Vec<String>,
    /// Tags by the number in `_at`.
    pub tags: Vec<Tag>,
    /// Variables that come from outside.
    pub free: Vec<Access>,
    /// Names that the template itself assigns.
    pub own: BTreeSet<String>,
    /// Names that its loops give.
    pub loops: BTreeSet<String>,
    /// The whole template, if it is made of nothing but texts and bare variables, and few of them.
    pub plain: Option<Vec<Piece>>,
}

/// Part of a template that needs no engine.
#[derive(Debug)]
pub(super) enum Piece {
    /// By its number.
    Text(usize),
    Variable(String),
}

/// One `{{ … }}` or `{% … %}`.
#[derive(Debug)]
pub(super) struct Tag {
    pub offset: usize,
    /// A template of this tag alone, to find out which one the engine can't parse.
    pub alone: String,
    pub accesses: Vec<Access>,
    /// Tags whose conditions are evaluated after this one's under the same note.
    pub followers: Vec<usize>,
}

/// Longest template, in bytes.
const LONGEST: usize = 1 << 20;
/// Most tags in one template.
const MOST_TAGS: usize = 20_000;
/// Most pieces of a template that is filled in without the engine, which bounds longer ones.
const MOST_PIECES: usize = 16;
/// Deepest nesting of blocks; the engine recurses on it.
const DEEPEST: usize = 40;
const TAGS: [&str; 19] = [
    "if",
    "elsif",
    "else",
    "endif",
    "unless",
    "endunless",
    "case",
    "when",
    "endcase",
    "for",
    "endfor",
    "break",
    "continue",
    "assign",
    "capture",
    "endcapture",
    "raw",
    "comment",
    "render",
];

/// An open block.
struct Open {
    name: &'static str,
    offset: usize,
    tag: usize,
    /// The loop's variable.
    variable: Option<String>,
    /// Levels that close with it: one, and one for each `elsif`.
    levels: usize,
}

struct Scanner<'a> {
    source: &'a str,
    at: usize,
    scan: Scan,
    open: Vec<Open>,
    /// White space at the beginning of the next text goes.
    trim: bool,
}

pub(super) fn scan(source: &str) -> Result<Scan, Mistake> {
    if source.len() > LONGEST {
        return Err(Mistake { offset: LONGEST, message: "a template has at most 1 MiB".to_owned() });
    }
    let scan = Scan { plain: Some(Vec::new()), ..Scan::default() };
    let mut scanner = Scanner { source, at: 0, scan, open: Vec::new(), trim: false };
    while scanner.at < source.len() {
        scanner.piece()?;
    }
    match scanner.open.pop() {
        None => Ok(scanner.scan),
        Some(open) => {
            Err(Mistake { offset: open.offset, message: format!("this `{}` is not closed", open.name) })
        }
    }
}

type Step<T = ()> = Result<T, Mistake>;

impl<'a> Scanner<'a> {
    /// The text up to the next tag, and that tag.
    fn piece(&mut self) -> Step {
        let rest = &self.source[self.at..];
        let tag = rest.match_indices('{').find(|(at, _)| {
            let next = rest.as_bytes().get(at + 1);
            matches!(next, Some(b'{' | b'%'))
        });
        let length = tag.map_or(rest.len(), |(at, _)| at);
        let trim_end = rest[length..].starts_with("{{-") || rest[length..].starts_with("{%-");
        self.text(&rest[..length], trim_end)?;
        self.at += length;
        match &rest.as_bytes()[length..] {
            [b'{', b'{', ..] => self.output(),
            [b'{', b'%', ..] => self.tag(),
            _ => Ok(()),
        }
    }

    fn text(&mut self, text: &str, trim_end: bool) -> Step {
        const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
        let mut text = if self.trim { text.trim_start_matches(SPACE) } else { text };
        self.trim = false;
        if trim_end {
            text = text.trim_end_matches(SPACE);
        }
        self.put(text)
    }

    /// Text that will be written as it is.
    fn put(&mut self, text: &str) -> Step {
        if text.is_empty() {
            return Ok(());
        }
        // The engine would put what stands before the first `when` into the first branch.
        let waits = self.open.last().is_some_and(|open| open.name == "case" && !self.started(open.tag));
        if waits {
            let message = "text between `case` and the first `when` belongs to no branch".to_owned();
            let blank = text.trim().is_empty();
            return if blank { Ok(()) } else { Err(Mistake { offset: self.at, message }) };
        }
        self.emit(format_args!("{{% _text {} %}}", self.scan.texts.len()));
        self.piece_of(Some(Piece::Text(self.scan.texts.len())));
        self.scan.texts.push(text.to_owned());
        Ok(())
    }

    /// Notes a piece; `None` for what takes the engine.
    fn piece_of(&mut self, piece: Option<Piece>) {
        match (&mut self.scan.plain, piece) {
            (Some(pieces), Some(piece)) if pieces.len() < MOST_PIECES => pieces.push(piece),
            (plain, _) => *plain = None,
        }
    }

    fn started(&self, case: usize) -> bool {
        !self.scan.tags[case].followers.is_empty()
    }

    fn emit(&mut self, program: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.scan.program.write_fmt(program);
    }

    fn cursor(&self, end: &'static str) -> Cursor<'a> {
        let trim = self.source[self.at + 2..].starts_with('-');
        Cursor::new(self.source, self.at + 2 + usize::from(trim), end)
    }

    fn output(&mut self) -> Step {
        let mut cursor = self.cursor("}}");
        let start = cursor.at;
        cursor.chain(&unknown_filter).map_err(|mistake| foreign(mistake, &cursor))?;
        let inner = &self.source[start..cursor.at];
        self.trim = cursor.close()?;
        let number = self.note(&cursor, format!("{{{{ {inner} }}}}"))?;
        self.emit(format_args!("{{% _at {number} %}}{{{{ {inner} }}}}"));
        let bare = cursor.accesses.first().filter(|access| access.name == inner.trim());
        self.piece_of(bare.map(|access| Piece::Variable(access.name.clone())));
        self.at = cursor.at;
        Ok(())
    }

    /// Remembers a tag and its variables.
    fn note(&mut self, cursor: &Cursor<'_>, alone: String) -> Step<usize> {
        let number = self.scan.tags.len();
        if number == MOST_TAGS {
            let message = format!("a template has at most {MOST_TAGS} tags");
            return Err(Mistake { offset: self.at, message });
        }
        let free = cursor.accesses.iter().filter(|access| !self.bound(&access.name)).cloned();
        let free: Vec<Access> = free.collect();
        self.scan.free.extend(free);
        let accesses = cursor.accesses.clone();
        self.scan.tags.push(Tag { offset: self.at, alone, accesses, followers: Vec::new() });
        Ok(number)
    }

    fn bound(&self, name: &str) -> bool {
        let looped =
            |open: &Open| open.variable.as_deref().is_some_and(|own| own == name || name == "forloop");
        self.open.iter().any(looped) || self.scan.own.contains(name)
    }

    fn tag(&mut self) -> Step {
        self.piece_of(None);
        let mut cursor = self.cursor("%}");
        cursor.space();
        let start = cursor.at;
        let name = cursor.name("a tag's name")?;
        let fail = |message: String| Err(Mistake { offset: start, message });
        match name {
            "raw" | "comment" => return self.verbatim(cursor, name == "raw"),
            "if" | "unless" | "case" | "for" | "capture" => self.begin(&mut cursor, name, start)?,
            "elsif" | "when" | "else" => self.branch(&mut cursor, name, start)?,
            "break" | "continue" if !self.open.iter().any(|open| open.name == "for") => {
                return fail(format!("`{name}` belongs into a `for`"));
            }
            "break" | "continue" => {
                let number = self.note(&cursor, String::new())?;
                self.emit(format_args!("{{% _at {number} %}}{{% {name} %}}"));
            }
            "assign" => self.assign(&mut cursor, start)?,
            _ if name.strip_prefix("end").is_some_and(|block| TAGS.contains(&block)) => {
                self.end(name, start)?;
            }
            "include" | "render" => return fail("a template can't include another one".to_owned()),
            _ => {
                return fail(format!("unknown tag `{name}`{}", near::hint(name, TAGS[..18].iter().copied())));
            }
        }
        self.trim = cursor.close()?;
        self.at = cursor.at;
        Ok(())
    }

    /// `raw` and `comment`: everything up to the closing tag, unread.
    fn verbatim(&mut self, mut cursor: Cursor<'a>, keep: bool) -> Step {
        let name = if keep { "raw" } else { "comment" };
        let trim_start = cursor.close()?;
        let body = cursor.at;
        let open = Mistake { offset: self.at, message: format!("this `{name}` is not closed") };
        let ends = self.source[body..].match_indices("{%").map(|(at, _)| body + at);
        let found = ends.filter_map(|at| closing(self.source, at, name).map(|end| (at, end))).next();
        let Some((end, (trim_end, trim, after))) = found else { return Err(open) };
        if keep {
            self.trim = trim_start;
            self.text(&self.source[body..end], trim_end)?;
        }
        self.trim = trim;
        self.at = after;
        Ok(())
    }

    fn begin(&mut self, cursor: &mut Cursor<'a>, name: &str, start: usize) -> Step {
        let levels: usize = self.open.iter().map(|open| open.levels).sum();
        if levels >= DEEPEST {
            return Err(Mistake { offset: start, message: "blocks are nested too deep".to_owned() });
        }
        let mut variable = None;
        let mut range = None;
        let name = match name {
            "if" | "unless" => {
                cursor.condition()?;
                if name == "if" { "if" } else { "unless" }
            }
            "case" => {
                cursor.value()?;
                "case"
            }
            "for" => {
                let (own, bounds) = head_of_for(cursor)?;
                variable = Some(own);
                range = bounds;
                "for"
            }
            _ => {
                cursor.space();
                let own = plain_name(cursor)?;
                self.scan.own.insert(own);
                "capture"
            }
        };
        let inner = &self.source[start..cursor.at];
        let first = if name == "case" { "{% when 1 %}" } else { "" };
        let number = self.note(cursor, format!("{{% {inner} %}}{first}{{% end{name} %}}"))?;
        let bounds = range.as_deref().unwrap_or_default();
        self.emit(format_args!("{{% _at {number} {bounds} %}}{{% {inner} %}}"));
        if name == "for" {
            // Counts the rounds.
            self.emit(format_args!("{{% _at {number} %}}"));
            self.scan.loops.extend(variable.clone());
            self.scan.loops.insert("forloop".to_owned());
        }
        self.open.push(Open { name, offset: start, tag: number, variable, levels: 1 });
        Ok(())
    }

    fn branch(&mut self, cursor: &mut Cursor<'a>, name: &str, start: usize) -> Step {
        let fits = self.open.last().map(|open| match name {
            "elsif" => matches!(open.name, "if" | "unless"),
            "when" => open.name == "case",
            _ => matches!(open.name, "if" | "unless" | "case" | "for"),
        });
        if fits != Some(true) {
            return Err(Mistake {
                offset: start,
                message: format!("there is nothing this `{name}` belongs to"),
            });
        }
        match name {
            "elsif" => cursor.condition()?,
            "when" => values(cursor)?,
            _ => {}
        }
        let inner = &self.source[start..cursor.at];
        let alone = match name {
            "elsif" => format!("{{% if nil %}}{{% {inner} %}}{{% endif %}}"),
            "when" => format!("{{% case 1 %}}{{% {inner} %}}{{% endcase %}}"),
            _ => String::new(),
        };
        let number = self.note(cursor, alone)?;
        if let Some(open) = self.open.last_mut() {
            open.levels += usize::from(name == "elsif");
            self.scan.tags[open.tag].followers.push(number);
        }
        let levels: usize = self.open.iter().map(|open| open.levels).sum();
        if levels > DEEPEST {
            return Err(Mistake { offset: start, message: "too many `elsif`; take `case`".to_owned() });
        }
        self.emit(format_args!("{{% {inner} %}}"));
        Ok(())
    }

    fn assign(&mut self, cursor: &mut Cursor<'a>, start: usize) -> Step {
        let own = plain_name(cursor)?;
        if !cursor.eat("=") {
            return cursor.unexpected("`=`");
        }
        cursor.chain(&unknown_filter)?;
        let inner = &self.source[start..cursor.at];
        let number = self.note(cursor, format!("{{% {inner} %}}"))?;
        self.scan.own.insert(own);
        self.emit(format_args!("{{% _at {number} %}}{{% {inner} %}}"));
        Ok(())
    }

    fn end(&mut self, name: &str, start: usize) -> Step {
        let block = &name["end".len()..];
        match self.open.pop() {
            Some(open) if open.name == block => {
                self.emit(format_args!("{{% {name} %}}"));
                Ok(())
            }
            Some(open) => Err(Mistake {
                offset: start,
                message: format!("`{name}` found where `end{}` is expected", open.name),
            }),
            None => Err(Mistake { offset: start, message: format!("nothing is open that `{name}` closes") }),
        }
    }
}

/// Whether the tag at `at` closes `name`: the dashes before and behind, and where it ends.
fn closing(source: &str, at: usize, name: &str) -> Option<(bool, bool, usize)> {
    let trim_end = source[at + 2..].starts_with('-');
    let mut cursor = Cursor::new(source, at + 2 + usize::from(trim_end), "%}");
    let found = cursor.peek()?.strip_prefix("end") == Some(name);
    if !found {
        return None;
    }
    cursor.name("").ok()?;
    let trim = cursor.close().ok()?;
    Some((trim_end, trim, cursor.at))
}

/// A name that is going to be a variable.
fn plain_name(cursor: &mut Cursor<'_>) -> Step<String> {
    let before = cursor.accesses.len();
    cursor.space();
    let start = cursor.at;
    cursor.value()?;
    let found = cursor.accesses.split_off(before).into_iter().next();
    match found {
        Some(access) if access.members.is_empty() && access.offset == start => Ok(access.name),
        _ => Err(Mistake { offset: start, message: "a variable's name is expected".to_owned() }),
    }
}

/// `x in list`, `x in (1..n) limit: 3`: the variable, and the bounds as the engine writes them.
fn head_of_for(cursor: &mut Cursor<'_>) -> Step<(String, Option<String>)> {
    let own = plain_name(cursor)?;
    if !cursor.word("in") {
        return cursor.unexpected("`in`");
    }
    let mut bounds = None;
    if cursor.eat("(") {
        let low = piece_of(cursor)?;
        if !cursor.eat("..") {
            return cursor.unexpected("`..`");
        }
        let high = piece_of(cursor)?;
        if !cursor.eat(")") {
            return cursor.unexpected("`)`");
        }
        bounds = Some(format!("{low} {high}"));
    } else {
        cursor.value()?;
    }
    while !cursor.at_end() {
        if cursor.word("reversed") {
            continue;
        }
        if !cursor.word("limit") && !cursor.word("offset") {
            return cursor.unexpected("`limit`, `offset` or `reversed`");
        }
        if !cursor.eat(":") {
            return cursor.unexpected("`:`");
        }
        cursor.value()?;
    }
    Ok((own, bounds))
}

/// The text of one value.
fn piece_of<'a>(cursor: &mut Cursor<'a>) -> Step<&'a str> {
    cursor.space();
    let rest = cursor.rest();
    let start = cursor.at;
    cursor.value()?;
    Ok(&rest[..cursor.at - start])
}

/// What follows `when`.
fn values(cursor: &mut Cursor<'_>) -> Step {
    loop {
        cursor.value()?;
        if cursor.at_end() {
            return Ok(());
        }
        if !cursor.word("or") && !cursor.eat(",") {
            return cursor.unexpected("`or`");
        }
    }
}

/// `{{.State}}` is likely meant for another program.
fn foreign(mut mistake: Mistake, cursor: &Cursor<'_>) -> Mistake {
    if cursor.accesses.is_empty() && mistake.offset == cursor.at {
        mistake
            .message
            .push_str("; braces that are meant for the machine go between {% raw %} and {% endraw %}");
    }
    mistake
}

/// The message about a filter that does not exist.
fn unknown_filter(name: &str) -> Option<String> {
    let known = filter::names().any(|known| known == name);
    (!known).then(|| format!("unknown filter `{name}`{}", near::hint(name, filter::names())))
}
