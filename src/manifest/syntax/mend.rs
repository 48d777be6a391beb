//! A faulty line hides what follows it: the parser takes the next line for its value, or the keys below a
//! broken header for those of the table before. So the text is read again without the reported faults, each
//! byte where it was.

use std::ops::Range;

use super::Fault;

/// The change that removes a fault before the text is read again.
pub(super) enum Cure {
    /// These bytes become blanks.
    Blank(Range<usize>),
    /// A header without its last bracket.
    Close(Range<usize>),
}

impl Fault<'_> {
    /// `None`: it is unknown how far the fault reaches.
    pub(super) fn cure(&self) -> Option<Cure> {
        let line = self.line();
        if let Some(open) = self.unclosed_bracket() {
            return Some(Cure::Blank(self.start_of_line(open)..line.start));
        }
        if self.unclosed().is_some_and(|open| self.is_long(open)) || self.is_inside(line.start) {
            return None;
        }
        let text = self.text[line.clone()].trim();
        if text.starts_with('[') {
            let unclosed = self.message.starts_with("unclosed") && !text.contains([']', '#', '"', '\'']);
            return Some(match unclosed && self.blank_line_before(line.start) {
                true => Cure::Close(line),
                false => Cure::Blank(line.start..self.next_header(line.end)),
            });
        }
        let end = self.eaten();
        (!self.is_inside(end)).then_some(Cure::Blank(line.start..end))
    }

    /// Whether a line that begins here lies in brackets or a long text that an earlier one opened.
    fn is_inside(&self, start: usize) -> bool {
        self.scan.inside.binary_search_by_key(&start, |(start, _)| *start).is_ok()
    }

    pub(super) fn next_header(&self, from: usize) -> usize {
        let next = self.scan.headers.partition_point(|header| *header < from);
        self.scan.headers.get(next).copied().unwrap_or(self.text.len())
    }

    pub(super) fn start_of_line(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    fn blank_line_before(&self, start: usize) -> bool {
        self.text[..start].ends_with("\n\n") || self.text[..start].ends_with("\n\r\n")
    }
}

/// The text without what the corrections remove, with its length unchanged.
pub(super) fn mended(text: &str, cures: &[Cure]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for cure in cures {
        match cure {
            Cure::Blank(range) => {
                bytes[range.clone()].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            }
            // The header moves into the line end before it, which makes room for the bracket.
            Cure::Close(line) => {
                let end = line.start + text[line.clone()].trim_end().len();
                bytes.copy_within(line.start..end, line.start - 1);
                bytes[end - 1] = b']';
            }
        }
    }
    // A cure begins and ends between characters.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether one of these ranges, which are in order, holds a place.
pub(super) fn holds(ranges: &[Range<usize>], at: usize) -> bool {
    let after = ranges.partition_point(|range| range.start <= at);
    after.checked_sub(1).is_some_and(|last| at < ranges[last].end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::scan::scan;

    #[test]
    fn a_mended_text_keeps_every_byte_in_its_place() {
        let text = "a = 1\nfoo bär\n\n[m.x\nb = 2\n";
        let scan = scan(text);
        let header = text.find("[m.x").unwrap();
        let cures = [Cure::Blank(6..15), Cure::Close(header..header + 5)];
        let mended = mended(text, &cures);
        assert_eq!(mended.len(), text.len());
        assert_eq!(mended, "a = 1\n        \n[m.x]\nb = 2\n");
        assert_eq!(scan.headers, [header]);
    }

    #[test]
    fn ranges_hold_what_lies_in_them() {
        let ranges = [1..3, 5..9];
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 8, 9].map(|at| holds(&ranges, at)),
            [false, true, true, false, false, true, true, false]
        );
    }
}
