//! The kernel's command line.

use super::{RenderError, Text, Values};

/// What the kernel keeps: x86 and arm64 have `COMMAND_LINE_SIZE` 2048 with the final NUL; what
/// is beyond is cut off without a word.
pub const LONGEST: usize = 2047;

/// Why a command line can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// `word` counts from 0; the position in the error is one within that word.
    #[error("word {} of the command line: {error}", word + 1)]
    Render { word: usize, error: RenderError },
    #[error("word {} of the command line has a control character", word + 1)]
    Control { word: usize },
    #[error("the command line has {length} bytes; the kernel cuts it off after {LONGEST}")]
    Long { length: usize },
    /// Boot loaders have no way to say it.
    #[error("`{word}` can't be passed by {loader}: {reason}")]
    Unfit { word: String, loader: &'static str, reason: &'static str },
}

/// Fills in the words of a command line; a word that is empty then is left out.
pub fn cmdline(
    words: &[Text],
    values: &Values,
    secrets: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, CmdlineError> {
    let mut filled = Vec::with_capacity(words.len());
    for (word, text) in words.iter().enumerate() {
        let text = text.render(values, secrets).map_err(|error| CmdlineError::Render { word, error })?;
        if text.chars().any(char::is_control) {
            return Err(CmdlineError::Control { word });
        }
        if !text.trim().is_empty() {
            filled.push(text);
        }
    }
    Ok(filled)
}

/// Whether the kernel would keep the whole line, with `more` bytes that a loader adds.
pub fn check_length(words: &[String], more: usize) -> Result<(), CmdlineError> {
    let length = words.iter().map(|word| word.len() + 1).sum::<usize>().saturating_sub(1) + more;
    if length > LONGEST { Err(CmdlineError::Long { length }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Value;

    fn fill(words: &[&str], host: &str) -> Result<Vec<String>, CmdlineError> {
        let words: Vec<Text> = words.iter().map(|word| Text::parse(*word).unwrap()).collect();
        let values = Values::from([("host".to_owned(), Value::String(host.to_owned()))]);
        cmdline(&words, &values, &|_| None)
    }

    #[test]
    fn fills_and_drops_empty_words() {
        let words = ["auto=true", "{% if host != '' %}hostname={{ host }}{% endif %}", "---"];
        assert_eq!(fill(&words, "web-1").unwrap(), ["auto=true", "hostname=web-1", "---"]);
        assert_eq!(fill(&words, "").unwrap(), ["auto=true", "---"]);
    }

    #[test]
    fn says_which_word() {
        let error = fill(&["quiet", "url={{ answers }}"], "").unwrap_err();
        assert!(matches!(&error, CmdlineError::Render { word: 1, error } if error.column == 8), "{error}");
        assert_eq!(fill(&["a={{ host }}"], "x\ninit=/bin/sh"), Err(CmdlineError::Control { word: 0 }));
    }

    #[test]
    fn measures_the_joined_line() {
        let words = ["a".repeat(1000), "b".repeat(1046)];
        assert_eq!(check_length(&words, 0), Ok(()));
        assert_eq!(check_length(&words, 1), Err(CmdlineError::Long { length: 2048 }));
        assert_eq!(check_length(&[], 0), Ok(()));
    }
}
