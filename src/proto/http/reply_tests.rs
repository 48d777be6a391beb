use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::Extent;
use crate::model::content::FileId;
use crate::state::Stage;

const NOW: Time = Time(1_700_000_000_000);

fn artifact() -> Artifact {
    let id = FileId { size: 1000, modified: 784_111_777_123_456_789, ..FileId::default() };
    let extents: Arc<[Extent]> =
        Arc::new([Extent { offset: 500, length: 60 }, Extent { offset: 0, length: 40 }]);
    Artifact {
        content: Content::File { path: Arc::from(Path::new("/x.iso")), id, extents },
        media_type: "application/efi",
        etag: "a1".into(),
        stage: Stage::Loader,
        mac: None,
        deployment: None,
        text: String::new(),
    }
}

/// Status line and headers as text, and the content that follows.
fn answer(request: &str) -> (String, Option<Stretch>) {
    let request = format!("{}\r\nHost: x\r\n\r\n", request.replace('\n', "\r\n"));
    let (request, _) = Request::parse(request.as_bytes()).unwrap().unwrap();
    let reply = serve(&request, &artifact(), Context::of(&request, true, NOW));
    let stretch = reply.parts.first().map(|part| part.stretch);
    assert!(reply.parts.len() < 2 && reply.tail.is_empty());
    (String::from_utf8(reply.head).unwrap().replace("\r\n", "\n"), stretch)
}

const COMMON: &str = "Content-Type: application/efi
Content-Length: 100
Accept-Ranges: bytes
Etag: \"a1\"
Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT
Date: Tue, 14 Nov 2023 22:13:20 GMT
";

#[test]
fn the_whole_content_byte_for_byte() {
    let whole = Some(Stretch { offset: 0, length: 100 });
    let get = answer("GET /x HTTP/1.1");
    assert_eq!(get, (format!("HTTP/1.1 200 OK\n{COMMON}\n"), whole));
    assert_eq!(answer("HEAD /x HTTP/1.1"), (get.0.clone(), None));
    assert_eq!(answer("HEAD /x HTTP/1.1\nRange: bytes=0-0"), (get.0, None));
    assert_eq!(answer("GET /x HTTP/1.0"), (format!("HTTP/1.0 200 OK\n{COMMON}Connection: close\n\n"), whole));
    let kept = answer("GET /x HTTP/1.0\nConnection: keep-alive").0;
    assert!(kept.ends_with("Connection: keep-alive\n\n"), "{kept}");
}

#[test]
fn parts_say_which_part() {
    let (head, content) = answer("GET /x HTTP/1.1\nRange: bytes=-1\nIf-Range: \"a1\"");
    assert!(head.starts_with("HTTP/1.1 206 Partial Content\nContent-Range: bytes 99-99/100\n"), "{head}");
    assert!(head.contains("\nContent-Length: 1\n"), "{head}");
    assert_eq!(content, Some(Stretch { offset: 99, length: 1 }));

    let (head, content) = answer("GET /x HTTP/1.1\nRange: bytes=0-9\nIf-Range: \"other\"");
    assert!(head.starts_with("HTTP/1.1 200 OK\n"), "{head}");
    assert_eq!(content.unwrap().length, 100);

    let (head, content) = answer("GET /x HTTP/1.1\nRange: bytes=100-");
    assert!(head.starts_with("HTTP/1.1 416 Range Not Satisfiable\nContent-Range: bytes */100\n"), "{head}");
    assert!(head.ends_with("\n\nthe content has only 100 bytes\n"), "{head}");
    assert_eq!(content, None);
}

#[test]
fn several_parts_are_marked_and_add_up() {
    let request = b"GET /x HTTP/1.1\r\nHost: x\r\nRange: bytes=-1,0-9\r\n\r\n";
    let (request, _) = Request::parse(request).unwrap().unwrap();
    let reply = serve(&request, &artifact(), Context::of(&request, true, NOW));
    let head = String::from_utf8(reply.head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=")
    );
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let mark = field("Content-Type: multipart/byteranges; boundary=");
    let start = format!("\r\n--{mark}\r\nContent-Type: application/efi\r\nContent-Range: bytes ");
    let heads: Vec<&str> = reply.parts.iter().map(|part| part.head.as_str()).collect();
    assert_eq!(heads, [format!("{start}99-99/100\r\n\r\n"), format!("{start}0-9/100\r\n\r\n")]);
    assert_eq!(reply.tail, format!("\r\n--{mark}--\r\n"));
    let together: u64 = reply.parts.iter().map(|part| part.head.len() as u64 + part.stretch.length).sum();
    assert_eq!(field("Content-Length: "), (together + reply.tail.len() as u64).to_string());
    assert!(!head.contains("\r\nContent-Range"), "{head}");
}

