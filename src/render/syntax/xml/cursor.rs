//! A place in an XML text, and the smallest pieces that begin there.

use super::{Step, wrong};

#[derive(Default)]
pub(super) struct Cursor<'a> {
    pub text: &'a str,
    /// In bytes.
    pub at: usize,
}

/// What an `&` begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    /// `None` for a number that is no character of XML.
    Character(Option<char>),
    Name(&'a str),
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Whether `begin` stood here; then it is behind.
    pub(super) fn skip(&mut self, begin: &str) -> bool {
        let found = self.rest().starts_with(begin);
        self.at += if found { begin.len() } else { 0 };
        found
    }

    /// Whether there was white space.
    pub(super) fn spaces(&mut self) -> bool {
        let bare = self.rest().trim_start_matches(is_space);
        let length = self.rest().len() - bare.len();
        self.at += length;
        length > 0
    }

    /// What stands before `end`, which is behind then.
    pub(super) fn until(&mut self, end: &str) -> Option<&'a str> {
        let found = self.rest().find(end)?;
        let before = &self.rest()[..found];
        self.at += found + end.len();
        Some(before)
    }

    /// What stands before `end`, or the text's end, which stays ahead.
    pub(super) fn until_char(&mut self, end: char) -> &'a str {
        let rest = self.rest();
        let before = &rest[..rest.find(end).unwrap_or(rest.len())];
        self.at += before.len();
        before
    }

    /// XML 1.0, 2.3, with its colons.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        let name = Some(&rest[..length]).filter(|name| name.starts_with(begins_name))?;
        self.at += length;
        Some(name)
    }

    /// The rest of the text belongs to what begins at `start`.
    pub(super) fn unclosed(&mut self, start: usize, what: &str) -> Step<()> {
        self.at = self.text.len();
        wrong(start, format!("{what} is not closed"))
    }

    pub(super) fn comment(&mut self) -> Step<()> {
        let start = self.at;
        self.at += "<!--".len();
        let Some(inside) = self.until("-->") else { return self.unclosed(start, "a comment") };
        if inside.contains("--") || inside.ends_with('-') {
            return wrong(start, "a comment can't hold `--`");
        }
        characters(inside, start + "<!--".len())
    }

    pub(super) fn instruction(&mut self) -> Step<()> {
        let start = self.at;
        self.at += "<?".len();
        let Some(name) = self.name() else { return wrong(start, "`<?` has no name behind it") };
        if name.eq_ignore_ascii_case("xml") {
            return wrong(start, "the XML declaration is the very first thing in the file, or not there");
        }
        if !self.rest().starts_with("?>") && !self.rest().starts_with(is_space) {
            return wrong(start, format!("a blank is missing after `<?{name}`"));
        }
        let at = self.at;
        let Some(inside) = self.until("?>") else {
            return self.unclosed(start, "a processing instruction");
        };
        characters(inside, at)
    }
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `NameStartChar` of XML 1.0.
fn begins_name(c: char) -> bool {
    matches!(c,
        ':' | 'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}'
        | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

fn in_name(c: char) -> bool {
    begins_name(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// `Char` of XML 1.0.
fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// A text that begins at the byte `start` has no character that XML can't have.
pub(super) fn characters(text: &str, start: usize) -> Step<()> {
    match text.char_indices().find(|(_, c)| !is_character(*c)) {
        Some((at, c)) => wrong(start + at, format!("XML can't have the character U+{:04X}", u32::from(c))),
        None => Ok(()),
    }
}

/// Where each `&` stands, and what follows it.
pub(super) fn references(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('&').map(|(at, _)| (at, &text[at + 1..]))
}

/// The reference that `rest` begins with, behind its `&`.
pub(super) fn reference(rest: &str) -> Option<Reference<'_>> {
    if let Some(number) = rest.strip_prefix('#') {
        let (number, _) = number.split_once(';')?;
        let digits = |digits: &str, radix| {
            let wanted = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            wanted.then(|| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32))
        };
        let character = match number.strip_prefix('x') {
            Some(number) => digits(number, 16)?,
            None => digits(number, 10)?,
        };
        return Some(Reference::Character(character.filter(|c| is_character(*c))));
    }
    let mut cursor = Cursor::new(rest);
    let name = cursor.name()?;
    cursor.skip(";").then_some(Reference::Name(name))
}
