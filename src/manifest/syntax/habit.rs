//! Habits from other languages and editors: what people write where TOML wants something else.

use std::ops::Range;

use super::Fault;
use crate::manifest::checker::plain;
use crate::manifest::quote::quoted;
use crate::manifest::{Code, Problem};

/// How git marks the parts of a conflict.
const CONFLICT: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];

/// Quotes that word processors make of the plain ones.
const TYPOGRAPHIC: [char; 8] = ['“', '”', '„', '‘', '’', '‚', '«', '»'];

impl Fault<'_> {
    /// How many lines the mistake covers, which get no further report.
    pub(super) fn eaten(&self) -> usize {
        let line = self.line();
        let rest = &self.text[line.start..];
        let until = |end: &str| {
            let at = rest.find(end).map_or(rest.len(), |at| at + end.len());
            line.start + rest[at..].find('\n').map_or(rest.len(), |end| at + end + 1)
        };
        match rest.trim_start_matches([' ', '\t']) {
            text if text.starts_with(CONFLICT[0]) => until("\n>>>>>>>"),
            text if text.starts_with("/*") => until("*/"),
            text if text.starts_with('{') && self.text[..line.start].trim().is_empty() => self.text.len(),
            _ => line.end,
        }
    }

    /// The mistake, described by the other language that it comes from.
    pub(super) fn habit(&self) -> Option<Problem> {
        self.escape()
            .or_else(|| self.foreign_line())
            .or_else(|| self.bracket())
            .or_else(|| self.assignment())
            .or_else(|| self.character())
            .or_else(|| self.comma())
    }

    fn problem_at(&self, range: Range<usize>, message: impl Into<String>, label: &str) -> Problem {
        Problem::new(Code::Syntax, self.mark(range), message, label)
    }

    /// The fault's line without its blanks.
    fn trimmed(&self) -> Range<usize> {
        let line = self.line();
        let text = &self.text[line.clone()];
        let start = line.start + text.len() - text.trim_start().len();
        start..(line.start + text.trim_end().len()).max(start)
    }

    /// A backslash in double quotes that begins no escape.
    fn escape(&self) -> Option<Problem> {
        if !self.message.contains("escaped value") && !self.message.contains("unicode value") {
            return None;
        }
        let line = self.line();
        let at = self.clamped().start;
        let before = self.text[line.start..].get(..=at - line.start)?.rfind('\\')?;
        let start = line.start + before;
        let length = self.text[start..].chars().take(2).map(char::len_utf8).sum::<usize>();
        let written = plain(&self.text[start..start + length]);
        let message = format!("`{written}` means nothing in double quotes");
        let problem = self.problem_at(start..start + length, message, "a backslash begins an escape there");
        Some(
            problem
                .help("put the text in single quotes, which know no escapes, or write \\\\ for a backslash"),
        )
    }

    /// Lines that belong to no TOML at all: conflicts of a merge, comments and files of other languages.
    fn foreign_line(&self) -> Option<Problem> {
        let range = self.trimmed();
        let line = &self.text[range.clone()];
        if CONFLICT.iter().any(|mark| line.starts_with(mark)) {
            let problem = self.problem_at(range, "a merge conflict was never settled here", "left by git");
            return Some(problem.help("keep one of the two sides, and none of the lines that git added"));
        }
        if let Some(mark) = ["//", "/*", ";"].into_iter().find(|mark| line.starts_with(mark)) {
            let mark = range.start..range.start + mark.len();
            let problem = self.problem_at(mark.clone(), "a comment begins with `#`", "not a comment in TOML");
            let fix = (!line.starts_with("/*")).then(|| "#".to_owned());
            return Some(problem.help("write # instead").fix(self.mark(mark), fix));
        }
        if line.starts_with('{') && self.text[..range.start].trim().is_empty() {
            let problem = self.problem_at(range.start..range.start + 1, "this is not TOML", "JSON begins so");
            return Some(
                problem.help("manifests are TOML: [deployment.web-1], then lines like boot = \"debian-12\""),
            );
        }
        None
    }

    /// Headers with a bracket too few or too many.
    fn bracket(&self) -> Option<Problem> {
        let range = self.trimmed();
        let line = &self.text[range.clone()];
        if self.message.starts_with("unclosed table") || self.message.starts_with("unclosed array table") {
            let name = line.trim_matches(['[', ']']);
            let right = match line.starts_with("[[") {
                true => format!("[[{name}]]"),
                false => format!("[{name}]"),
            };
            let simple = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            let problem =
                self.problem_at(range.clone(), "this header is never closed", "`]` is missing at its end");
            return Some(match simple && !name.is_empty() {
                true => problem.help(format!("write {right}")).fix(self.mark(range), Some(right)),
                false => problem.help("add ] where the header ends"),
            });
        }
        let at = self.clamped().start;
        if line.starts_with('[') && self.text[at..].starts_with(']') {
            let problem = self.problem_at(at..at + 1, "this header is closed twice", "one bracket too many");
            return Some(problem.help("leave it out").fix(self.mark(at..at + 1), Some(String::new())));
        }
        None
    }

    /// `key: value`, `key == value`, `key value`.
    fn assignment(&self) -> Option<Problem> {
        let range = self.trimmed();
        let line = &self.text[range.clone()];
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let key = &line[..line.find(|c| !word(c)).unwrap_or(line.len())];
        let rest = line[key.len()..].trim_start();
        if key.is_empty() {
            return None;
        }
        let sign = range.end - rest.len();
        let problem = match rest {
            _ if rest.starts_with("==") => {
                let problem =
                    self.problem_at(sign..sign + 2, "settings are written with one `=`", "one too many");
                problem.fix(self.mark(sign..sign + 2), Some("=".to_owned()))
            }
            _ if rest.starts_with(":=") => {
                self.problem_at(sign..sign + 2, "settings are written with `=`", "not so")
            }
            _ if rest.starts_with(':') => {
                self.problem_at(sign..sign + 1, "settings are written with `=`", "not with a colon")
            }
            _ if rest.starts_with(['"', '\'']) && self.message.starts_with("key with no value") => {
                let message = format!("there is no `=` between `{key}` and its value");
                self.problem_at(range.start..range.start + key.len(), message, "`=` is missing after this")
            }
            _ if self.message.starts_with("key with no value") && !line.contains('=') => {
                let problem = self.problem_at(range, "this line is no setting", "there is no `=` in it");
                return Some(problem.help("write NAME = VALUE; a comment begins with #"));
            }
            _ => return None,
        };
        Some(problem.help(format!("write {key} = …")))
    }

    /// A character that TOML does not take: from a word processor, a web page, a broken file.
    fn character(&self) -> Option<Problem> {
        let line = self.line();
        let at = self.clamped().start;
        if let Some(problem) = self.typographic() {
            return Some(problem);
        }
        // The parser stops before, at or just behind it.
        let near = |(offset, c): &(usize, char)| line.start + offset + c.len_utf8() >= at && strange(*c);
        let text = self.text[line.clone()].trim_end_matches(['\r', '\n']);
        let (offset, found) = text.char_indices().find(near)?;
        let start = line.start + offset;
        let mark = start..start + found.len_utf8();
        let code = format!("U+{:04X}", found as u32);
        if found == '\r' {
            let problem = self.problem_at(mark, "a carriage return stands alone here", "no line end in TOML");
            return Some(problem.help("save the file with line ends of Unix or Windows"));
        }
        let (message, usual) = match found {
            _ if found.is_control() => (format!("there is a control character here ({code})"), None),
            _ if found.is_whitespace() => (format!("this is not an ordinary blank ({code})"), Some(" ")),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => {
                (format!("this is not an ordinary hyphen ({code})"), Some("-"))
            }
            '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => (format!("there is an invisible character here ({code})"), Some("")),
            _ => return None,
        };
        let problem = self.problem_at(mark.clone(), message, "TOML takes none here");
        Some(match usual {
            Some("") | None => problem.help("delete it"),
            Some(usual) => {
                problem.help(format!("type `{usual}` instead")).fix(self.mark(mark), Some(usual.to_owned()))
            }
        })
    }

    /// A value in quotes of a word processor.
    fn typographic(&self) -> Option<Problem> {
        let line = self.line();
        let at = self.clamped().start;
        let text = &self.text[at..line.end.max(at)];
        let first = text.chars().next().filter(|c| TYPOGRAPHIC.contains(c))?;
        let inner = &text[first.len_utf8()..];
        let (inside, last) = match inner.find(TYPOGRAPHIC) {
            Some(end) => (&inner[..end], inner[end..].chars().next()),
            None => (inner.trim_end(), None),
        };
        let length = first.len_utf8() + inside.len() + last.map_or(0, char::len_utf8);
        let problem = self.problem_at(
            at..at + length,
            "these are not the quotes of TOML",
            "quotes of a word processor",
        );
        let right = quoted(inside);
        Some(match &right {
            Some(right) => problem
                .help(format!("write {right}"))
                .fix(self.mark(at..at + length), last.map(|_| right.clone())),
            None => problem.help("write \" around the text"),
        })
    }

    fn comma(&self) -> Option<Problem> {
        let what = match self.message {
            text if text.starts_with("missing comma between array elements") => "values of a list",
            text if text.starts_with("missing comma between key-value pairs") => {
                "settings of an inline table"
            }
            _ => return None,
        };
        let at = self.visible();
        let problem = self.problem_at(
            at,
            format!("there is no comma between two {what}"),
            "a comma is missing before this",
        );
        Some(problem.help("write a comma between them"))
    }
}

/// Whether TOML takes a character neither in a key nor, if it is a control character, in a text.
fn strange(c: char) -> bool {
    (c.is_control() && c != '\t')
        || (c.is_whitespace() && !c.is_ascii())
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2015}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2212}' | '\u{feff}')
}
