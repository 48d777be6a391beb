//! Makes text from strangers fit for one line of a log or a terminal: a line end in it would begin a forged
//! line, an escape would control the terminal, and characters that change the direction of writing or show
//! nothing would make one name look like another.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Deref;

/// Most characters of a line; what is longer is cut.
const LONGEST: usize = 2000;

/// One printable line: every other character is written as an escape (`\n`, `\u{202e}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line(String);

impl From<String> for Line {
    fn from(text: String) -> Line {
        if text.len() <= LONGEST
            && let Cow::Borrowed(_) = line(&text)
        {
            return Line(text);
        }
        let Some((cut, _)) = text.char_indices().nth(LONGEST) else { return Line(line(&text).into_owned()) };
        Line(format!("{}…", line(&text[..cut])))
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Line {
        text.to_owned().into()
    }
}

impl From<Line> for String {
    fn from(line: Line) -> String {
        line.0
    }
}

impl Deref for Line {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Line {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Line {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character shows as itself and moves nothing.
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Letters and marks that show nothing: Hangul fillers, the grapheme joiner, Khmer's inherent vowels,
        // variation selectors.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => false,
        '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => false,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => false,
        // The standard library escapes a combining mark only where it has no character to combine with.
        c => {
            let mut text = [b'x'; 5];
            let length = c.encode_utf8(&mut text[1..]).len();
            std::str::from_utf8(&text[..=length]).is_ok_and(|text| text.escape_debug().count() == 2)
        }
    }
}

/// The text as one line.
pub fn line(text: &str) -> Cow<'_, str> {
    // Nearly every text is plain, and testing bytes is much quicker than testing characters.
    if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    escaped(text, is_printable)
}

/// The text with the lines that it has, and its tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_printable(c) || matches!(c, '\n' | '\t'))
}

/// The text of a JSON value with every other character as `\uXXXX`: the value stays the same.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Line ends are between values; inside them they are escaped already.
        if is_printable(c) || c == '\n' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String can't fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// The same for a document in YAML or TOML, whose double quotes know no pairs of surrogates: `\uXXXX` or `\UXXXXXXXX`.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String can't fail.
        let _ = match u32::from(c) {
            _ if is_printable(c) || c == '\n' => out.write_char(c),
            code @ ..=0xffff => write!(out, "\\u{code:04x}"),
            code => write!(out, "\\U{code:08x}"),
        };
    }
    out
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(|c| !stays(c)) else { return Cow::Borrowed(text) };
    let (plain, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(plain);
    for c in rest.chars() {
        if stays(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_or_hides_is_escaped() {
        let harmful = "\0\x07\x08\n\r\x0b\x0c\x1b\x7f\u{80}\u{85}\u{9b}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\
            \u{2000}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202d}\u{202e}\
            \u{2060}\u{2061}\u{2066}\u{2067}\u{2068}\u{2069}\u{206f}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\
            \u{fff9}\u{1d173}\u{e0001}\u{e0041}\u{e0100}\u{e000}\u{10ffff}";
        for c in harmful.chars() {
            assert!(!is_printable(c), "{:04x}", u32::from(c));
            let text = line(&c.to_string()).into_owned();
            assert!(text.starts_with('\\') && text.is_ascii(), "{text}");
        }
        assert_eq!(line("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(lines("a\nb\tc\rd"), "a\nb\tc\\rd");
    }

    #[test]
    fn words_of_all_scripts_stay() {
        for text in ["web-1: `x` \"y\" \\z", "é e\u{301} ß ø", "日本語", "नमस्ते", "שלום", "…–·→✓", "\u{fffd}"]
        {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn a_line_is_one_and_ends() {
        assert_eq!(Line::from("a\nb"), "a\\nb");
        let long = Line::from("x\n".repeat(5000));
        assert!(long.chars().count() <= 2 * LONGEST + 1 && long.ends_with('…'));
        assert_eq!(Line::from("é".repeat(LONGEST)).chars().count(), LONGEST);
    }

    #[test]
    fn json_keeps_its_value_and_loses_its_teeth() {
        let wild = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}é\n";
        let text = json(&serde_json::to_string(&[wild]).unwrap());
        assert!(text.chars().all(is_printable), "{text:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [wild]);
    }

    #[test]
    fn toml_keeps_its_value_too() {
        let wild = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}é";
        let text = quoted(&format!("x = {}", toml::Value::from(wild)));
        assert!(text.chars().all(is_printable), "{text:?}");
        assert_eq!(text.parse::<toml::Table>().unwrap()["x"].as_str(), Some(wild), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_gets_through(text: String) {
            proptest::prop_assert!(Line::from(text).chars().all(is_printable));
        }
    }
}
