//! Templates to bytes. The engine is liquid, strict, behind `Text`.

pub mod builtin;
pub mod cmdline;
pub mod common;
mod filter;
pub mod finding;
pub mod grub;
pub mod installer;
pub mod ipxe;
pub mod known;
mod near;
pub mod pxelinux;
mod syntax;
pub mod text;
pub mod trace;

pub use builtin::Builtin;
pub use cmdline::{CmdlineError, cmdline};
pub use finding::{Finding, Verdict};
pub use installer::Kind;
pub use text::{RenderError, Scope, Text, Value, Values};
