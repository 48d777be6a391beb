//! Templates to bytes. The engine is liquid, strict, behind `Text`.

pub mod builtin;
pub mod cmdline;
mod filter;
pub mod grub;
pub mod ipxe;
pub mod kind;
pub mod known;
mod near;
pub mod pxelinux;
pub mod text;
pub mod trace;

pub use builtin::Builtin;
pub use cmdline::{CmdlineError, cmdline};
pub use kind::Kind;
pub use known::WELL_KNOWN;
pub use text::{RenderError, Text, Use, Value, Values};
