//! `If-Match` (RFC 9110, section 13.1.1): a write is made only if the resource is still the one that its writer has
//! seen.

use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;

/// The versions that a writer accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: any, as long as there is one.
    Any,
    /// The first parts of entity tags; the second is of how the resource stands, which a write does not change.
    Versions(Vec<String>),
}

impl IfMatch {
    /// The header's text; `None` without one.
    pub fn header(headers: &HeaderMap) -> Result<Option<String>, String> {
        let mut parts = Vec::new();
        for header in headers.get_all(IF_MATCH) {
            parts.push(header.to_str().map_err(|_| "If-Match: this is no text".to_owned())?);
        }
        Ok((!parts.is_empty()).then(|| parts.join(", ")))
    }

    /// Reads what the header says. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<IfMatch, String> {
        let mut versions = Vec::new();
        for tag in text.split(',').map(str::trim) {
            match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
                Some(tag) => versions.push(tag.split('-').next().unwrap_or_default().to_owned()),
                None if tag == "*" => return Ok(IfMatch::Any),
                // A weak tag matches nothing.
                None if tag.starts_with("W/\"") => versions.push(String::new()),
                None => {
                    return Err("If-Match takes `*` or tags as the header ETag has them, in quotes".into());
                }
            }
        }
        Ok(IfMatch::Versions(versions))
    }

    /// Whether a resource of this version is accepted.
    pub fn fits(&self, version: &str) -> bool {
        match self {
            IfMatch::Any => true,
            IfMatch::Versions(versions) => versions.iter().any(|one| one == version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_by_their_first_part() {
        let read = IfMatch::parse;
        let fits = |text: &str| read(text).unwrap().fits("ab");
        assert!(fits("*") && fits("\"ab-cd\"") && fits("\"x-1\", \"ab-2\"") && fits("\"ab\""));
        assert!(!fits("\"abc-cd\"") && !fits("W/\"ab-cd\"") && !fits("\"\""));
        assert!(read("ab-cd").is_err() && read("").is_err());
        assert_eq!(IfMatch::header(&HeaderMap::new()), Ok(None));
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, "\"a\"".parse().unwrap());
        headers.append(IF_MATCH, "\"b\"".parse().unwrap());
        assert_eq!(IfMatch::header(&headers), Ok(Some("\"a\", \"b\"".into())));
    }
}
