//! What changes the state: a verb, and on whose behalf.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::apply::adopt::Adoption;
use super::claim::Wanted;
use super::life::AgentReport;
use super::outbox::{EffectId, Pending, Progress};
use super::prototype::LoadedPrototypes;
use super::schedule::PowerAnswer;
use super::upkeep::Freed;
use super::{ApiToken, Claim, Doubts, Event, Install, Lease6Request, LeaseRequest, Permit, Report, Verdict};
use crate::media::Entry;
use crate::model::{Caller, Cidr, Name, PowerAction, PowerState, Span, Time, WipeLevel};

/// One change of the state.
#[derive(Clone, Debug)]
pub struct Command {
    pub by: Caller,
    pub verb: Verb,
}

/// What is to change. Each verb has its file in `apply`.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Changes nothing: it shows that commands are still taken and answered.
    Nothing,
    /// A revision becomes what is desired.
    Adopt(Box<Adoption>),
    /// Leases of IPv4 addresses, as many as came together.
    Lease(Vec<LeaseRequest>),
    Lease6(Lease6Request),
    /// An installation takes a step.
    Permit(Permit),
    /// An installer reports.
    Report(Report),
    /// The machine of a deployment whose installation of this epoch got its answers boots again.
    Reboot {
        deployment: Name,
        epoch: u64,
        at: Time,
    },
    /// Records an installation that voldemort did not make, so that a deployment which is about to appear
    /// finds it. What is on record already stays.
    Installed(Box<Install>),
    /// A person settles doubtful installations.
    Settle(Doubts, Verdict),
    /// Something happened.
    Observe(Vec<Event>),
    /// A webhook said that a source has changed: it is to be read.
    Fetch(Name),
    /// An executor reports how it stands with an effect.
    Progress(EffectId, Progress),
    /// A management controller said how a machine's power is, or could not be asked: the end of that effect.
    Power(EffectId, PowerAnswer),
    /// The same, seen while an order about its power is carried out.
    PowerSeen(Name, PowerState),
    /// A person wants a machine's power to be so, for this reason.
    PowerOrder(Name, PowerAction, Arc<str>),
    /// A person does not want an effect any more.
    Cancel(EffectId),
    /// The daemon keeps a note of its own under this name, in the place of an earlier one.
    Remember(Cow<'static, str>, Vec<u8>),
    /// An admin creates a token of the control API.
    CreateToken(Box<ApiToken>),
    /// An admin wants a token to open nothing any more.
    RevokeToken(Name),
    /// The token of this name and number was used. Not every use is noted.
    UsedToken(Name, u32),
    /// Somebody asks for a machine of a pool.
    Claim(Box<Wanted>),
    /// What claims run was loaded, by key: they were made from manifests that are served no more.
    Prototypes(Box<LoadedPrototypes>),
    /// A claim is to last so long from now.
    Extend(Name, Span),
    /// A claim is to last until a revision takes it over.
    Keep(Name),
    /// A claim is given back.
    Release(Name),
    /// A person keeps a machine from being used, for this reason and until then.
    Hold(Name, Arc<str>, Option<Time>),
    Unhold(Name),
    /// A person has these disks of a machine wiped: all that it has.
    Wipe(Name, Vec<Arc<str>>, WipeLevel),
    /// A person has a machine not wiped that our agent does not run on yet.
    Withdraw(Name),
    /// A person has a release tried again that failed or takes long.
    Retry(Name),
    /// A person has the next network boot of a machine, until then, lead to this boot.
    BootOnce(Name, Name, Time),
    CancelBootOnce(Name),
    /// The machine of such an order fetches its script.
    BeginBoot(Name),
    /// A person has the boot programs of a machine tried anew.
    ForgetLoaders(Name),
    /// Our agent says something.
    Agent(AgentReport),
    /// Whatever keeps this address from others ends.
    Free(IpAddr),
    /// The addresses that this host has now.
    Host(BTreeSet<IpAddr>),
    /// The networks, besides the first, that the daemon has an address on.
    Networks(Vec<(Cidr, Ipv4Addr)>),
    /// The boot programs that are served from now on, by their names.
    Loaders(BTreeMap<Box<str>, Entry>),
    /// Time went by.
    Tick,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done,
    /// The addresses that are held or bound now, one for each request; `None` where there is none to have.
    Leased(Vec<Option<Ipv4Addr>>),
    /// The claim that was made, with its machine if it has one already.
    Claimed(Arc<Claim>),
    /// The deployments whose doubtful installations were settled.
    Settled(Vec<Name>),
    /// What kept the address from others, if anything did.
    Freed(Option<Freed>),
    /// The order that waits for its executor now.
    Ordered(Arc<Pending>),
    /// The effect that was cancelled, as it was; `None` if it was not pending.
    Cancelled(Option<Arc<Pending>>),
    /// The token that was revoked, as it was; `None` if there is none of that name.
    Revoked(Option<Arc<ApiToken>>),
    /// The state is not the one any more that an adoption was judged over. Nothing was changed.
    Moved,
    /// The state does not allow it; a sentence says why. Nothing was changed.
    Refused(String),
}

impl Verb {
    /// How much work it is, in leases and events.
    pub fn weight(&self) -> usize {
        match self {
            Verb::Lease(requests) => requests.len(),
            Verb::Observe(events) => events.len(),
            _ => 1,
        }
    }
}

impl Command {
    /// A command of the daemon's own.
    pub fn daemon(verb: Verb) -> Command {
        Command { by: Caller::DAEMON, verb }
    }

    /// A command that follows from what a machine sent.
    pub fn machine(verb: Verb) -> Command {
        Command { by: Caller::MACHINE, verb }
    }
}
