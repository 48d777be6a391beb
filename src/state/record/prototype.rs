//! What claims run. Key: that of [`prototype::key`](crate::state::prototype::key). Value: the pool, the revision without
//! its files (a field, as in `revision.rs`), and a list of files: their keys (as in `file.rs`) and their bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::bytes::{Reader, field, number};
use super::{Kind, Only, Record, revision};
use crate::state::prototype::Prototype as Value;
use crate::state::revision::{Revision, stored};

pub(super) struct Prototype;

impl Kind for Prototype {
    const NAME: &'static str = "prototype";
    type Key = String;
    type Value = Value;

    fn write_key(key: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { pool, revision } = value;
        field(pool.as_str().as_bytes(), out);
        let mut description = Vec::new();
        revision::Revision::write(&revision.without_files(), &mut description);
        field(&description, out);
        let of_layer = |layer: crate::state::revision::Layer<'_>| -> Vec<(Arc<str>, Bytes)> {
            let prefix = layer.prefix();
            layer.tree.files.iter().map(|(path, bytes)| (stored::key(&prefix, path), bytes.clone())).collect()
        };
        let files: Vec<(Arc<str>, Bytes)> = revision.layers().flat_map(of_layer).collect();
        number(files.len() as u64, out);
        for (key, bytes) in files {
            field(key.as_bytes(), out);
            field(&bytes, out);
        }
    }

    fn read(key: String, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let pool = reader.name()?;
        let Record::Revision(description) = revision::Revision::read(Only, reader.field()?)? else {
            return None;
        };
        let file = |reader: &mut Reader<'_>| -> Option<(Arc<str>, Bytes)> {
            Some((reader.text()?.into(), Bytes::copy_from_slice(reader.field()?)))
        };
        let files: BTreeMap<Arc<str>, Bytes> = reader.list(file)?.into_iter().collect();
        let revision = Revision::of(&description, &files);
        Some(Record::Prototype(key.into(), Some(Arc::new(Value { pool, revision }))))
    }

    fn deletion(key: String) -> Option<Record> {
        Some(Record::Prototype(key.into(), None))
    }
}
