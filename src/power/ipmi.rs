//! IPMI: manifests may name it, and nothing is asked yet.

use super::Fault;
use super::driver::{Answer, Capabilities, Driver, Question};
use crate::model::PowerKind;

pub(super) struct Ipmi;

impl Driver for Ipmi {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: false }
    }

    fn unread(&self) -> &'static str {
        "voldemort does not speak ipmi: where the controller speaks Redfish, use that"
    }

    fn read<'a>(&'a self, _question: Question<'a>) -> Answer<'a> {
        Box::pin(std::future::ready(Err(Fault::Unspoken(PowerKind::Ipmi))))
    }
}
