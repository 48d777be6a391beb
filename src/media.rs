//! Read-only bytes: an ISO image, a directory or a single file, and an `Index` of what exists
//! there and where its bytes lie. Images are never mounted, extracted or read into memory.

pub mod index;
pub mod library;

pub use index::{Entry, Index};
pub use library::{Library, MediaError};
