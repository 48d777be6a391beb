//! HTTP/1.1 for boot clients (RFC 9110, 9112), without a socket: the request head, the body's framing,
//! conditions and ranges, the reply's head.
//!
//! Firmware is strict where browsers are not. GRUB compares `HTTP/1.1 ` and `Content-Length: ` byte for
//! byte; shim and UEFI firmware need the length and follow no redirect; U-Boot and lpxelinux use HTTP/1.0
//! and know no chunks. So: title-case names, always a length, never chunked, never a redirect.

pub mod body;
mod condition;
mod date;
mod field;
pub mod range;
pub mod reply;
pub mod request;

pub use body::BodyReader;
pub use reply::{Reply, Status};
pub use request::{BadRequest, Framing, Method, Request, Version};
