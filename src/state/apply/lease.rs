//! Leases: decided by the protocol, carried out here.

use super::super::command::Outcome;
use super::super::lease::{LeaseOutcome, LeaseRequest};
use super::super::record::Record;
use super::super::{Lease6Request, State};
use super::Applied;

pub(super) fn apply(state: &mut State, requests: &[LeaseRequest], out: &mut Applied) -> Outcome {
    let mut addresses = Vec::with_capacity(requests.len());
    for request in requests {
        let LeaseOutcome { address, changed } = state.lease(request);
        out.records.extend(changed.into_iter().map(Record::Lease4));
        addresses.push(address);
    }
    Outcome::Leased(addresses)
}

pub(super) fn apply6(state: &mut State, request: &Lease6Request, out: &mut Applied) -> Outcome {
    out.records.extend(state.lease6(request).into_iter().map(Record::Lease6));
    Outcome::Done
}
