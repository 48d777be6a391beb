//! Wake-on-LAN: a packet that wakes a machine; it has no reply.

use super::Fault;
use super::driver::{Answer, Capabilities, Driver, Question};
use crate::model::PowerKind;

pub(super) struct Wol;

impl Driver for Wol {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: false }
    }

    fn unread(&self) -> &'static str {
        "wake-on-LAN can't report the power state"
    }

    fn read<'a>(&'a self, _question: Question<'a>) -> Answer<'a> {
        Box::pin(std::future::ready(Err(Fault::NotReported(PowerKind::Wol))))
    }
}
