//! Conditions a client puts on its request (RFC 9110 section 13).

use super::date;
use super::field::trim;

/// What identifies the bytes that the server holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// Without quotes.
    pub etag: &'a str,
    /// Last change, in seconds since the epoch.
    pub modified: Option<u64>,
}

/// Whether the client already has these bytes. `If-None-Match` takes precedence.
pub(super) fn unchanged(
    ours: Validators<'_>,
    none_match: Option<&str>,
    modified_since: Option<&str>,
) -> bool {
    if let Some(tags) = none_match {
        return tags.split(',').any(|tag| matches_weakly(trim(tag), ours.etag));
    }
    match (modified_since.and_then(date::parse), ours.modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether the client expects other bytes than the server holds: it continues a download (EDK2 sends these
/// headers with its ranges) that has changed meanwhile. `If-Match` takes precedence.
pub(super) fn mistaken(ours: Validators<'_>, if_match: Option<&str>, unmodified_since: Option<&str>) -> bool {
    if let Some(tags) = if_match {
        let strongly = |tag: &str| tag == "*" || unquoted(tag) == Some(ours.etag);
        return !tags.split(',').any(|tag| strongly(trim(tag)));
    }
    match (unmodified_since.and_then(date::parse), ours.modified) {
        (Some(since), Some(modified)) => modified > since,
        _ => false,
    }
}

/// Whether a range may be served: the client's other bytes are of the same content.
pub(super) fn range_applies(ours: Validators<'_>, if_range: Option<&str>) -> bool {
    match if_range.map(trim) {
        None => true,
        Some(tag) if tag.starts_with('"') => unquoted(tag) == Some(ours.etag),
        Some(tag) if tag.starts_with("W/") => false,
        Some(text) => ours.modified.is_some() && date::parse(text) == ours.modified,
    }
}

fn matches_weakly(tag: &str, ours: &str) -> bool {
    tag == "*" || unquoted(tag.strip_prefix("W/").unwrap_or(tag)) == Some(ours)
}

fn unquoted(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Validators<'_> = Validators { etag: "a1", modified: Some(784_111_777) };
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn tags_come_before_dates() {
        assert!(unchanged(OURS, Some("\"x\", W/\"a1\""), None));
        assert!(unchanged(OURS, Some("*"), None));
        assert!(!unchanged(OURS, Some("\"x\""), Some(SAME)));
        assert!(unchanged(OURS, None, Some(SAME)));
        assert!(!unchanged(OURS, None, Some(EARLIER)));
        assert!(!unchanged(OURS, None, Some("soon")));
        assert!(!unchanged(OURS, None, None));
        assert!(!unchanged(Validators { modified: None, ..OURS }, None, Some(SAME)));
    }

    #[test]
    fn a_resumed_download_is_of_the_same_bytes() {
        for (tags, date) in
            [(None, None), (Some("\"x\", \"a1\""), Some(EARLIER)), (Some("*"), None), (None, Some(SAME))]
        {
            assert!(!mistaken(OURS, tags, date), "{tags:?} {date:?}");
        }
        for (tags, date) in [(Some("\"x\""), Some(SAME)), (Some("W/\"a1\""), None), (None, Some(EARLIER))] {
            assert!(mistaken(OURS, tags, date), "{tags:?} {date:?}");
        }
        assert!(!mistaken(Validators { modified: None, ..OURS }, None, Some(EARLIER)));
    }

    #[test]
    fn a_range_of_other_bytes_is_not_served() {
        for value in [None, Some("\"a1\""), Some(SAME)] {
            assert!(range_applies(OURS, value), "{value:?}");
        }
        for value in ["\"b2\"", "W/\"a1\"", EARLIER, "a1", ""] {
            assert!(!range_applies(OURS, Some(value)), "{value:?}");
        }
    }
}
