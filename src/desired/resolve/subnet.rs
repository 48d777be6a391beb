//! Networks: each consistent in itself, none over another.

use super::{Resolver, digest, ipv6, machine, option};
use crate::desired::Subnet;
use crate::manifest::document::{self, Resource};
use crate::manifest::{Code, Mark, Marked, Problem};
use crate::model::{Cidr, Name, Span};

/// How long a dynamic address is lent where the subnet does not say.
pub(super) const LEASE_USUAL: Span = Span::seconds(3600);

impl Resolver<'_> {
    pub(super) fn subnets(&mut self) {
        let documents = self.documents;
        let mut networks = Vec::new();
        for resource in documents.subnets.values() {
            if let Some(power) = resource.body.power.as_ref().filter(|_| resource.whole) {
                self.registered_power(&format!("subnet {}", resource.name), power);
            }
            match &resource.body.cidr {
                Some(cidr) => {
                    networks.push((cidr, &**resource));
                    self.consistent(resource, cidr);
                }
                None if is_ipv6_only(resource) => self.ipv4_settings(resource),
                // Its network was found wrong.
                None => continue,
            }
            let subnet = self.subnet(resource);
            self.digests.subnets.insert(resource.name.clone(), digest::subnet(&subnet));
            let subnet = self.earlier.subnet(subnet);
            self.desired.subnets.insert(resource.name.clone(), subnet);
        }
        self.overlaps(networks);
        self.ipv6_networks();
        // The protocols look for subnets here, wherever those come from.
        if documents.subnets.is_empty() {
            let known = self.options.fallback.iter().map(|one| (one.name.clone(), one.clone()));
            self.desired.subnets.extend(known);
        }
    }

    fn subnet(&self, resource: &Resource<document::Subnet>) -> Subnet {
        let document::Subnet {
            cidr,
            gateway,
            dns,
            domain,
            dynamic,
            lease,
            shares: _,
            mode,
            unknown,
            idle,
            power,
            ipv6,
            extra,
        } = &resource.body;
        Subnet {
            name: resource.name.clone(),
            cidr: cidr.as_ref().map(|cidr| cidr.value),
            gateway: gateway.as_ref().map(|gateway| gateway.value),
            dns: dns.iter().map(|dns| dns.value).collect(),
            domain: domain.as_ref().map(|domain| domain.value.to_string()),
            dynamic: dynamic.iter().map(|range| range.value).collect(),
            lease: lease.as_ref().map_or(LEASE_USUAL, |lease| lease.value),
            options: option::encoded(extra),
            mode: mode.as_ref().map(|mode| mode.value).unwrap_or_default(),
            unknown: unknown.as_ref().map(|unknown| unknown.value).unwrap_or_default(),
            idle: idle.as_ref().map(|idle| idle.value).unwrap_or_default(),
            power: power.as_ref().and_then(machine::power),
            ipv6: ipv6.as_ref().and_then(ipv6::resolved),
            segment: self.segment(resource),
            origin: self.documents.sources.origin(resource.mark),
        }
    }

    /// The last of the subnets that share each other's wire; in a circle the first by name.
    fn segment(&self, resource: &Resource<document::Subnet>) -> Name {
        let mut chain = vec![&resource.name];
        let mut shares = &resource.body.shares;
        while let Some(next) = shares {
            if let Some(start) = chain.iter().position(|name| **name == next.value) {
                return chain[start..].iter().min().map_or(&next.value, |first| *first).clone();
            }
            let Some(found) = self.documents.subnets.get(&next.value) else { break };
            chain.push(&found.name);
            shares = &found.body.shares;
        }
        chain.last().map_or(&resource.name, |last| *last).clone()
    }

    /// Settings that say nothing where there is no IPv4.
    fn ipv4_settings(&mut self, resource: &Resource<document::Subnet>) {
        let document::Subnet {
            cidr: _,
            gateway,
            dns,
            domain: _,
            dynamic,
            lease: _,
            shares,
            mode: _,
            unknown: _,
            idle: _,
            power: _,
            ipv6: _,
            extra,
        } = &resource.body;
        let first_option = extra.options.0.values().next().map(|field| field.key);
        let first_route = extra.routes.iter().flatten().find_map(|route| Some(route.to.as_ref()?.mark));
        let written = [
            ("gateway", gateway.as_ref().map(|found| found.mark)),
            ("dns", dns.first().map(|found| found.mark)),
            ("dynamic", dynamic.first().map(|found| found.mark)),
            ("shares", shares.as_ref().map(|found| found.mark)),
            ("options", first_option),
            ("routes", first_route),
        ];
        for (key, mark) in written.into_iter().filter_map(|(key, mark)| Some((key, mark?))) {
            let message = format!("`{key}` of subnet `{}` is about IPv4, which it has not", resource.name);
            let problem = Problem::new(Code::BadSubnet, mark, message, "has no meaning without `cidr`");
            let help = match key {
                "dns" | "dynamic" => "put it into the `ipv6` table, or give the subnet a `cidr`".to_owned(),
                "gateway" => "remove it: IPv6 machines learn their router from its advertisements".into(),
                _ => "remove it, or give the subnet a `cidr`".into(),
            };
            self.problems.push(problem.help(help));
        }
    }

    fn consistent(&mut self, resource: &Resource<document::Subnet>, cidr: &Marked<Cidr>) {
        let body = &resource.body;
        let hosts = cidr.value.hosts();
        let wrong = |mark: Mark, message: String, label: &str| {
            Problem::new(Code::BadSubnet, mark, message, label)
                .also(cidr.mark, format!("host addresses: {hosts}"))
        };
        if let Some(gateway) = body.gateway.as_ref().filter(|gateway| !cidr.value.is_host(gateway.value)) {
            let (what, label) = match cidr.value.contains(gateway.value) {
                true if gateway.value == cidr.value.network() => {
                    ("its network address", "no router can have it")
                }
                true => ("its broadcast address", "no router can have it"),
                false => ("outside of it", "machines could not reach it"),
            };
            let message = format!("the gateway of subnet `{}` is {what}", resource.name);
            self.problems.push(wrong(gateway.mark, message, label));
        }
        if let Some(shares) = body.shares.as_ref().filter(|shares| shares.value == resource.name) {
            let message = format!("subnet `{}` shares its wire with itself", resource.name);
            let problem = Problem::new(Code::BadSubnet, shares.mark, message, "another subnet is meant");
            self.problems
                .push(problem.help("name the subnet that is on the same wire, or leave `shares` out"));
        }
        for (index, range) in body.dynamic.iter().enumerate() {
            let inside = cidr.value.is_host(range.value.first) && cidr.value.is_host(range.value.last);
            if !inside {
                let in_it = cidr.value.contains(range.value.first) && cidr.value.contains(range.value.last);
                let what = if in_it { "holds its network or broadcast address" } else { "leaves it" };
                let message = format!("a dynamic range of subnet `{}` {what}", resource.name);
                self.problems.push(wrong(range.mark, message, "not all of these are host addresses"));
                continue;
            }
            let over = |other: &&Marked<crate::model::Range>| {
                range.value.first <= other.value.last && other.value.first <= range.value.last
            };
            if let Some(other) = body.dynamic[..index].iter().find(over) {
                let message = format!("two dynamic ranges of subnet `{}` overlap", resource.name);
                let problem = Problem::new(Code::BadSubnet, range.mark, message, "this one …");
                self.problems.push(problem.also(other.mark, "… and this one"));
            }
            for (what, taken) in body
                .gateway
                .iter()
                .map(|at| ("gateway", at))
                .chain(body.dns.iter().map(|at| ("name server", at)))
            {
                if range.value.contains(taken.value) {
                    let message = format!("the {what} {} lies in a dynamic range", taken.value);
                    let problem =
                        Problem::new(Code::BadSubnet, range.mark, message, "would be lent to a machine");
                    self.problems.push(
                        problem.also(taken.mark, format!("the {what}")).help("leave it out of the range"),
                    );
                }
            }
        }
    }

    /// Networks nest or are apart: sorted by base and size, one that overlaps lies inside a
    /// network that is still open.
    fn overlaps(&mut self, mut networks: Vec<(&Marked<Cidr>, &Resource<document::Subnet>)>) {
        networks.sort_by_key(|(cidr, _)| (cidr.value.network(), cidr.value.length()));
        let mut open: Option<(&Marked<Cidr>, &Resource<document::Subnet>)> = None;
        for (cidr, resource) in networks {
            match open {
                Some((outer, around)) if outer.value.overlaps(&cidr.value) => {
                    self.problems.push(overlap((outer, around), (cidr, resource)));
                }
                _ => open = Some((cidr, resource)),
            }
        }
    }
}

