//! What the TOML parser says, said again in the words of who wrote the file.

mod habit;
mod mend;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;

use toml::de::DeTable;

use mend::Cure;

use super::checker::plain;
use super::quote::quoted;
use super::scan::{self, Scan};
use super::{Code, Mark, Problem};
use crate::model::{self, Cidr, Mac, Size};

/// Most syntax errors that are reported of a file.
const REPORTED_MAX: usize = 20;

/// After so many readings what still shows up is left for the next run.
const READINGS_MAX: usize = 8;

/// What a text with syntax errors says.
pub(super) struct Syntax {
    /// One for each faulty line, in the order of the file.
    pub problems: Vec<Problem>,
    /// The text without the faults, each byte in its place.
    pub mended: String,
    /// Where the faulty lines begin.
    pub lines: Vec<usize>,
    /// Where faults are that are still in it.
    pub left: Vec<Mark>,
}

/// Reads on behind each error: what it hides is found in the text without it.
pub(super) fn read(file: u32, text: &str, scan: &Scan, errors: Vec<toml::de::Error>) -> Syntax {
    let mut reading = Reading {
        file,
        reported: Vec::new(),
        openers: BTreeSet::new(),
        problems: Vec::new(),
        unreported: 0,
        left: Vec::new(),
    };
    let mut mended = text.to_owned();
    let mut cures = reading.pass(text, scan, &errors);
    for _ in 1..READINGS_MAX {
        // With so many errors, further ones are reported when these are corrected.
        if cures.is_empty() || reading.unreported > 0 {
            break;
        }
        mended = mend::mended(&mended, &cures);
        let (_, errors) = DeTable::parse_recoverable(&mended);
        cures = reading.pass(&mended, &scan::scan(&mended), &errors);
    }
    let Reading { file: _, reported, openers: _, mut problems, unreported, left } = reading;
    let lines = reported.iter().map(|line| line.start).collect();
    problems.sort_by_key(|problem| problem.mark().start);
    if let (Some(last), 1..) = (problems.last_mut(), unreported) {
        last.notes.push(format!("{unreported} more lines of this file are not valid TOML"));
    }
    Syntax { problems, mended: mend::mended(&mended, &cures), lines, left }
}

struct Reading {
    file: u32,
    /// The lines whose errors were reported, in order.
    reported: Vec<Range<usize>>,
    /// The brackets and quotes that are never closed.
    openers: BTreeSet<usize>,
    problems: Vec<Problem>,
    unreported: usize,
    left: Vec<Mark>,
}

impl Reading {
    /// Takes the errors of one reading that are news, and says what cures them.
    fn pass(&mut self, text: &str, scan: &Scan, errors: &[toml::de::Error]) -> Vec<Cure> {
        let mut faults: Vec<(Range<usize>, &str)> =
            errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
        faults.sort_by_key(|(range, _)| range.start);
        let mut reported: Vec<Range<usize>> = Vec::new();
        let mut cures = Vec::new();
        let mut repeated = 0;
        for (range, message) in faults {
            let fault = Fault { file: self.file, text, scan, range, message };
            // In a table written a second time everything else may be there a second time too.
            if message.contains("duplicate key") {
                if fault.range.start < repeated {
                    continue;
                }
                repeated = fault.end_of_repeated();
            }
            // Mistakes follow mistakes: the first on a line is the one to cure.
            let own = fault.line();
            // A bracket that is never closed is reported once, whatever it hides.
            if fault.opener().is_some_and(|open| !self.openers.insert(open)) {
                continue;
            }
            if reported.last().is_some_and(|line| own.start < line.end)
                || mend::holds(&self.reported, own.start)
            {
                continue;
            }
            reported.push(match (fault.unclosed_bracket(), fault.unclosed()) {
                // The line it was noticed at may be right.
                (Some(open), _) => fault.start_of_line(open)..own.start,
                // An unclosed multi-line text eats the rest of the file.
                (None, Some(open)) if fault.is_long(open.clone()) => own.start..text.len(),
                _ => own.start..fault.eaten(),
            });
            match fault.cure() {
                Some(cure) => cures.push(cure),
                None => self.left.push(fault.mark(fault.clamped())),
            }
            match self.problems.len() {
                REPORTED_MAX => self.unreported += 1,
                _ => self.problems.push(fault.problem()),
            }
        }
        self.reported.append(&mut reported);
        self.reported.sort_by_key(|range| range.start);
        self.reported.dedup_by(|next, range| {
            let inside = next.start < range.end;
            range.end = if inside { range.end.max(next.end) } else { range.end };
            inside
        });
        cures
    }
}

