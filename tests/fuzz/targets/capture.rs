//! Packet captures, of any kind that `replay` takes.

use voldemort::cli::replay::capture::{Capture, CaptureError, read};

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "capture",
    pace: 200,
    seeds,
    run,
    words: &[
        "\u{a}\r\r\n",
        "M<+\u{1a}",
        "\u{1a}+<M",
        "\u{1}\u{0}\u{0}\u{0}",
        "\u{6}\u{0}\u{0}\u{0}",
        "\u{8}\u{0}E\u{0}",
    ],
};

/// Packets of each capture that a seed keeps.
const PACKETS: usize = 12;

fn seeds() -> Vec<Vec<u8>> {
    let captures = seed::files(&super::root().join("tests/captures"));
    captures.iter().flat_map(|(_, file)| [begin(file), as_blocks(file)]).collect()
}

/// Frames of a classic capture, with the 16 bytes before each.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut at = 24;
    while let Some(length) = file.get(at + 8..at + 12).filter(|_| frames.len() < PACKETS) {
        let end = at + 16 + u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        frames.push(&file[at..end]);
        at = end;
    }
    frames
}

fn begin(file: &[u8]) -> Vec<u8> {
    [&file[..24], &frames(file).concat()].concat()
}

/// The same packets as pcapng: a section, an Ethernet interface, and a block for each.
fn as_blocks(file: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().div_ceil(4) * 4, 0);
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for frame in frames(file) {
        let (head, frame) = frame.split_at(16);
        let body = [&[0; 12][..], &head[8..16], frame].concat();
        bytes.extend(block(6, &body));
    }
    bytes
}

fn run(bytes: &[u8]) {
    match read(bytes) {
        Ok(Capture { packets, .. }) => {
            let payload: usize = packets.iter().map(|packet| packet.payload.len()).sum();
            // What gzip has packed is longer than what was read.
            assert!(
                payload <= bytes.len() || bytes.starts_with(&[0x1f, 0x8b]),
                "{payload} bytes out of {}",
                bytes.len()
            );
        }
        Err(CaptureError::Damaged(at)) => {
            assert!(at <= bytes.len() || bytes.starts_with(&[0x1f, 0x8b]), "{at} of {}", bytes.len());
        }
        Err(CaptureError::Unknown | CaptureError::Link(_) | CaptureError::Gzip(_)) => {}
    }
}
