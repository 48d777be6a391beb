//! The words of a line, as Python's `shlex.split` finds them: pykickstart splits commands by it.

/// Why a line has no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitError {
    Quote(char),
    /// A backslash with nothing behind it, not even the line's end.
    Backslash,
}

impl SplitError {
    pub(super) fn message(self) -> String {
        match self {
            SplitError::Quote(quote) => format!("a quote `{quote}` is not closed on this line"),
            SplitError::Backslash => "nothing follows the backslash at the end".to_owned(),
        }
    }
}

/// `line` with its line end. A comment is left out where `comments` says so.
pub(super) fn split(line: &str, comments: bool) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            // Between double quotes a backslash keeps itself before all but these two.
            (Some('"'), '\\') => {
                let next = letters.next().ok_or(SplitError::Backslash)?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, '#') if comments => break,
            (None, '\\') => word.get_or_insert_default().push(letters.next().ok_or(SplitError::Backslash)?),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(quote) => Err(SplitError::Quote(quote)),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_shlex() {
        let words = |line: &str| split(line, true).map(|words| words.join("|"));
        assert_eq!(words("a  \"b c\" 'd\"e' f\\ g\n"), Ok("a|b c|d\"e|f g".to_owned()));
        assert_eq!(words("a b#c d\n"), Ok("a|b".to_owned()));
        assert_eq!(words("a \"\\x\\\"\" ''\n"), Ok("a|\\x\"|".to_owned()));
        assert_eq!(words("it's\n"), Err(SplitError::Quote('\'')));
        assert_eq!(words("a \\"), Err(SplitError::Backslash));
        assert_eq!(words("a \\\n"), Ok("a|\n".to_owned()));
        assert_eq!(split("%end # it\n", false), Ok(vec!["%end".into(), "#".into(), "it".into()]));
    }
}