#[test]
fn a_download_of_other_bytes_is_not_gone_on_with() {
    for condition in ["If-Match: \"other\"", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT"] {
        let (head, content) = answer(&format!("GET /x HTTP/1.1\nRange: bytes=50-\n{condition}"));
        assert!(head.starts_with("HTTP/1.1 412 Precondition Failed\n"), "{head}");
        assert_eq!(content, None);
    }
    for condition in ["If-Match: \"a1\"", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"] {
        let (head, _) = answer(&format!("GET /x HTTP/1.1\nRange: bytes=50-\n{condition}"));
        assert!(head.starts_with("HTTP/1.1 206 Partial Content\nContent-Range: bytes 50-99/100\n"), "{head}");
    }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    for condition in ["If-None-Match: \"a1\"", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"] {
        let (head, content) = answer(&format!("GET /x HTTP/1.1\nRange: bytes=500-\n{condition}"));
        assert!(head.starts_with("HTTP/1.1 304 Not Modified\nEtag: \"a1\"\nLast-Modified: "), "{head}");
        assert!(!head.contains("Content-"), "{head}");
        assert_eq!(content, None);
    }
    let (head, _) = answer("POST /x HTTP/1.1\nIf-None-Match: *\nRange: bytes=0-0");
    assert!(head.starts_with("HTTP/1.1 200 OK\n"), "{head}");
}

#[test]
fn refusals_are_one_line_of_text() {
    let refusal = Refusal {
        reason: RefusalReason::NotFound,
        text: "no such file:\r\nx".into(),
        mac: None,
        deployment: None,
    };
    let context = Context { method: Method::Get, version: Version::Http11, keep_alive: true, now: NOW };
    let reply = refuse(&refusal, context);
    let text = String::from_utf8(reply.head).unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert!(
        text.contains("Content-Length: 19\r\n") && text.ends_with("\r\n\r\nno such file:\\r\\nx\n"),
        "{text}"
    );
    assert!(reply.keep_alive);

    let head = refuse(&refusal, Context { method: Method::Head, ..context });
    assert!(head.head.ends_with(b"\r\n\r\n"));
    let bad = bad_request(&BadRequest::Method, NOW);
    let text = String::from_utf8(bad.head).unwrap();
    assert!(text.contains("\r\nAllow: GET, HEAD, POST\r\n") && text.contains("\r\nConnection: close\r\n"));
    assert!(!bad.keep_alive);
}

#[test]
fn every_header_name_is_title_case() {
    let (head, _) = answer("GET /x HTTP/1.0\nRange: bytes=1-2");
    for line in head.trim().lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(name.split('-').all(|word| word.starts_with(|c: char| c.is_ascii_uppercase())), "{name}");
        assert!(!value.starts_with(' '), "{line}");
    }
}

#[test]
fn a_text_without_a_tag_has_that_of_its_bytes() {
    let text = |bytes: &'static [u8]| Artifact {
        content: crate::model::Content::Bytes(bytes.into()),
        etag: String::new(),
        ..artifact()
    };
    let asked = |artifact: &Artifact, more: &str| {
        let request = format!("GET /x HTTP/1.1\r\nHost: x\r\n{more}\r\n");
        let (request, _) = Request::parse(request.as_bytes()).unwrap().unwrap();
        let reply = serve(&request, artifact, Context::of(&request, true, NOW));
        String::from_utf8(reply.head).unwrap()
    };
    let (one, other) = (text(b"one"), text(b"other"));
    // The first 24 digits of `sha256sum`.
    let tag = "\"7692c3ad3540bb803c020b3a\"";
    assert!(asked(&one, "").contains(&format!("\r\nEtag: {tag}\r\n")), "{}", asked(&one, ""));
    let known = format!("If-None-Match: {tag}\r\n");
    assert!(asked(&one, &known).starts_with("HTTP/1.1 304 "));
    assert!(asked(&other, &known).starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_agent_is_told_which_methods_there_are() {
    let refused = message(Status::MethodNotAllowed, "application/problem+json", "{}", Context::unread(NOW));
    let head = String::from_utf8(refused.head).unwrap();
    assert!(head.contains("\r\nAllow: GET, POST\r\n") && head.ends_with("\r\n\r\n{}"), "{head}");
}
