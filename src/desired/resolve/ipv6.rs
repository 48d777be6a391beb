//! IPv6 of subnets and deployments: each consistent in itself, nothing given twice.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::Resolver;
use crate::desired::Subnet;
use crate::desired::subnet::Ipv6;
use crate::manifest::document::{self, Resource};
use crate::manifest::{Code, Mark, Marked, Problem};
use crate::model::{Cidr6, Name, Range6};

type Written = Resource<document::Deployment>;

/// What an `ipv6` table means; `None` where its network was found wrong.
pub(super) fn resolved(written: &document::Ipv6) -> Option<Ipv6> {
    let document::Ipv6 { cidr, dynamic, dns, ra, router } = written;
    Some(Ipv6 {
        cidr: cidr.as_ref()?.value,
        dynamic: dynamic.iter().map(|range| range.value).collect(),
        dns: dns.iter().map(|server| server.value).collect(),
        ra: ra.as_ref().map(|ra| ra.value).unwrap_or_default(),
        router: router.as_ref().is_some_and(|router| router.value),
    })
}

impl Resolver<'_> {
    /// Checks every `ipv6` table, and that no two networks overlap.
    pub(super) fn ipv6_networks(&mut self) {
        let mut before: Vec<(&Name, &Marked<Cidr6>)> = Vec::new();
        for resource in self.documents.subnets.values() {
            let Some(written) = &resource.body.ipv6 else { continue };
            let Some(cidr) = &written.cidr else { continue };
            self.ranges6(&resource.name, written, cidr);
            let over = before.iter().find(|(_, other)| other.value.overlaps(&cidr.value));
            if let Some((other, mark)) = over {
                let message =
                    format!("the IPv6 networks of subnets `{other}` and `{}` overlap", resource.name);
                let problem = Problem::new(Code::Overlap, cidr.mark, message, "this one …");
                self.problems.push(problem.also(mark.mark, "… and this one"));
            }
            before.push((&resource.name, cidr));
        }
    }

    fn ranges6(&mut self, name: &Name, written: &document::Ipv6, cidr: &Marked<Cidr6>) {
        for (index, range) in written.dynamic.iter().enumerate() {
            let wrong =
                |message: String, label: &str| Problem::new(Code::BadSubnet, range.mark, message, label);
            let Range6 { first, last } = range.value;
            if !cidr.value.is_host(first) || !cidr.value.is_host(last) {
                let message = format!("a dynamic IPv6 range of subnet `{name}` leaves it");
                let problem = wrong(message, "not all of these are host addresses");
                self.problems.push(problem.also(cidr.mark, format!("the network is {}", cidr.value)));
            }
            let over = |other: &&Marked<Range6>| first <= other.value.last && other.value.first <= last;
            if let Some(other) = written.dynamic[..index].iter().find(over) {
                let message = format!("two dynamic IPv6 ranges of subnet `{name}` overlap");
                self.problems.push(wrong(message, "this one …").also(other.mark, "… and this one"));
            }
            for server in written.dns.iter().filter(|server| range.value.contains(server.value)) {
                let message = format!("the name server {} lies in a dynamic range", server.value);
                let problem =
                    wrong(message, "would be lent to a machine").also(server.mark, "the name server");
                self.problems.push(problem.help("leave it out of the range"));
            }
        }
    }

    /// Records a fixed IPv6 address; a second deployment that has it is a mistake.
    pub(super) fn fixed_address6(&mut self, resource: &Written) {
        let Some(address) = &resource.body.address6 else { return };
        let Some((other, first)) = self.fixed6.get(&address.value) else {
            self.fixed6.insert(address.value, (resource.name.clone(), address.mark));
            return;
        };
        let message = format!("two deployments have the address {}", address.value);
        let label = format!("address of `{}`", resource.name);
        let problem = Problem::new(Code::AddressTwice, address.mark, message, label)
            .also(*first, format!("address of `{other}`"));
        self.problems.push(problem.help("give one of them another address, or remove it"));
    }

    /// Checks the address against its subnet.
    pub(super) fn address6(&mut self, resource: &Written, subnet: &Arc<Subnet>) -> Option<Ipv6Addr> {
        let address = resource.body.address6.as_ref()?;
        let at = address.value;
        let written = self.documents.subnets.get(&subnet.name);
        let cidr = written.and_then(|own| Some(own.body.ipv6.as_ref()?.cidr.as_ref()?.mark));
        let problem = |code, message: String, label: &str, mark: Option<Mark>, also: &str| {
            let problem = Problem::new(code, address.mark, message, label);
            match mark {
                Some(mark) => problem.also(mark, also),
                None => problem,
            }
        };
        let Some(ipv6) = &subnet.ipv6 else {
            // A table whose network was found wrong has been reported.
            if written.is_none_or(|own| own.body.ipv6.is_none() && own.whole) {
                let message = format!("subnet `{}` has no IPv6, and {at} is in none", subnet.name);
                let own = written.map(|own| own.mark);
                let found = problem(Code::Outside, message, "no network holds it", own, "has no `ipv6`");
                let network = Cidr6::around(at, 64);
                self.problems
                    .push(found.help(format!("add ipv6 = {{ cidr = \"{network}\" }} to the subnet")));
            }
            return None;
        };
        let found = if !ipv6.cidr.contains(at) {
            let message = format!("address {at} is outside the IPv6 network of subnet `{}`", subnet.name);
            problem(Code::Outside, message, &format!("not in {}", ipv6.cidr), cidr, "network defined here")
        } else if !ipv6.cidr.is_host(at) || ipv6.dns.contains(&at) {
            let message = format!("{at} is the network's own address, or a name server's");
            problem(Code::Reserved, message, "no machine can have it", cidr, "network defined here")
        } else if ipv6.is_dynamic(at) {
            let message = format!("{at} lies in a dynamic range of subnet `{}`", subnet.name);
            let holds = |range: &&Marked<Range6>| range.value.contains(at);
            let range =
                written.and_then(|own| Some(own.body.ipv6.as_ref()?.dynamic.iter().find(holds)?.mark));
            problem(Code::InDynamic, message, "might be lent to another machine", range, "dynamic addresses")
                .help("take an address outside of the range, or shorten the range")
        } else {
            return Some(at);
        };
        self.problems.push(found);
        None
    }
}
