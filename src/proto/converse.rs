//! Requests that need something stored before they can be answered: what is stored, and how the answer
//! follows from the new state. The daemon stores on disk and answers many at once; simulated boots,
//! replayed captures and tests store nothing and get their answer at once, by these same steps.

use std::net::Ipv4Addr;

use super::tree::{self, Answer, Artifact, Asker, Method, Refusal, RefusalReason};
use super::{dhcp, dhcp6};
use crate::model::{Name, Time};
use crate::state::command::Outcome;
use crate::state::{LeaseRequest, State, Verb};

/// How often a DHCP message is decided again over a newer state before it is given up.
pub const ROUNDS: u8 = 3;

/// Identify, start and spend are three steps; one more round would mean that the state changes under the
/// request, and then the client had better ask again.
const FILE_ROUNDS: u8 = 4;

/// The answer to a DHCP message once the lease that it needed is stored, or could not be made.
pub fn leased(
    state: &State,
    link: &dhcp::Link,
    now: Time,
    datagram: &[u8],
    request: &LeaseRequest,
    draft: Option<Box<dhcp::Draft>>,
    address: Option<Ipv4Addr>,
) -> dhcp::Decision {
    // Another request of the same commit may have taken it back.
    let address = address.filter(|address| state.leases().has(request.mac, *address, now));
    match (address, draft) {
        (Some(address), Some(draft)) => draft.give(address),
        _ => dhcp::handle(state, link, now, datagram),
    }
}

/// Answers a DHCP message where nothing has to be stored durably.
pub fn dhcp(state: &mut State, link: &dhcp::Link, now: Time, datagram: &[u8]) -> dhcp::Decision {
    let mut decision = dhcp::handle(state, link, now, datagram);
    for _ in 0..ROUNDS {
        let dhcp::Decision::NeedLease(request, draft) = decision else { break };
        let address = match state.act(Verb::Lease(vec![request.clone()]), now) {
            Outcome::Leased(addresses) => addresses.first().copied().flatten(),
            _ => None,
        };
        decision = leased(state, link, now, datagram, &request, draft, address);
    }
    decision
}

/// Answers a DHCPv6 message where nothing has to be stored durably.
pub fn dhcp6(state: &mut State, link: &dhcp6::Link, now: Time, datagram: &[u8]) -> dhcp6::Decision {
    let mut decision = dhcp6::handle(state, link, now, datagram);
    for _ in 0..ROUNDS {
        let dhcp6::Decision::NeedLease(request) = decision else { break };
        state.act(Verb::Lease6(request), now);
        decision = dhcp6::handle(state, link, now, datagram);
    }
    decision
}

/// How a request for a file ended.
#[derive(Clone, Debug)]
pub enum Opened {
    Serve(Artifact),
    Refuse(Refusal),
    /// A report of this deployment's installer was stored; the text is a remark for people.
    Accepted(Name, Option<String>),
}

/// What a request for a file needs next.
#[derive(Clone, Debug)]
pub enum Step {
    Done(Opened),
    /// The neighbour table is to be read for [`Asker::link`].
    Identify,
    /// This is to be stored; [`FileRequest::stored`] gets the result.
    Store(Verb),
}

/// What a request asks of the tree of names.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub method: Method,
    /// Clean (see [`super::path`]).
    pub path: &'a str,
    /// What the client added in query and body, printable.
    pub note: &'a str,
}

/// A request for a file, from its arrival to the answer.
#[derive(Clone, Debug, Default)]
pub struct FileRequest {
    rounds: u8,
    /// The report that is being stored.
    report: Option<(Name, Option<String>)>,
}

impl FileRequest {
    /// The next step as the state stands now.
    pub fn step(&mut self, state: &State, asker: &Asker, wanted: Wanted<'_>) -> Step {
        self.rounds += 1;
        if self.rounds > FILE_ROUNDS {
            let busy = Refusal::new(RefusalReason::Busy, "the inventory is changing; ask again");
            return Step::Done(Opened::Refuse(busy));
        }
        match tree::open(state, asker, wanted.method, wanted.path, wanted.note) {
            Answer::Serve(artifact) => Step::Done(Opened::Serve(artifact)),
            Answer::Refuse(refusal) => Step::Done(Opened::Refuse(refusal)),
            Answer::Identify => Step::Identify,
            Answer::Permit(permit) => Step::Store(Verb::Permit(permit)),
            Answer::Begin(machine) => Step::Store(Verb::BeginBoot(machine)),
            Answer::Report(report, remark) => {
                self.report = Some((report.deployment.clone(), remark));
                Step::Store(Verb::Report(report))
            }
        }
    }

    /// Records the result of storing; returns an answer if the request ends here.
    pub fn stored(&mut self, outcome: Result<(), Refusal>) -> Option<Opened> {
        match outcome {
            Ok(()) => self.report.take().map(|(deployment, remark)| Opened::Accepted(deployment, remark)),
            Err(refusal) => Some(Opened::Refuse(refusal)),
        }
    }
}

/// Answers a request for a file where nothing has to be stored durably. `stored` sees each step that a
/// daemon would store.
pub fn file(
    state: &mut State,
    asker: &Asker,
    wanted: Wanted<'_>,
    now: Time,
    mut stored: impl FnMut(&Verb),
) -> Opened {
    let mut request = FileRequest::default();
    loop {
        let verb = match request.step(state, asker, wanted) {
            Step::Done(opened) => return opened,
            Step::Identify => {
                let unknown = "there is no neighbour table that shows which network card asks";
                return Opened::Refuse(Refusal::new(RefusalReason::Forbidden, unknown));
            }
            Step::Store(verb) => verb,
        };
        stored(&verb);
        let outcome = match state.act(verb, now) {
            Outcome::Refused(why) => Err(Refusal::new(RefusalReason::Gone, why)),
            _ => Ok(()),
        };
        if let Some(opened) = request.stored(outcome) {
            return opened;
        }
    }
}
