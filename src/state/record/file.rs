//! Files of the revision that is served. Key: the path in the inventory. Value: the file's bytes, as they are.

use bytes::Bytes;

use super::{Kind, Record};

pub(super) struct File;

impl Kind for File {
    const NAME: &'static str = "file";
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

    fn read(path: String, bytes: &[u8]) -> Option<Record> {
        Some(Record::File(path.into(), Some(Bytes::copy_from_slice(bytes))))
    }

    fn deletion(path: String) -> Option<Record> {
        Some(Record::File(path.into(), None))
    }
}
