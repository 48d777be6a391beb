//! Where manifests come from: a directory or a git repository, as a stream of snapshots.

pub mod snapshot;

pub use snapshot::{Body, Snapshot};
