//! Messages of syslog, in a stream and alone.

use voldemort::proto::syslog::frames::{Frames, LONGEST};
use voldemort::proto::syslog::parse;

use super::Target;

pub(crate) const TARGET: Target = Target {
    name: "syslog",
    pace: 2_000,
    seeds,
    run,
    words: &[
        "<13>",
        "<191>",
        "1 ",
        "- ",
        "[a b=\"c\"]",
        "\\\"",
        "\n",
        "\0",
        "12 ",
        "9999999 ",
        "Oct 11 22:14:15 ",
        "tag[1]: ",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 4] = [
        b"<34>1 2003-10-11T22:14:15.003Z host su - ID47 [a b=\"c\"] text\n<13>Oct 11 22:14:15 host su[7]: text\n",
        b"25 <6>kernel: [ 0.0] Linux\n a<13>x\0",
        b"<13>1 - - - - - -",
        b"no priority",
    ];
    seeds.map(<[u8]>::to_vec).into()
}

/// The messages of a stream that comes in parts of a size; none where it is no stream of messages.
fn divided(stream: &[u8], part: usize) -> Option<Vec<Vec<u8>>> {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for part in stream.chunks(part) {
        frames.take(part, |message| found.push(message.to_vec())).ok()?;
    }
    frames.end(|message| found.push(message.to_vec()));
    Some(found)
}

fn run(stream: &[u8]) {
    let whole = divided(stream, usize::MAX);
    if stream.len() < LONGEST {
        assert_eq!(whole, divided(stream, 1), "parts make a difference");
    }
    for message in whole.iter().flatten().map(Vec::as_slice).chain([stream]) {
        assert!(message.len() <= LONGEST || message.len() == stream.len());
        let text = String::from_utf8_lossy(message);
        let (found, _) = parse(&text);
        assert!(text.contains(found.text) && text.contains(found.program));
    }
}
