//! Follows the addresses of this host, so that none of them is given to a machine: aliases and virtual
//! addresses come and go while the daemon runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;

use super::keeper::Keeper;
use super::{Stop, stopped};

/// How often the host is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Every address of every interface; `None` if they can't be listed.
pub fn addresses() -> Option<BTreeSet<IpAddr>> {
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    };
    Some(getifaddrs().ok()?.filter_map(address).collect())
}

/// Reports their changes to the keeper, until `stop`.
pub async fn follow(keeper: Keeper, mut stop: Stop) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = look.tick() => {}
        }
        if let Some(found) = addresses().filter(|found| *found != **keeper.state().host()) {
            keeper.host(found);
        }
    }
}
