//! Fixed addresses of deployments that this host itself has: a daemon here would not give them to a
//! machine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::document::{Address, Documents};
use super::{Code, Level, Marked, Problem};

/// A warning for each deployment whose address is one of `host`. It is no more than that, for the
/// inventory may be served from elsewhere.
pub fn clashes(documents: &Documents, host: &BTreeSet<IpAddr>) -> Vec<Problem> {
    let mut found = Vec::new();
    for resource in documents.deployments.values() {
        let four = match &resource.body.address {
            Some(Marked { value: Address::Fixed(address), mark }) => Some((IpAddr::V4(*address), *mark)),
            _ => None,
        };
        let six = resource.body.address6.as_ref().map(|address| (IpAddr::V6(address.value), address.mark));
        for (address, mark) in four.into_iter().chain(six).filter(|(address, _)| host.contains(address)) {
            let message = format!("{address} of deployment {} is an address of this host", resource.name);
            let label = "a daemon on this host gives it to no machine";
            let problem = Problem::new(Code::Reserved, mark, message, label).level(Level::Warning);
            found.push(problem.help("give the deployment another address, or check where it is served"));
        }
    }
    documents.weigh(found)
}
