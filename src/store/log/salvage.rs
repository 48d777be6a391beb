//! What can still be read of files of the log that are damaged, for a person who agreed to the loss of the rest.

use super::digest::FileKeys;
use super::frame::{
    END, FACTS, FIRST, Facts, Flag, HEAD, RECORD, Raw, SEALED, TAG, TAIL, WHOLE, head_digest, record_digest,
    record_sip,
};
use super::read::Sink;

/// Everything in a file that fits a digest of its own, and what its frames name, whatever stands between.
/// Without keys every frame is believed that is written as one. Answers with the highest sequence number, and the
/// number below which numbers may have been given to events.
pub(super) fn salvage<'a>(bytes: &'a [u8], keys: Option<&FileKeys>, sink: &mut impl Sink<'a>) -> (u64, u64) {
    let (mut at, mut sequence, mut next_event) = (FIRST, 0, 0);
    while at + HEAD + TAIL <= bytes.len() {
        let head: Option<&[u8; HEAD]> = bytes[at..].first_chunk();
        let is_head = |head: &[u8; HEAD]| match keys {
            Some(keys) => head_digest(&keys.head, &head[..FACTS]).to_le_bytes() == head[FACTS..],
            None => Facts::of(head).sequence > 0,
        };
        let facts = head.filter(|head| is_head(head)).map(Facts::of);
        let body = facts.and_then(|facts| bytes.get(at + HEAD..at + HEAD + facts.length as usize));
        let tail = |body: &[u8]| bytes.get(at + HEAD + body.len() + TAIL - 1) == Some(&END);
        match (facts, body) {
            (Some(facts), Some(body)) if keys.is_some() || tail(body) => {
                (sequence, next_event) = (facts.sequence.max(sequence), facts.next_event.max(next_event));
                if facts.kinds & (SEALED | WHOLE) == 0 {
                    salvage_frame(body, keys, &facts, sink);
                }
                at += HEAD + body.len() + TAIL;
            }
            _ => at += 1,
        }
    }
    (sequence, next_event)
}

fn salvage_frame<'a>(body: &'a [u8], keys: Option<&FileKeys>, facts: &Facts, sink: &mut impl Sink<'a>) {
    let mut at = 0;
    for place in 0..facts.count {
        let Some(bytes) = body.get(at..).filter(|bytes| bytes.len() >= RECORD) else { return };
        let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let value = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
        let Some(record) = bytes.get(..RECORD + 2 * length + value) else { return };
        let (key, rest) = record[RECORD..].split_at(length);
        let (copy, value) = rest.split_at(length);
        let fits = keys.is_none_or(|keys| {
            record_digest(record_sip(&keys.record, facts.sequence), place, &record[TAG..]).to_le_bytes()
                == record[..TAG]
        });
        match Flag::of_code(record[9]) {
            Some(Flag::Damaged) if fits => sink.damaged(record[8], &[key]),
            Some(flag) if fits => sink.take(Raw { kind: record[8], flag, key, value }),
            _ if key == copy => sink.damaged(record[8], &[key]),
            _ => {}
        }
        at += record.len();
    }
}
