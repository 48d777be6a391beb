//! Taking a resource out of a text, with the comments that belong to it and no others.

use std::ops::Range;

use toml_edit::{DocumentMut, Key};

use super::layout::{restore, without_mark};
use crate::manifest::Kind;
use crate::manifest::scan::scan;

/// The text without one resource; `None` if it can't be taken out.
pub(super) fn resource(text: &str, kind: Kind, name: &str) -> Option<String> {
    let mut rest = text.to_owned();
    for block in blocks(text, kind, name).into_iter().rev() {
        rest.replace_range(block, "");
    }
    let mut document: DocumentMut = without_mark(&rest).parse().ok()?;
    // What is written without a header of its own: `[deployment]` and below it `web-1 = { … }`.
    let left = document.get_mut(kind.name()).and_then(|item| item.as_table_like_mut());
    if left.is_some_and(|table| table.remove(name).is_some()) {
        rest = restore(&rest, &document.to_string());
    }
    Some(rest)
}

/// The stretches of text below the resource's headers.
fn blocks(text: &str, kind: Kind, name: &str) -> Vec<Range<usize>> {
    let headers = scan(text).headers;
    let mut blocks = Vec::new();
    for (number, start) in headers.iter().enumerate() {
        let path = path(&text[*start..]);
        if !matches!(path.as_slice(), [first, second, ..] if first == kind.name() && second == name) {
            continue;
        }
        let next = headers.get(number + 1).map_or(text.len(), |next| line_start(text, *next));
        let from = above(text, line_start(text, *start));
        let end = end(text, *start, next);
        // Nothing follows that the blank lines before it would set apart.
        let from = if end == text.len() { after_blank(text, from) } else { from };
        blocks.push(from..end);
    }
    blocks
}

/// The keys of a header line.
fn path(line: &str) -> Vec<String> {
    let line = line.lines().next().unwrap_or_default().trim_start_matches('[');
    let ends = line.match_indices(']').map(|(at, _)| at);
    // A bracket may stand in a quoted key or in a comment: the first end that parses is the end.
    let parsed = ends.into_iter().find_map(|end| Key::parse(line[..end].trim()).ok());
    parsed.unwrap_or_default().iter().map(|key| key.get().to_owned()).collect()
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// Where the comments begin that stand directly above a line.
fn above(text: &str, line: usize) -> usize {
    let mut start = line;
    while start > 0 {
        let previous = line_start(text, start - 1);
        if !text[previous..start].trim_start_matches('\u{feff}').trim_start().starts_with('#') {
            break;
        }
        start = previous;
    }
    // The mark at the very beginning is no part of the comment.
    if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { start }
}

/// Where the blank lines before a line begin.
fn after_blank(text: &str, line: usize) -> usize {
    let before = text[..line].trim_end();
    text[before.len()..line].find('\n').map_or(before.len(), |end| before.len() + end + 1)
}

/// The end of the last line with settings, of the comments right below it, and of the blank
/// lines that set the next thing apart.
fn end(text: &str, header: usize, next: usize) -> usize {
    let mut at = header;
    let (mut end, mut blank) = (header, false);
    for line in text[header..next].split_inclusive('\n') {
        at += line.len();
        let words = line.trim();
        match words.chars().next() {
            None => blank = true,
            Some('#') if blank => {}
            _ => {
                end = at;
                blank = false;
            }
        }
    }
    for line in text[end..].split_inclusive('\n') {
        if !line.trim().is_empty() {
            break;
        }
        end += line.len();
    }
    end
}
