//! What was read, as manifests that pass `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{Host, Imported, Remark, Subnet, shown};
use crate::model::{Cidr, Identity, Mac, Name, Range};

/// Manifests, and what a person should know of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// By file and line.
    pub remarks: Vec<Remark>,
    pub subnets: usize,
    pub machines: usize,
    pub deployments: usize,
}

/// Writes a subnet for each network and a machine for each host that has a network card; where a profile is named, also a
/// deployment of it for each machine that has an address. `source` names the server that it comes from.
pub fn write(imported: Imported, source: &str, profile: Option<&Name>) -> Written {
    let Imported { subnets, hosts, remarks } = imported;
    let mut writer =
        Writer { source, profile, out: Written { remarks, ..Written::default() }, ..Writer::default() };
    let _ = writeln!(writer.out.text, "# Written by `voldemort import {source}`.");
    let subnets = writer.merge(subnets);
    writer.fixed = hosts.iter().filter_map(|host| host.address).collect();
    writer.subnets(&subnets);
    for host in hosts {
        writer.host(host);
    }
    writer.out.remarks.sort();
    writer.out.remarks.dedup();
    writer.out
}

#[derive(Default)]
struct Writer<'a> {
    source: &'a str,
    profile: Option<&'a Name>,
    out: Written,
    /// The networks by their names.
    networks: BTreeMap<String, Subnet>,
    /// The addresses of all hosts.
    fixed: BTreeSet<Ipv4Addr>,
    machines: BTreeSet<String>,
    macs: BTreeMap<Mac, String>,
    ids: BTreeSet<Identity>,
    addresses: BTreeMap<Ipv4Addr, String>,
}

