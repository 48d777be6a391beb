//! Inventories that tests hold as texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;

/// What these files mean, without media. There must be nothing wrong with them.
pub(crate) fn desired(files: &[(&str, &str)]) -> Arc<Desired> {
    let file = |(path, text): &(&str, &str)| (Arc::from(*path), Bytes::from((*text).to_owned()));
    let files: BTreeMap<Arc<str>, Bytes> = files.iter().map(file).collect();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None);
    let loaded = load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}
