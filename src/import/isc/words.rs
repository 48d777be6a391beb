//! The words of dhcpd.conf.

use std::sync::Arc;

use crate::import::Line;

/// A word and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) line: Line,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Plain(String),
    /// Between quotes.
    Text(String),
    Open,
    Close,
    /// `;`
    End,
    Comma,
}

impl Word {
    pub(super) fn text(&self) -> &str {
        match self {
            Word::Plain(text) | Word::Text(text) => text,
            Word::Open | Word::Close | Word::End | Word::Comma => "",
        }
    }
}

/// The words of a file, without its comments.
pub(super) fn words(file: &Arc<str>, text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut number = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let line = Line { file: file.clone(), number };
        let word = match c {
            '\n' => {
                number += 1;
                continue;
            }
            '#' => {
                while chars.peek().is_some_and(|next| *next != '\n') {
                    chars.next();
                }
                continue;
            }
            '{' => Word::Open,
            '}' => Word::Close,
            ';' => Word::End,
            ',' => Word::Comma,
            '"' => {
                let (text, lines) = quoted(&mut chars);
                number += lines;
                Word::Text(text)
            }
            c if c.is_whitespace() => continue,
            c => {
                let mut plain = String::from(c);
                while let Some(next) =
                    chars.next_if(|next| !next.is_whitespace() && !"{};,\"#".contains(*next))
                {
                    plain.push(next);
                }
                Word::Plain(plain)
            }
        };
        found.push(Token { word, line });
    }
    found
}

/// The rest of a string, and how many lines it goes over. `\NNN` is a byte in octal, `\xNN` one in hexadecimal.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> (String, u32) {
    let (mut text, mut lines) = (String::new(), 0);
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\n' => {
                lines += 1;
                text.push(c);
            }
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('x') => text.extend(number(chars, 16, 2, 0)),
                Some(digit @ '0'..='7') => {
                    text.extend(number(chars, 8, 2, u32::from(digit) - u32::from('0')))
                }
                Some(other) => text.push(other),
                None => break,
            },
            c => text.push(c),
        }
    }
    (text, lines)
}

fn number(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    base: u32,
    most: usize,
    first: u32,
) -> Option<char> {
    let mut value = first;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|next| next.to_digit(base)) else { break };
        value = value * base + digit;
        chars.next();
    }
    char::from_u32(value & 0xff)
}