impl Writer<'_> {
    fn remark(&mut self, line: &super::Line, text: String) {
        self.out.remarks.push(Remark { line: line.clone(), text });
    }

    /// One for each network. Networks that overlap another one are left out.
    fn merge(&mut self, subnets: Vec<Subnet>) -> Vec<Subnet> {
        let mut merged: Vec<Subnet> = Vec::new();
        for subnet in subnets {
            if let Some(known) = merged.iter_mut().find(|known| known.cidr == subnet.cidr) {
                known.name = known.name.take().or(subnet.name);
                known.gateway = known.gateway.or(subnet.gateway);
                known.domain = known.domain.take().or(subnet.domain);
                known.lease = known.lease.or(subnet.lease);
                known.dynamic.extend(subnet.dynamic);
                if known.dns.is_empty() {
                    known.dns = subnet.dns;
                }
                continue;
            }
            match merged.iter().find(|known| known.cidr.overlaps(&subnet.cidr)) {
                Some(known) => {
                    let text = format!("{} overlaps {} and is left out", subnet.cidr, known.cidr);
                    self.remark(&subnet.line, text);
                }
                None => merged.push(subnet),
            }
        }
        merged
    }

    fn subnets(&mut self, subnets: &[Subnet]) {
        let mut links: BTreeMap<&str, String> = BTreeMap::new();
        for subnet in subnets {
            let plain = format!("net-{}", subnet.cidr.network().to_string().replace('.', "-"));
            let name = subnet.name.as_deref().or(subnet.link.as_deref()).and_then(name_of).unwrap_or(plain);
            let name = free(name, |name| self.networks.contains_key(name));
            self.subnet(&name, subnet);
            if let Some(link) = &subnet.link {
                match links.get(link.as_str()) {
                    Some(first) => self.line("shares", &quoted(first)),
                    None => drop(links.insert(link, name.clone())),
                }
            }
            self.networks.insert(name, subnet.clone());
            self.out.subnets += 1;
        }
    }

    fn line(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.out.text, "{key} = {value}");
    }

    fn subnet(&mut self, name: &str, subnet: &Subnet) {
        let Subnet { cidr, gateway, dns, domain, lease, is_proxy, line, .. } = subnet;
        let _ = writeln!(self.out.text, "\n[subnet.{name}]  # {}:{}", shown(&line.file), line.number);
        self.line("cidr", &quoted(&cidr.to_string()));
        if let Some(gateway) = gateway {
            self.line("gateway", &quoted(&gateway.to_string()));
        }
        if !dns.is_empty() {
            self.line("dns", &list(dns.iter().map(ToString::to_string)));
        }
        match domain.as_deref().map(|domain| domain.trim_end_matches('.')) {
            Some(domain) if is_domain(domain) => self.line("domain", &quoted(&domain.to_ascii_lowercase())),
            Some("") | None => {}
            Some(domain) => {
                self.remark(line, format!("the domain `{}` is left out: it is none", shown(domain)))
            }
        }
        let ranges = self.ranges(subnet);
        if !ranges.is_empty() {
            self.line("dynamic", &list(ranges.iter().map(ToString::to_string)));
        }
        if let Some(lease) = lease.filter(|lease| lease.as_seconds() >= 60) {
            self.line("lease", &quoted(&lease.to_string()));
        }
        if *is_proxy {
            self.line("mode", &quoted("proxy"));
        }
    }

    /// The ranges as far as machines may have their addresses and nothing has them already: other servers lend no
    /// address of a host to another client, while here the ranges are for clients alone.
    fn ranges(&mut self, subnet: &Subnet) -> Vec<Range> {
        let joined = self.joined(subnet.cidr, &subnet.dynamic, &subnet.line);
        let taken = self.fixed.iter().chain(&subnet.gateway).chain(&subnet.dns);
        let is_lent = |at: &Ipv4Addr| joined.iter().any(|range| range.contains(*at));
        let taken: BTreeSet<Ipv4Addr> = taken.copied().filter(is_lent).collect();
        if !taken.is_empty() {
            let count = taken.len();
            let text = format!(
                "addresses that are left out of the ranges, since hosts, the router or name servers have them: {count}"
            );
            self.remark(&subnet.line, text);
        }
        joined.into_iter().flat_map(|range| without(range, &taken)).collect()
    }

    /// The ranges within the network; those that meet are one.
    fn joined(&mut self, cidr: Cidr, ranges: &[Range], line: &super::Line) -> Vec<Range> {
        let hosts = cidr.hosts();
        let mut all: Vec<Range> = Vec::new();
        for range in ranges {
            let (first, last) = (range.first.max(hosts.first), range.last.min(hosts.last));
            if first > last || !cidr.contains(range.first) || !cidr.contains(range.last) {
                self.remark(line, format!("the range {range} is left out: it is not within {cidr}"));
                continue;
            }
            all.push(Range { first, last });
        }
        all.sort();
        let mut joined: Vec<Range> = Vec::new();
        for range in all {
            match joined.last_mut() {
                Some(last) if u32::from(range.first) <= u32::from(last.last).saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    fn host(&mut self, host: Host) {
        let Host { name, macs, client_ids, uuid, address, address6, line } = host;
        let who = name.as_deref().map(shown).unwrap_or_else(|| "this host".to_owned());
        let mut own: Vec<Mac> = Vec::new();
        for mac in macs {
            match self.macs.get(&mac) {
                Some(other) => {
                    let text = format!("{mac} of {who} is left out: machine {other} has it already");
                    self.remark(&line, text);
                }
                None if own.contains(&mac) => {}
                None => own.push(mac),
            }
        }
        let Some(first) = own.first() else {
            let text = format!("{who} is not taken over: a machine has to have a network card of its own");
            self.remark(&line, text);
            return;
        };
        let plain = format!("m{}", first.to_string().replace(':', ""));
        let name = self.name(name.as_deref(), plain);
        let ids = self.ids(&name, client_ids, &line);
        let uuid = uuid.and_then(|text| self.uuid(&name, text, &line));
        own.iter().for_each(|mac| drop(self.macs.insert(*mac, name.clone())));
        self.machines.insert(name.clone());
        self.out.machines += 1;
        let _ = writeln!(self.out.text, "\n[machine.{name}]  # {}:{}", shown(&line.file), line.number);
        self.line("mac", &one_or_list(own.iter().map(ToString::to_string)));
        if !ids.is_empty() {
            self.line("client-id", &one_or_list(ids.into_iter()));
        }
        if let Some(uuid) = uuid {
            self.line("uuid", &quoted(&uuid));
        }
        let labels = format!("{{ imported = {} }}", quoted(self.source));
        self.line("labels", &labels);
        if address6.is_some() {
            self.remark(
                &line,
                format!("the IPv6 address of {name} is not taken over: its subnet has no `ipv6`"),
            );
        }
        if let Some(address) = address {
            self.address(&name, address, &line);
        }
    }

    /// The first label of a host name, unless another machine has it.
    fn name(&self, name: Option<&str>, plain: String) -> String {
        let first = name.map(|name| name.split('.').next().unwrap_or_default()).and_then(name_of);
        let whole = name.and_then(name_of);
        let is_taken = |name: &str| self.machines.contains(name);
        let known = first.filter(|name| !is_taken(name)).or(whole).unwrap_or(plain);
        free(known, is_taken)
    }

    fn ids(&mut self, name: &str, ids: Vec<String>, line: &super::Line) -> Vec<String> {
        let mut kept = Vec::new();
        for text in ids {
            let why = match Identity::client_id(&text) {
                Err(error) => error.to_string(),
                Ok(id) if id.is_junk() => "many machines show it".to_owned(),
                Ok(id) => match self.ids.insert(id) {
                    true => {
                        kept.push(text);
                        continue;
                    }
                    false => "another machine has it already".to_owned(),
                },
            };
            self.remark(line, format!("the client id `{}` of {name} is left out: {why}", shown(&text)));
        }
        kept
    }

    fn uuid(&mut self, name: &str, text: String, line: &super::Line) -> Option<String> {
        let why = match Identity::uuid(&text) {
            Err(error) => error.to_string(),
            Ok(id) if id.is_junk() => "many machines show it".to_owned(),
            Ok(id) => match self.ids.insert(id) {
                true => return Some(text.to_ascii_lowercase()),
                false => "another machine has it already".to_owned(),
            },
        };
        self.remark(line, format!("the UUID `{}` of {name} is left out: {why}", shown(&text)));
        None
    }

    fn address(&mut self, name: &str, address: Ipv4Addr, line: &super::Line) {
        let subnet = self.networks.iter().find(|(_, subnet)| subnet.cidr.contains(address));
        let why = match subnet {
            None => Some("no subnet of this configuration has it".to_owned()),
            Some((of, subnet)) if !subnet.cidr.is_host(address) => {
                Some(format!("it is the network or the broadcast address of {of}"))
            }
            Some((of, subnet)) if subnet.gateway == Some(address) => {
                Some(format!("it is the gateway of {of}"))
            }
            Some(_) => self.addresses.get(&address).map(|other| format!("machine {other} has it already")),
        };
        let of = subnet.map(|(of, _)| of.clone()).unwrap_or_default();
        if let Some(why) = why {
            self.remark(line, format!("the address {address} of {name} is left out: {why}"));
            return;
        }
        self.addresses.insert(address, name.to_owned());
        let Some(profile) = self.profile else {
            let _ = writeln!(self.out.text, "# address = \"{address}\" of a deployment: see --profile");
            return;
        };
        let profile = quoted(profile.as_str());
        let _ = writeln!(self.out.text, "\n[deployment.{name}]");
        self.line("profile", &profile);
        self.line("machine", &quoted(name));
        self.line("subnet", &quoted(&of));
        self.line("address", &quoted(&address.to_string()));
        self.out.deployments += 1;
    }
}

/// What of a range is between these addresses.
fn without(range: Range, taken: &BTreeSet<Ipv4Addr>) -> Vec<Range> {
    let mut parts = Vec::new();
    let mut first = u32::from(range.first);
    for at in taken.range(range.first..=range.last).map(|at| u32::from(*at)) {
        if first < at {
            parts.push(Range { first: first.into(), last: (at - 1).into() });
        }
        let Some(next) = at.checked_add(1) else { return parts };
        first = next;
    }
    if first <= u32::from(range.last) {
        parts.push(Range { first: first.into(), last: range.last });
    }
    parts
}

/// A name of a manifest that is like a foreign one; `None` if nothing of it is left.
fn name_of(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
        if name.len() >= 56 {
            break;
        }
    }
    let name = name.trim_end_matches('-').to_owned();
    name.parse::<Name>().is_ok().then_some(name)
}

/// The name, with a number where it is taken.
fn free(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let numbered = (2u32..).map(|number| format!("{name}-{number}"));
    numbered.into_iter().find(|name| !is_taken(name)).unwrap_or(name)
}

/// As RFC 1035 section 2.3.1 has it, with digits at the beginning of labels.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.map(|one| quoted(&one)).collect();
    format!("[{}]", all.join(", "))
}

fn one_or_list(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.as_slice() {
        [one] => quoted(one),
        _ => list(all.into_iter()),
    }
}
