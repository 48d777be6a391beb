//! A network the daemon serves.

use std::net::Ipv4Addr;

use super::DhcpOptions;
use crate::model::{Cidr, Name, Origin, Range, Span};

/// One `[subnet.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    pub name: Name,
    pub cidr: Cidr,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    /// Addresses for machines without a fixed one; empty: unknown machines get no answer.
    pub dynamic: Vec<Range>,
    /// How long a dynamic lease lasts.
    pub lease: Span,
    pub options: DhcpOptions,
    /// Subnets of one segment are on one wire (`shares`): the name of the first.
    pub segment: Name,
    pub origin: Origin,
}

impl Subnet {
    pub fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        self.dynamic.iter().any(|range| range.contains(address))
    }
}
