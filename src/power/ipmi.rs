//! IPMI: manifests may name it, but the driver reads nothing yet.

use super::Fault;
use super::driver::{Answer, Capabilities, Driver, Question};
use crate::model::PowerKind;

pub(super) struct Ipmi;

impl Driver for Ipmi {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: false }
    }

    fn unread(&self) -> &'static str {
        "ipmi is not supported yet: use Redfish if the controller has it"
    }

    fn read<'a>(&'a self, _question: Question<'a>) -> Answer<'a> {
        Box::pin(std::future::ready(Err(Fault::Unsupported(PowerKind::Ipmi))))
    }
}
