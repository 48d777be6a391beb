//! Problems as text: in full with the lines they are about, one line each, or JSON.

mod concise;
mod full;
mod json;

pub use concise::concise;
pub use full::full;
pub use json::json;

use std::borrow::Cow;

/// Control characters come from files: escaped, they can't play with a terminal.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(harmful) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match harmful(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe.into()
}

/// Control characters and those that change the direction of writing.
fn harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
