//! Read-only bytes: an ISO image, a directory or a single file, and an `Index` of what exists
//! there and where its bytes lie. Images are never mounted, extracted or read into memory.

pub mod directory;
pub mod distribution;
pub mod fetched;
pub mod guess;
pub mod identity;
pub mod image;
pub mod index;
pub mod initrd;
mod lfs;
pub mod library;
pub mod loaders;
pub mod lock;
mod locked;
mod packing;
mod patient;
pub mod regular;
pub mod seen;
pub mod shelf;
pub mod verify;

pub use fetched::{Fetch, is_url};
pub use index::{Entry, Index};
pub use initrd::{Parts, Programs};
pub use library::{Library, MediaError};
pub use locked::Locked;
pub use patient::Patient;
pub use seen::{Seen, Sight};
pub use shelf::Shelf;
