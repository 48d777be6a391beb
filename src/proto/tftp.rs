//! TFTP (RFC 1350, options of RFC 2347, 2348, 2349 and 7440), without a socket: packets, the
//! options both sides agree on, and the sender that paces one transfer.

pub mod netascii;
pub mod options;
pub mod packet;
mod rtt;
pub mod sender;

pub use options::Grant;
pub use packet::{ErrorCode, Mode, Packet, PacketError, Request};
pub use sender::{Outcome, Run, Sender, Transmit};

use super::tree::RefusalReason;

/// The error code for the reason why a name is not served. Loaders walk lists of names by
/// asking for each (PXELINUX, GRUB, shim), so a missing one must be "not found" and nothing else.
pub fn error_code(reason: RefusalReason) -> ErrorCode {
    match reason {
        RefusalReason::NotFound => ErrorCode::NotFound,
        RefusalReason::Forbidden | RefusalReason::Gone | RefusalReason::Method => ErrorCode::Access,
        RefusalReason::Busy => ErrorCode::Undefined,
    }
}
