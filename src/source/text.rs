//! The part of a snapshot that manifests are read from.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;

use super::{Body, Snapshot, SourceError};

impl Snapshot {
    /// The bytes of every file held in memory and of every TOML file. A TOML file is read up to
    /// one byte over `limit` bytes, so that whoever gets it sees that it is too large.
    pub fn texts(&self, limit: usize) -> Result<BTreeMap<Arc<str>, Bytes>, SourceError> {
        let mut texts = BTreeMap::new();
        for (name, body) in &self.files {
            let bytes = match body {
                Body::Inline { bytes, .. } => bytes.clone(),
                Body::OnDisk { path, .. } if name.ends_with(".toml") => {
                    let mut bytes = Vec::new();
                    let read = |file: std::fs::File| file.take(limit as u64 + 1).read_to_end(&mut bytes);
                    std::fs::File::open(path).and_then(read).map_err(|error| SourceError::Unreadable {
                        path: path.clone(),
                        why: error.to_string(),
                    })?;
                    bytes.into()
                }
                Body::OnDisk { .. } => continue,
            };
            texts.insert(name.clone(), bytes);
        }
        Ok(texts)
    }
}
