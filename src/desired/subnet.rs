//! A network the daemon serves.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Deployment, DhcpOptions};
use crate::model::{Advertise, Cidr, Cidr6, Idle, Mode, Name, Origin, Power, Range, Range6, Span, Unknown};

/// One `[subnet.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    pub name: Name,
    /// `None`: it has IPv6 alone.
    pub cidr: Option<Cidr>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    /// Addresses for machines without a fixed one; empty: unknown machines get no answer.
    pub dynamic: Vec<Range>,
    /// How long a dynamic lease lasts.
    pub lease: Span,
    pub options: DhcpOptions,
    /// What the daemon is there, unless it is even less on that interface.
    pub mode: Mode,
    /// What is done about machines that no manifest declares.
    pub unknown: Unknown,
    /// What our agent does on a machine that nobody has.
    pub idle: Idle,
    /// How machines are switched that are registered there; the addresses of their controllers are among their facts.
    pub power: Option<Power>,
    /// IPv6 on the same link; `None`: the daemon does not use IPv6 there.
    pub ipv6: Option<Ipv6>,
    /// Subnets of one segment are on one wire (`shares`): the name of the first.
    pub segment: Name,
    pub origin: Origin,
}

impl Subnet {
    /// Whether an address is in its IPv4 network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.cidr.is_some_and(|cidr| cidr.contains(address))
    }

    /// Its networks, for people.
    pub fn network(&self) -> String {
        let six = self.ipv6.as_ref().map(|ipv6| ipv6.cidr.to_string());
        match (self.cidr, six) {
            (Some(cidr), _) => cidr.to_string(),
            (None, six) => six.unwrap_or_default(),
        }
    }

    /// The domain that machines here are told: a deployment's own, else the subnet's.
    pub fn domain_of(&self, deployment: Option<&Deployment>) -> Option<Cow<'_, str>> {
        let own = deployment.and_then(|deployment| deployment.values.get("domain"));
        let own = own.map(ToString::to_string).filter(|domain| !domain.is_empty());
        own.map(Cow::Owned).or(self.domain.as_deref().map(Cow::Borrowed))
    }

    pub fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        self.dynamic.iter().any(|range| range.contains(address))
    }

    /// The same of an address that a machine may carry.
    pub fn is_dynamic_host(&self, address: Ipv4Addr) -> bool {
        self.is_dynamic(address) && self.cidr.is_some_and(|cidr| cidr.is_host(address))
    }
}

/// `ipv6` of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    pub cidr: Cidr6,
    /// Addresses for machines without a fixed one; empty: unknown machines get no answer.
    pub dynamic: Vec<Range6>,
    pub dns: Vec<Ipv6Addr>,
    pub ra: Advertise,
    /// Whether the advertisements make the daemon the default router.
    pub router: bool,
}

impl Ipv6 {
    /// Whether a machine without a fixed address finds one here: from the range, or of its own.
    pub fn gives_addresses(&self) -> bool {
        !self.dynamic.is_empty() || self.ra == Advertise::Slaac && self.cidr.length() == 64
    }

    pub fn is_dynamic(&self, address: Ipv6Addr) -> bool {
        self.dynamic.iter().any(|range| range.contains(address))
    }

    /// Every setting as a line, for digests and plans.
    pub fn lines(&self) -> Vec<String> {
        let Ipv6 { cidr, dynamic, dns, ra, router } = self;
        let mut lines = vec![format!("cidr {cidr}")];
        lines.extend(dynamic.iter().map(|range| format!("dynamic {range}")));
        lines.extend(dns.iter().map(|server| format!("dns {server}")));
        lines.push(format!("ra {ra}"));
        lines.extend(router.then(|| "router".to_owned()));
        lines
    }
}