struct Fault<'a> {
    file: u32,
    text: &'a str,
    scan: &'a Scan,
    range: Range<usize>,
    message: &'a str,
}

impl Fault<'_> {
    fn problem(&self) -> Problem {
        if let Some(open) = self.unclosed() {
            return self.never_closed(open);
        }
        if self.message.contains("duplicate key") {
            return self.duplicate();
        }
        if let Some(open) = self.unclosed_bracket() {
            let mark = self.mark(open..open + 1);
            let (what, label, help) = match self.text.as_bytes()[open] {
                b'[' => {
                    ("the list starting here is never closed", "opening bracket", "add ] where the list ends")
                }
                _ => {
                    ("the table starting here is never closed", "opening brace", "add } where the table ends")
                }
            };
            return Problem::new(Code::Syntax, mark, what, label).help(help);
        }
        if let Some(key) = self.without_value() {
            let message = format!("`{}` has no value", plain(&self.text[key.clone()]));
            return Problem::new(Code::Syntax, self.mark(key), message, "nothing follows the `=`");
        }
        if let Some(problem) = self.habit() {
            return problem;
        }
        match self.bare_text().or_else(|| self.bare_word()) {
            Some(word) => self.unquoted(word),
            None => {
                let mark = self.mark(self.visible());
                Problem::new(Code::Syntax, mark, "this is not valid TOML", self.message)
            }
        }
    }

    /// The bracket of a list or table that seems to go on in a line that begins a setting or a header.
    fn unclosed_bracket(&self) -> Option<usize> {
        let line = self.line();
        let text = self.text[line.clone()].trim();
        let key = text.split('=').next().unwrap_or_default().trim();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let setting = text.contains('=') && !key.is_empty() && key.chars().all(word);
        let header =
            text.starts_with('[') && text.ends_with(']') && text.contains('.') && !text.contains('"');
        if !setting && !header {
            return None;
        }
        let at = self.scan.inside.binary_search_by_key(&line.start, |(start, _)| *start).ok()?;
        let (_, open) = self.scan.inside[at];
        match self.text.as_bytes()[open] {
            b'[' => Some(open),
            b'{' => self.scan.open.contains(&open).then_some(open),
            _ => None,
        }
    }

    /// What is never closed and reaches from an earlier line to the fault.
    fn opener(&self) -> Option<usize> {
        let long = || self.unclosed().filter(|open| self.is_long(open.clone())).map(|open| open.start);
        self.unclosed_bracket().or_else(long)
    }

    /// The key of a line that ends with its `=`.
    fn without_value(&self) -> Option<Range<usize>> {
        let line = self.line();
        let (key, rest) = self.text[line.clone()].split_once('=')?;
        let rest = rest.trim_start();
        let start = line.start + (key.len() - key.trim_start().len());
        (rest.is_empty() || rest.starts_with('#')).then_some(start..start + key.trim().len())
    }

    fn mark(&self, range: Range<usize>) -> Mark {
        Mark::new(self.file, range)
    }

    /// From the beginning of the fault's line to behind its line end.
    fn line(&self) -> Range<usize> {
        let at = self.range.start.min(self.text.len());
        let start = self.text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = self.text.as_bytes()[at..].iter().position(|byte| *byte == b'\n');
        start..end.map_or(self.text.len(), |end| at + end + 1)
    }

    /// Where the table ends whose header is repeated here; 0 if the fault is not in a header.
    fn end_of_repeated(&self) -> usize {
        let line = self.line();
        if !self.text[line.clone()].trim_start().starts_with('[') {
            return 0;
        }
        self.next_header(line.end)
    }

    /// The quote on the fault's line, or before it for long texts, that has no partner.
    fn unclosed(&self) -> Option<Range<usize>> {
        let line = self.line();
        let unclosed = &self.scan.unclosed;
        // A long text without an end reaches to the end of the file: it is the last one.
        let long = unclosed.last().filter(|open| open.start < line.end && self.is_long((*open).clone()));
        let here = unclosed.get(unclosed.partition_point(|open| open.start < line.start));
        here.filter(|open| open.start < line.end).or(long).cloned()
    }

    fn is_long(&self, open: Range<usize>) -> bool {
        let text = &self.text[open];
        text.starts_with("\"\"\"") || text.starts_with("'''")
    }

    fn never_closed(&self, open: Range<usize>) -> Problem {
        let long = self.is_long(open.clone());
        let written = self.text[open.clone()].trim_end();
        let label = match long {
            true => "three opening quotes without three closing ones",
            false => "opening quote without a closing one on this line",
        };
        let mark = self.mark(open.start..open.start + written.len());
        let problem = Problem::new(Code::Syntax, mark, "the text starting here is never closed", label);
        let quote = &written[..if long { 3 } else { 1 }];
        match written.len() {
            0..60 if !long => {
                let plain = quoted(&written[1..]).is_some() && !written.contains(['#', ',', ']', '}']);
                let fix = plain.then(|| format!("{written}{quote}"));
                problem.help(format!("add a quote at the end: {written}{quote}")).fix(mark, fix)
            }
            _ => problem.help(format!("add {quote} where the text ends")),
        }
    }

    /// A key or header that is there already.
    fn duplicate(&self) -> Problem {
        let key = &self.text[self.clamped()];
        let line = self.line();
        let header =
            |line: &str| -> String { line.split('#').next().unwrap_or("").split_whitespace().collect() };
        let own = header(&self.text[line.clone()]);
        let mut before = 0;
        let mut found = None;
        for other in self.text[..line.start].split_inclusive('\n') {
            let same = match own.starts_with('[') {
                true => header(other) == own,
                false => other
                    .trim_start()
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(['=', '.'])),
            };
            if same {
                let indent = other.len() - other.trim_start().len();
                found = Some(before + indent..before + indent + other.trim().len());
            }
            before += other.len();
        }
        let what = if own.starts_with('[') { own.as_str() } else { key };
        let message = format!("`{}` is written twice in this file", plain(what));
        let problem = Problem::new(Code::Twice, self.mark(self.clamped()), message, "second time");
        match found {
            Some(first) => problem.also(self.mark(first), "first time"),
            None => problem,
        }
    }

    /// The unquoted words after the `=`, if they are one value, as in `memory = 16 GiB`.
    fn bare_text(&self) -> Option<Range<usize>> {
        let line = self.line();
        let equals = line.start + self.text[line.clone()].find('=')? + 1;
        let rest = self.text[equals..line.end].split('#').next()?.trim_end();
        let value = rest.trim_start();
        let start = equals + rest.len() - value.len();
        let one = value.parse::<Size>().is_ok() || value.parse::<model::Range>().is_ok();
        one.then(|| start..start + value.len())
    }

    /// The unquoted word the fault lies in, if it is a value.
    fn bare_word(&self) -> Option<Range<usize>> {
        let line = self.line();
        let at = self.range.start.min(self.text.len());
        let edge =
            |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#' | '"' | '\'');
        let equals = line.start + self.text[line.clone()].find('=')? + 1;
        let skipped = self.text[equals..line.end].find(|c: char| !c.is_whitespace() && c != '[')?;
        let at = at.max(equals + skipped);
        let at = (0..=at).rev().find(|at| self.text.is_char_boundary(*at))?;
        let before = self.text[equals..at].char_indices().rfind(|(_, c)| edge(*c));
        let start = before.map_or(equals, |(before, c)| equals + before + c.len_utf8());
        let length = self.text[start..line.end].find(edge).unwrap_or(line.end - start);
        (length > 0).then_some(start..start + length)
    }

    fn unquoted(&self, range: Range<usize>) -> Problem {
        let word = &self.text[range.clone()];
        let problem = |message: &str| {
            Problem::new(Code::Syntax, self.mark(range.clone()), message, "quotes are missing here")
                .help(format!("write \"{}\"", plain(word)))
                .fix(self.mark(range.clone()), quoted(word).filter(|_| self.stands_alone(&range)))
        };
        match word.to_ascii_lowercase().as_str() {
            // The word is right; the mistake is what follows it.
            _ if matches!(word, "true" | "false") => {}
            "true" | "yes" | "on" => return self.flag(range, "true"),
            "false" | "no" | "off" => return self.flag(range, "false"),
            _ => {}
        }
        if word.parse::<Mac>().is_ok() || word.split([':', '-']).count() == 6 {
            problem("a hardware address is text and needs quotes")
        } else if word.parse::<Ipv4Addr>().is_ok() || word.parse::<Cidr>().is_ok() {
            problem("an address is text and needs quotes")
        } else if word.parse::<model::Range>().is_ok() {
            problem("a range of addresses is text and needs quotes")
        } else if word.parse::<Size>().is_ok() {
            problem("an amount of memory is text and needs quotes")
        } else if word.parse::<model::Span>().is_ok() {
            problem("a duration is text and needs quotes")
        } else if !matches!(word, "true" | "false")
            && (word.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '_' | '$'))
                || (word.contains(|c: char| c.is_alphabetic() || c == '%') && self.stands_alone(&range)))
        {
            problem("text needs quotes")
        } else {
            let mark = self.mark(self.visible());
            Problem::new(Code::Syntax, mark, "this is not valid TOML", self.message)
        }
    }

    /// Whether a word is all of a value: between `=`, `[` or `,` and the next comma, bracket,
    /// comment or line end.
    fn stands_alone(&self, word: &Range<usize>) -> bool {
        let line = self.line();
        let before = self.text[line.start.min(word.start)..word.start].trim_end();
        let after = self.text[word.end..line.end.max(word.end)].trim_start();
        let ends = after.is_empty() || after.starts_with([',', ']', '}', '#']);
        before.ends_with(['=', '[', ',']) && ends
    }

    fn flag(&self, range: Range<usize>, right: &str) -> Problem {
        let message = format!("this word is written `{right}`");
        let fix = Some(right.to_owned()).filter(|_| self.stands_alone(&range));
        let mark = self.mark(range);
        let problem = Problem::new(Code::Syntax, mark, message, "not a TOML word").fix(mark, fix);
        problem.help("true and false are written in lower case, without quotes")
    }

    fn clamped(&self) -> Range<usize> {
        let floor = |offset: usize| {
            let offset = offset.min(self.text.len());
            (0..=offset).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
        };
        let start = floor(self.range.start);
        start..floor(self.range.end).max(start)
    }

    /// The fault's range, widened so that there is something to underline.
    fn visible(&self) -> Range<usize> {
        let range = self.clamped();
        if !range.is_empty() {
            return range;
        }
        let line = self.line();
        let end = line.start + self.text[line.clone()].trim_end().len();
        let start = range.start.min(end);
        match self.text[line.start..start].char_indices().next_back() {
            Some((at, _)) if start == end => line.start + at..end,
            _ => start..self.text[start..].chars().next().map_or(start, |c| start + c.len_utf8()),
        }
    }
}
