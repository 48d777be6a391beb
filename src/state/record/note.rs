//! What the daemon wrote down for itself. Key: a name. Value: the note's bytes, as they are.

use super::{Kind, Record};

pub(super) struct Note;

impl Kind for Note {
    const NAME: &'static str = "note";
    type Key = String;
    type Value = [u8];

    fn write_key(key: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn write(value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    fn read(key: String, bytes: &[u8]) -> Option<Record> {
        Some(Record::Note(key.into(), bytes.to_vec()))
    }

    fn deletion(_: String) -> Option<Record> {
        None
    }
}