/// Whether it was meant to have no IPv4, rather than written wrong.
fn is_ipv6_only(resource: &Resource<document::Subnet>) -> bool {
    let six = resource.body.ipv6.as_ref().is_some_and(|ipv6| ipv6.cidr.is_some());
    resource.body.cidr.is_none() && resource.whole && six
}

type Network<'a> = (&'a Marked<Cidr>, &'a Resource<document::Subnet>);

fn overlap((outer, around): Network, (inner, resource): Network) -> Problem {
    let span = |cidr: &Cidr| format!("{}-{}", cidr.network(), cidr.last());
    let message = format!("subnets `{}` and `{}` overlap", around.name, resource.name);
    let lies = format!("{} lies inside `{}`", span(&inner.value), around.name);
    let problem = Problem::new(Code::Overlap, inner.mark, message, lies)
        .also(outer.mark, format!("`{}` is {}", around.name, span(&outer.value)));
    let elsewhere = format!("move `{}` to a range nothing else uses", resource.name);
    let half = outer.value.length() + 1;
    if inner.value.length() < half || half > 32 {
        return problem.help(elsewhere);
    }
    let lower = Cidr::around(outer.value.network(), half);
    let free = if lower.overlaps(&inner.value) { Cidr::around(outer.value.last(), half) } else { lower };
    problem.help(format!("shrink `{}` to {free}, or {elsewhere}", around.name))
}
