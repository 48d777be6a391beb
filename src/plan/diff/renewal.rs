//! What becomes of a running machine whose address changes.

use crate::desired::Deployment;
use crate::model::{Mode, Span};

/// That a running system is refused the address that it has by DHCP; `None` where it keeps it, or where the daemon gives
/// no addresses. What machines lease meanwhile changes nothing in it: a plan is bound to its words.
pub(super) fn renewal(former: &Deployment, now: &Deployment) -> Option<String> {
    if former.address == now.address || former.subnet.mode != Mode::Server {
        return None;
    }
    let half = Span(former.subnet.lease.0 / 2);
    let has = former.address.map_or_else(|| "a dynamic address".to_owned(), |address| address.to_string());
    let gets = now.address.map_or_else(|| "a dynamic one".to_owned(), |address| address.to_string());
    Some(format!(
        "a system that runs there with {has} by DHCP is refused it when it renews, within {half}, and gets {gets}"
    ))
}
