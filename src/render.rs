//! Templates to bytes. The engine is liquid, strict, behind `Text`.

// builtin

mod filter;

pub mod kind;
pub mod known;
mod near;

pub mod text;

pub use kind::Kind;
pub use known::WELL_KNOWN;
pub use text::{RenderError, Text, Use, Value, Values};
