//! Messages of several parts (RFC 2045, 2046), which cloud-init takes in place of one file. Read as
//! Python's `email.feedparser` reads them, as far as cloud-init looks.

/// A part that holds no parts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::render) struct Part<'a> {
    /// Its content type in lower case, without parameters.
    pub kind: String,
    /// Whether its bytes stand there as they are.
    pub plain: bool,
    pub body: &'a str,
    /// The line its body begins at, from 1.
    pub line: usize,
}

/// Deepest nesting of messages; no real file has more.
const DEEPEST: usize = 8;

/// Whether cloud-init takes a text for a message (`convert_string` of its `user_data.py`).
pub(in crate::render) fn is_message(text: &str) -> bool {
    const LOOKED_AT: usize = 4096;
    let head = &text.as_bytes()[..text.len().min(LOOKED_AT)];
    let header = b"mime-version:";
    head.windows(header.len()).any(|found| found.eq_ignore_ascii_case(header))
}

/// The parts of a message, in order.
pub(in crate::render) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    collect(text, 1, 0, &mut parts);
    parts
}

fn collect<'a>(text: &'a str, line: usize, depth: usize, parts: &mut Vec<Part<'a>>) {
    let (headers, body) = headers(text);
    let line = line + text[..text.len() - body.len()].matches('\n').count();
    let header =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let content = header("content-type").unwrap_or("text/plain");
    let kind = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !kind.starts_with("multipart/") {
        let encoding = header("content-transfer-encoding").unwrap_or_default().trim().to_ascii_lowercase();
        let plain = !matches!(encoding.as_str(), "base64" | "quoted-printable" | "x-uuencode" | "uuencode");
        parts.push(Part { kind, plain, body, line });
        return;
    }
    let Some(boundary) = boundary(content).filter(|_| depth < DEEPEST) else { return };
    for (part, offset) in divided(body, &boundary) {
        collect(part, line + offset, depth + 1, parts);
    }
}

/// Names in lower case with their values, and what follows them.
fn headers(text: &str) -> (Vec<(String, String)>, &str) {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = rest[..end].trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            rest = &rest[end..];
            break;
        }
        match (line.starts_with([' ', '\t']), line.split_once(':')) {
            (true, _) if !headers.is_empty() => {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
            (false, Some((name, value))) if name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            // Without the empty line between: the body begins.
            _ => break,
        }
        rest = &rest[end..];
    }
    (headers, rest)
}

fn boundary(content: &str) -> Option<String> {
    let parameters = content.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let found = parameters
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    found.map(|(_, value)| value.trim_matches('"').to_owned()).filter(|value| !value.is_empty())
}

/// What stands between the boundaries, each with the number of line feeds before it.
fn divided<'a>(body: &'a str, boundary: &str) -> Vec<(&'a str, usize)> {
    let mut parts = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    let mut at = 0;
    for (line, number) in body.split_inclusive('\n').zip(0..) {
        let mark = line.trim_end().strip_prefix("--").and_then(|line| line.strip_prefix(boundary));
        if let Some(end) = mark.filter(|end| matches!(*end, "" | "--")) {
            if let Some((from, before)) = start.take() {
                parts.push((&body[from..at], before));
            }
            if end == "--" {
                return parts;
            }
            start = Some((at + line.len(), number + 1));
        }
        at += line.len();
    }
    parts.extend(start.map(|(from, before)| (&body[from..], before)));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_types_and_lines() {
        let text = "Content-Type: multipart/mixed;\n boundary=\"==X==\"\nMIME-Version: 1.0\n\npreamble\n--==X==\n\
                    Content-Type: text/cloud-config; charset=\"us-ascii\"\n\na: 1\n--==X==\n\
                    Content-Type: TEXT/X-shellscript\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3No\n--==X==--\n";
        assert!(is_message(text));
        let found: Vec<(String, bool, &str, usize)> =
            parts(text).into_iter().map(|part| (part.kind, part.plain, part.body, part.line)).collect();
        assert_eq!(
            found,
            [
                ("text/cloud-config".to_owned(), true, "a: 1\n", 9),
                ("text/x-shellscript".to_owned(), false, "IyEvYmluL3No\n", 14)
            ]
        );
    }

    #[test]
    fn a_file_that_speaks_of_mail_is_one_part() {
        let text = "#cloud-config\nx: |\n  MIME-Version: 1.0\n";
        assert!(is_message(text));
        let found = parts(text);
        assert_eq!(
            (found.len(), found[0].kind.as_str(), found[0].body, found[0].line),
            (1, "text/plain", text, 1)
        );
        assert_eq!(parts("MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nx\n"), []);
    }
}
