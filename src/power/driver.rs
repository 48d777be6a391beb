//! What every driver can do. One driver a file; the list of kinds is `model::power`, and a kind without a
//! driver does not compile.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;

use super::command::Command;
use super::ipmi::Ipmi;
use super::redfish::Redfish;
use super::wol::Wol;
use super::{Fault, Login, Read, Tools};
use crate::model::{Capabilities, Mac, Name, Power, PowerKind, PowerStep};

/// A machine, and what is needed to talk to its controller.
#[derive(Clone)]
pub struct Question<'a> {
    pub machine: &'a Name,
    /// Its network cards.
    pub macs: &'a [Mac],
    /// The networks that it may be on.
    pub networks: &'a [Broadcast],
    /// Whether its firmware is UEFI, where that was seen.
    pub uefi: Option<bool>,
    pub power: &'a Power,
    pub login: Option<&'a Login>,
    /// Where an earlier reading found the system.
    pub system: Option<Arc<str>>,
    pub tools: &'a Tools,
}

/// A network, and how packets to all of its machines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broadcast {
    /// Our address there; `None` for a network behind a router.
    pub from: Option<Ipv4Addr>,
    pub to: Ipv4Addr,
}

/// The result of a request.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// The result of a request that changes something.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// A request that changes something was not accepted, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    /// Whether the controller may have carried it out all the same. Then it must not be sent again: what became of it
    /// is read.
    pub may_have_acted: bool,
}

impl From<Fault> for Failure {
    /// Nothing that changes anything was sent.
    fn from(fault: Fault) -> Failure {
        Failure { fault, may_have_acted: false }
    }
}

/// A way to talk to management controllers. The same driver serves all machines at once; what makes later requests
/// cheaper is kept in the [`Tools`].
pub trait Driver: Sync {
    fn capabilities(&self) -> Capabilities;

    /// Why the power state is unknown before the first reading: a sentence without a full stop.
    fn unread(&self) -> &'static str;

    /// Reads the power state, within the limits. A driver that can't read opens no connection.
    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a, Read>;

    /// Sends one request that changes something, within the limits. That it was accepted says nothing about whether it
    /// is carried out: the caller reads that.
    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a>;

    /// Whether the boot that [`PowerStep::BootOnce`] asked for is made again at every later boot, until
    /// [`PowerStep::ClearBoot`]: some controllers know nothing else.
    fn boot_lasts<'a>(&'a self, question: Question<'a>) -> Answer<'a, bool> {
        drop(question);
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// The driver of a kind.
pub fn driver(kind: PowerKind) -> &'static dyn Driver {
    match kind {
        PowerKind::Redfish => &Redfish,
        PowerKind::Ipmi => &Ipmi,
        PowerKind::Wol => &Wol,
        PowerKind::Command => &Command,
    }
}
