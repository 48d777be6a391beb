//! HTTP: the head of a request, its body, ranges and conditions, up to the reply's head.

use voldemort::model::{Content, Time};
use voldemort::proto::http::range::{self, Asked};
use voldemort::proto::http::reply::{self, Context};
use voldemort::proto::http::{BodyReader, Framing, Method, Request, Status, body};
use voldemort::proto::tree::Artifact;
use voldemort::state::Stage;

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "http",
    pace: 500,
    seeds,
    run,
    words: &[
        "GET ",
        "HEAD ",
        "POST ",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "\r\n\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "Range: bytes=",
        "Range: bytes=-",
        "If-Range: \"tag\"\r\n",
        "If-None-Match: W/\"tag\", *\r\n",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "18446744073709551615",
        "http://h/",
        "%2e%2e",
    ],
};

/// How much of a body is kept, as the daemon does.
const KEEP: usize = 4096;
const LENGTHS: [u64; 4] = [0, 1, 1000, u64::MAX];

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "HEAD //grubx64.efi HTTP/1.1\r\nHost: 10.0.0.1\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n",
        "GET /debian/linux HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nRange: bytes=100-199\r\n\r\n",
        "GET http://10.0.0.1/a%20b?c=d HTTP/1.0\r\nConnection: close\r\nRange: bytes=-5\r\nIf-Range: \"tag\"\r\n\r\n",
        "GET /a HTTP/1.1\r\nIf-None-Match: W/\"x\", \"tag\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
        "POST /hooks/a/b/failed HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\nno disk\r\nGET",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let tcp = seed::captures().into_iter().flatten().filter(|(port, _)| *port == 80);
    seeds.extend(tcp.map(|(_, payload)| payload));
    seeds
}

fn run(bytes: &[u8]) {
    ranges(&String::from_utf8_lossy(bytes));
    match Request::parse(bytes) {
        Ok(Some((request, length))) => {
            assert!(length <= bytes.len());
            let alone = Request::parse(&bytes[..length]);
            assert_eq!(alone, Ok(Some((request.clone(), length))), "what follows changes nothing");
            for end in [0, length / 3, length / 2, length - 1] {
                assert!(!matches!(Request::parse(&bytes[..end]), Ok(Some(_))), "cut at {end} of {length}");
            }
            bodies(request.framing, &bytes[length..]);
            let note = body::note(&request.query, &bytes[length..]);
            assert!(!note.contains(char::is_control), "{note:?}");
            LENGTHS.into_iter().for_each(|length| replied(&request, length));
        }
        Ok(None) => {}
        Err(error) => head(&reply::bad_request(&error, Time(0)).head),
    }
}

/// A body comes to the same end however its bytes arrive.
fn bodies(framing: Framing, bytes: &[u8]) {
    let mut whole = BodyReader::new(framing, KEEP);
    let used = whole.feed(bytes);
    let mut slow = BodyReader::new(framing, KEEP);
    let (mut buffer, mut taken) = (Vec::new(), 0);
    let mut outcome = Ok(());
    for byte in bytes {
        buffer.push(*byte);
        match slow.feed(&buffer) {
            Ok(length) => {
                taken += length;
                buffer.drain(..length);
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        if slow.is_done() {
            break;
        }
    }
    match used {
        Ok(used) => {
            assert_eq!((outcome, slow.is_done()), (Ok(()), whole.is_done()));
            assert_eq!((taken, slow.kept()), (used, whole.kept()));
            assert!(used <= bytes.len() && whole.kept().len() <= KEEP);
        }
        Err(error) => assert_eq!(outcome, Err(error)),
    }
}

fn ranges(text: &str) {
    for length in LENGTHS {
        if let Asked::Part(stretch) = range::parse(text, length) {
            assert!(stretch.length > 0, "{text:?} of {length}");
            assert!(
                stretch.offset.checked_add(stretch.length).is_some_and(|end| end <= length),
                "{stretch:?}"
            );
        }
    }
}

fn replied(request: &Request, length: u64) {
    let content = match length {
        u64::MAX => Content::File {
            path: std::path::Path::new("/x").into(),
            id: Default::default(),
            extents: [voldemort::model::Extent { offset: 0, length }].into(),
        },
        length => Content::Bytes(vec![0; length as usize].into()),
    };
    let artifact = Artifact {
        content,
        media_type: "text/plain",
        etag: "tag".into(),
        stage: Stage::File,
        mac: None,
        deployment: None,
        text: String::new(),
    };
    let reply = reply::serve(request, &artifact, Context::of(request, true, Time(1_700_000_000_000)));
    head(&reply.head);
    for stretch in reply.parts.iter().map(|part| part.stretch) {
        assert_ne!(request.method, Method::Head);
        assert!(stretch.offset.checked_add(stretch.length).is_some_and(|end| end <= length));
        assert!(reply.status != Status::Partial || request.range.is_some());
    }
}

/// One status line, then fields, then an empty line; nothing of the client's own in between.
fn head(bytes: &[u8]) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the head ends");
    let text = std::str::from_utf8(&bytes[..end]).expect("text");
    for (number, line) in text.split("\r\n").enumerate() {
        assert!(!line.contains(char::is_control), "{line:?}");
        match number {
            0 => assert!(line.starts_with("HTTP/1."), "{line:?}"),
            _ => assert!(line.contains(": "), "{line:?}"),
        }
    }
}
