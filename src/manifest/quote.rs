//! Texts as TOML writes them.

/// A text in quotes; `None` for one with characters that would need escapes: such a text is
/// nothing to be written by a program without a person looking.
pub(super) fn quoted(text: &str) -> Option<String> {
    let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
    text.chars().all(plain).then(|| format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_texts_are_quoted() {
        assert_eq!(quoted("it's é").as_deref(), Some("\"it's é\""));
        assert_eq!(quoted("a\"b"), None);
        assert_eq!(quoted("a\\b"), None);
        assert_eq!(quoted("a\u{1b}b"), None);
    }
}
