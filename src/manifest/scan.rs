//! A quick look over a TOML text before the real parser sees it: how deep it nests (the parser
//! builds one level of recursion for each), quotes that are never closed (whose mistake the
//! parser finds at the wrong end of the line), and what only TOML 1.1 allows.

use std::ops::Range;

/// Deepest nesting of tables, arrays and dotted keys together.
pub const DEPTH_MAX: usize = 64;

/// What was seen.
#[derive(Debug, Default, PartialEq)]
pub struct Scan {
    /// Quotes without an end: from the quote to the end of its line.
    pub unclosed: Vec<Range<usize>>,
    /// Where TOML 1.0 tools will stop, and why.
    pub modern: Vec<(Range<usize>, &'static str)>,
    /// Where the nesting went over `DEPTH_MAX`, first time.
    pub too_deep: Option<usize>,
    /// Lines that begin inside brackets or a text of several lines: where the line begins, and where
    /// what it is in was opened.
    pub inside: Vec<(usize, usize)>,
    /// Brackets and braces without an end.
    pub open: Vec<usize>,
    /// Offsets of table headers.
    pub headers: Vec<usize>,
}

pub fn scan(text: &str) -> Scan {
    let mut scanner = Scanner::new(text.as_bytes());
    while scanner.at < scanner.bytes.len() {
        scanner.step();
    }
    scanner.seen.open = scanner.open.iter().map(|bracket| bracket.at).collect();
    scanner.seen
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Only blanks so far on this line, and no bracket open.
    fresh: bool,
    /// Dots of the last table header.
    header: usize,
    /// Dots since the last line or comma, outside brackets.
    dots: usize,
    open: Vec<Bracket>,
    seen: Scan,
}

struct Bracket {
    byte: u8,
    at: usize,
    dots: usize,
    /// The last thing inside was this comma.
    comma: Option<usize>,
    lines: bool,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0, fresh: true, header: 0, dots: 0, open: Vec::new(), seen: Scan::default() }
    }

    fn step(&mut self) {
        let byte = self.bytes[self.at];
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b'\n' => self.newline(),
            b'#' => self.at = self.line_end().saturating_sub(1),
            b'[' if self.fresh => self.header(),
            _ => self.token(byte),
        }
        self.at += 1;
    }

    fn token(&mut self, byte: u8) {
        self.fresh = false;
        let comma = self.open.last_mut().and_then(|bracket| bracket.comma.take());
        match byte {
            b'"' | b'\'' => self.string(byte),
            b'[' | b'{' => self.push(byte),
            b'}' | b']' => self.pop(byte, comma),
            b',' => {
                if let Some(bracket) = self.open.last_mut() {
                    bracket.dots = 0;
                    bracket.comma = Some(self.at);
                }
            }
            b'.' => {
                *self.open.last_mut().map_or(&mut self.dots, |bracket| &mut bracket.dots) += 1;
                self.measure();
            }
            _ => {}
        }
    }

    fn newline(&mut self) {
        if let Some(bracket) = self.open.last() {
            self.seen.inside.push((self.at + 1, bracket.at));
        }
        match self.open.last_mut() {
            Some(bracket) if bracket.byte == b'{' && !bracket.lines => {
                bracket.lines = true;
                let place = bracket.at..bracket.at + 1;
                self.seen.modern.push((place, "an inline table over several lines"));
            }
            Some(_) => {}
            None => {
                self.fresh = true;
                self.dots = 0;
            }
        }
    }

    fn header(&mut self) {
        self.seen.headers.push(self.at);
        self.header = 0;
        self.fresh = false;
        while self.at + 1 < self.bytes.len() && self.bytes[self.at + 1] != b'\n' {
            self.at += 1;
            match self.bytes[self.at] {
                quote @ (b'"' | b'\'') => self.string(quote),
                b'.' => {
                    self.header += 1;
                    self.measure();
                }
                b'#' => self.at = self.line_end().saturating_sub(1),
                _ => {}
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.open.push(Bracket { byte, at: self.at, dots: 0, comma: None, lines: false });
        self.measure();
    }

    fn pop(&mut self, byte: u8, comma: Option<usize>) {
        let Some(bracket) = self.open.pop() else { return };
        if let (b'}', b'{', Some(comma)) = (byte, bracket.byte, comma) {
            self.seen.modern.push((comma..comma + 1, "a comma before the end of an inline table"));
        }
    }

    fn measure(&mut self) {
        if self.seen.too_deep.is_some() {
            return;
        }
        let inside = || self.open.iter().map(|bracket| bracket.dots).sum::<usize>();
        let depth = self.header + self.dots + self.open.len();
        if depth > DEPTH_MAX || depth + inside() > DEPTH_MAX {
            self.seen.too_deep = Some(self.at);
        }
    }

    /// Leaves `at` on the last byte of the string.
    fn string(&mut self, quote: u8) {
        let start = self.at;
        let long = self.bytes[start..].starts_with(&[quote; 3]);
        self.at += if long { 3 } else { 1 };
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' if quote == b'"' => self.escape(),
                b'\n' if !long => break,
                b'\n' => {
                    self.at += 1;
                    self.seen.inside.push((self.at, start));
                }
                _ if byte != quote => self.at += 1,
                _ if !long => return,
                _ if self.bytes[self.at..].starts_with(&[quote; 3]) => {
                    self.at += 2;
                    // Up to two quotes may stand before the closing three.
                    for _ in 0..2 {
                        self.at += usize::from(self.bytes.get(self.at + 1) == Some(&quote));
                    }
                    return;
                }
                _ => self.at += 1,
            }
        }
        let line = start + self.bytes[start..].iter().take_while(|byte| **byte != b'\n').count();
        self.seen.unclosed.push(start..line);
        self.at -= 1;
    }

    fn escape(&mut self) {
        if let Some(b'e' | b'x') = self.bytes.get(self.at + 1) {
            self.seen.modern.push((self.at..self.at + 2, "this escape in a text"));
        }
        let eaten = match self.bytes.get(self.at + 1) {
            None | Some(b'\n') => 1,
            Some(_) => 2,
        };
        self.at += eaten;
    }

    fn line_end(&self) -> usize {
        self.at + self.bytes[self.at..].iter().take_while(|byte| **byte != b'\n').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_files_are_unremarkable() {
        let text = "# it's\n[a.b]\nx = \"#[{\" # 'open\ny = [\n 1, [2,],\n]\nz = '''\n\"'''\nw = { a = 1 }\n";
        assert_eq!(
            scan(text),
            Scan { headers: vec![7], inside: vec![(37, 35), (47, 35), (57, 53)], ..Scan::default() }
        );
    }

    #[test]
    fn unclosed_quotes_are_found_where_they_open() {
        assert_eq!(scan("a = \"b\nc = 'd\n").unclosed, [4..6, 11..13]);
        let only = |text| <[_; 1]>::try_from(scan(text).unclosed).unwrap()[0].clone();
        assert_eq!(only("a = \"b\\"), 4..7);
        assert_eq!(only("a = \"\"\"b\nc"), 4..8);
        assert_eq!(only("a = \""), 4..5);
    }

    #[test]
    fn later_toml_is_found() {
        assert_eq!(scan("a = { b = 1,\n c = 2, }").modern.len(), 2);
        assert_eq!(scan("a = \"\\e\"\nb = '\\e'").modern.len(), 1);
    }

    #[test]
    fn depth_is_measured_without_recursion() {
        for text in [
            format!("x = {}", "[".repeat(100_000)),
            "a.".repeat(100_000),
            format!("[{}", "a.".repeat(100_000)),
            "x=".to_owned() + &"{a=".repeat(100_000),
        ] {
            assert!(scan(&text).too_deep.is_some(), "{}", &text[..10]);
        }
        assert_eq!(scan("x = 1.5\ny = [1.5, 2.5]\n".repeat(200).as_str()).too_deep, None);
    }
}
