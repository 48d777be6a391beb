//! A folder of an installer's tree as a page of links: for people, and for tools that walk (`wget -r`,
//! mirroring scripts). One row a name, as nginx and Apache write them.

use std::fmt::Write as _;

use super::{Artifact, script};
use crate::media::index::Listed;
use crate::model::Content;
use crate::state::Stage;

/// The page for `folder` (its path on this server, without slashes at the ends). Links are absolute:
/// they hold whether or not the client wrote the slash at the end, so nobody needs a redirect.
pub(super) fn page<'a>(folder: &str, rows: impl IntoIterator<Item = (&'a str, Listed<'a>)>) -> Artifact {
    let title = escape(folder);
    let mut html =
        format!("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>/{title}/</title></head>\n");
    let _ = writeln!(html, "<body><h1>/{title}/</h1><hr><pre>");
    if let Some((parent, _)) = folder.rsplit_once('/') {
        let _ = writeln!(html, "<a href=\"/{}/\">../</a>", encode(parent));
    }
    for (name, listed) in rows {
        row(&mut html, folder, name, &listed);
    }
    html.push_str("</pre><hr></body></html>\n");
    Artifact {
        etag: script::digest(html.as_bytes()),
        content: Content::Bytes(html.into()),
        media_type: "text/html; charset=utf-8",
        stage: Stage::File,
        mac: None,
        deployment: None,
        text: format!("{folder}/ (listing)"),
    }
}

fn row(html: &mut String, folder: &str, name: &str, listed: &Listed<'_>) {
    let (slash, note) = match listed {
        Listed::Folder | Listed::Link(_) => ("/", String::new()),
        Listed::File(entry) => ("", entry.len().to_string()),
        Listed::Refused(why) => {
            let _ = writeln!(html, "{} (not served: {})", escape(name), escape(why));
            return;
        }
    };
    let (shown, target) = (escape(name), encode(&format!("{folder}/{name}")));
    let _ =
        writeln!(html, "{}", format!("<a href=\"/{target}{slash}\">{shown}{slash}</a> {note}").trim_end());
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Percent-encodes all but what needs no thought in a path.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                encoded.push(char::from(byte));
            }
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
