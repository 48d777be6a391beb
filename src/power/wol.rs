//! Wake-on-LAN: a packet that wakes a machine, and nobody who answers.

use super::Fault;
use super::driver::{Answer, Capabilities, Driver, Question};
use crate::model::PowerKind;

pub(super) struct Wol;

impl Driver for Wol {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: false }
    }

    fn unread(&self) -> &'static str {
        "wake-on-LAN tells nothing about power"
    }

    fn read<'a>(&'a self, _question: Question<'a>) -> Answer<'a> {
        Box::pin(std::future::ready(Err(Fault::Mute(PowerKind::Wol))))
    }
}
