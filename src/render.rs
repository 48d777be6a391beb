//! Templates to bytes. The engine is liquid, strict, behind `Text`.

pub mod kind;
pub mod text;

pub use kind::Kind;
pub use text::{RenderError, Text, Value, Values};
